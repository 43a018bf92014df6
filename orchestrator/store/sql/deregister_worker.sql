-- deregister_worker: worker $1 has stopped; again changes nothing. Uses: workers_pkey. Locks: the worker's row.
UPDATE workers
   SET stopped_at = coalesce(stopped_at, clock_timestamp()), live_calls = 0
 WHERE id = $1
