-- beat_heart: worker $1 lives, with $2 calls. The database's clock says when. Uses: workers_pkey. Locks: the worker's row.
UPDATE workers
   SET heartbeat_at = clock_timestamp(), live_calls = $2
 WHERE id = $1 AND stopped_at IS NULL
RETURNING true AS alive
