-- beat_heart: worker $1 lives, with $2 calls of at most $3, and takes no more if $4. The database's clock says when.
-- Uses: workers_pkey. Locks: the worker's row; waits for whoever is taking its calls over.
UPDATE workers
   SET heartbeat_at = clock_timestamp(), live_calls = $2, capacity = $3, draining = $4
 WHERE id = $1 AND stopped_at IS NULL
RETURNING true AS alive
