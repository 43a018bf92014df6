-- free_seats_elsewhere: how many more calls the freest other worker can take that lives: neither $1, nor stopped, nor draining, nor
-- silent for $2 seconds; 0 without one. As of their last heartbeats.
-- Reads the workers, which are few. Locks nothing.
SELECT greatest(0, max(capacity - live_calls)) AS free
  FROM workers
 WHERE id <> $1 AND stopped_at IS NULL AND NOT draining AND heartbeat_at > clock_timestamp() - $2 * interval '1 s'
