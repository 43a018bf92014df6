-- requeue_call: put a call back on the queue unspent.
-- Promises, uses, locks: those of the function requeue_call (migration 0012).
SELECT requeue_call($1, $2, $3, $4, $5, $6, $7, $8, $9) AS ours
