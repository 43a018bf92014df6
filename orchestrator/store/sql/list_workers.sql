-- list_workers: workers that have not stopped, with the age of their last heartbeat by the database's clock. Locks nothing.
SELECT id, name, version, capacity, live_calls, draining, started_at,
       date_part('epoch', clock_timestamp() - heartbeat_at) AS heartbeat_age_s
  FROM workers
 WHERE stopped_at IS NULL
 ORDER BY started_at
