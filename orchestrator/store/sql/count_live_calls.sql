-- count_live_calls: how many calls hold a slot, by state.
-- Uses: calls_live. Locks nothing.
SELECT state, count(*) AS n
  FROM calls
 WHERE worker_id IS NOT NULL
   AND ended_at IS NULL
 GROUP BY state
