-- queue_accounts: the $1 accounts with the most work (or the one called $4), with what runs, is ready and waits for something else.
-- Promises: `running` and `ready` are exact, from the counters. `held`: for each thing that is waited for, how many calls wait (at
--   most $2 are counted) and when the first of them goes on. Of accounts with nothing but held calls the first $3 for each thing are
--   found, and those of the first $5 scheduled calls. `total`: how many accounts have work, of those found.
-- Uses: calls_held, a look for each account and thing; calls_scheduled_run_at, $5 rows; reads account_slots and lanes whole, which are counters. Locks nothing.
WITH RECURSIVE things (waiting_for) AS (
    VALUES ('agent'), ('media_server'), ('trunk_capacity'), ('trunk_auth'), ('trunk_config'), ('trunk_unreachable'),
           ('calling_window'), ('time_zone'), ('spacing'), ('caller_id'), ('paused'), ('redial')
), held (waiting_for, account_id, n) AS (
    SELECT w.waiting_for, f.account_id, 1
      FROM things w
     CROSS JOIN LATERAL (SELECT account_id FROM calls
                          WHERE state = 'scheduled' AND waiting_for <> 'slot' AND waiting_for = w.waiting_for
                          ORDER BY account_id LIMIT 1) f
     UNION ALL
    SELECT h.waiting_for, f.account_id, h.n + 1
      FROM held h
     CROSS JOIN LATERAL (SELECT account_id FROM calls
                          WHERE state = 'scheduled' AND waiting_for <> 'slot' AND waiting_for = h.waiting_for
                            AND account_id > h.account_id
                          ORDER BY account_id LIMIT 1) f
     WHERE h.n < $3
), later AS MATERIALIZED (
    SELECT DISTINCT account_id
      FROM (SELECT account_id FROM calls WHERE state = 'scheduled' ORDER BY run_at, id LIMIT $5) c
), waiting AS MATERIALIZED (
    SELECT account_id, sum(ready) AS ready, sum(urgent) AS urgent FROM lanes WHERE ready > 0 GROUP BY account_id
), work AS MATERIALIZED (
    SELECT s.account_id, s.inflight, s.inbound, s.max_concurrent, s.reserved, s.paused, coalesce(w.ready, 0) AS ready,
           coalesce(w.urgent, 0) AS urgent, count(*) OVER () AS total
      FROM account_slots s
      LEFT JOIN waiting w USING (account_id)
     WHERE CASE WHEN $4::text IS NULL
                THEN s.inflight > 0 OR s.inbound > 0 OR w.ready > 0 OR s.account_id IN (SELECT account_id FROM held)
                     OR s.account_id IN (SELECT account_id FROM later)
                ELSE s.account_id = (SELECT id FROM accounts WHERE name = $4) END
     ORDER BY s.inflight + coalesce(w.ready, 0) DESC, s.account_id
     LIMIT $1
)
SELECT a.name, k.inflight AS running, k.inbound, k.max_concurrent, k.reserved, k.paused, k.ready::integer, k.urgent::integer,
       k.total::integer,
       ARRAY(SELECT jsonb_build_object('waiting_for', t.waiting_for, 'calls', h.n, 'until', h.until)
               FROM things t
              CROSS JOIN LATERAL (SELECT count(*) AS n, min(run_at) AS until
                                    FROM (SELECT run_at FROM calls
                                           WHERE state = 'scheduled' AND waiting_for <> 'slot'
                                             AND waiting_for = t.waiting_for AND account_id = k.account_id
                                           ORDER BY run_at
                                           LIMIT $2) c) h
              WHERE h.n > 0)::text[] AS held
  FROM work k
  JOIN accounts a ON a.id = k.account_id
 ORDER BY k.inflight + k.ready DESC, k.account_id
