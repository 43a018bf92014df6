-- summarise_batch: how many calls of batch $1 are in which state, with which end reason; of all calls if null.
-- Uses: calls_batch. Locks nothing.
SELECT state, end_reason, count(*) AS calls
  FROM calls
 WHERE $1::text IS NULL OR batch = $1
 GROUP BY state, end_reason
