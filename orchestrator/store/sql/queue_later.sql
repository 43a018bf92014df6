-- queue_later: of the first $1 scheduled calls in the order of their times, those that only wait for their time, by account.
-- Promises: how many, and when the first is due; `looked` how many calls were looked at: with $1 there may be more.
-- Uses: calls_scheduled_run_at, at most $1 rows. Locks nothing.
WITH soon AS MATERIALIZED (
    SELECT account_id, run_at, waiting_for FROM calls WHERE state = 'scheduled' ORDER BY run_at, id LIMIT $1
), looked AS (
    SELECT count(*) AS n FROM soon
)
SELECT a.name, l.n AS looked, s.calls, s.first
  FROM looked l
  LEFT JOIN (SELECT account_id, count(*) AS calls, min(run_at) AS first
               FROM soon WHERE waiting_for = 'slot' GROUP BY account_id) s ON true
  LEFT JOIN accounts a ON a.id = s.account_id
