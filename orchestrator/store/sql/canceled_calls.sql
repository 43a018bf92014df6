-- canceled_calls: the calls of worker $1 that somebody wants canceled and that have not ended.
-- Uses: calls_cancel_requested. Locks nothing.
SELECT id, epoch
  FROM calls
 WHERE worker_id = $1 AND cancel_requested_at IS NOT NULL AND ended_at IS NULL
