-- record_opt_out: put the number of a call on its account's do-not-call list, because its agent says so.
-- Promises, uses, locks: those of the function record_opt_out (migration 0011).
SELECT record_opt_out($1, $2, $3, $4) AS ours
