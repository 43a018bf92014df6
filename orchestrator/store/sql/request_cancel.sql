-- request_cancel: withdraw call $1.
-- Promises, uses, locks: those of the function request_cancel (migration 0003).
SELECT request_cancel($1) AS result
