-- enqueue_calls: queue calls.
-- Promises, uses, locks: those of the function enqueue_calls (migration 0013).
SELECT n, call_id, created, refused, problem FROM enqueue_calls($1, $2, $3)
