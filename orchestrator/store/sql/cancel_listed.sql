-- cancel_listed: ask for the cancel of calls that are being dialled although their number is on a do-not-call list by now.
-- Promises, uses, locks: those of the function cancel_listed (migration 0011).
SELECT cancel_listed($1)
