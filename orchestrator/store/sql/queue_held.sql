-- queue_held: how many calls wait for what, over all accounts; at most $1 of each are counted.
-- Uses: calls_held. Locks nothing.
SELECT w.waiting_for, h.n::integer AS calls
  FROM unnest(ARRAY['agent', 'media_server', 'trunk_capacity', 'trunk_auth', 'trunk_config', 'trunk_unreachable', 'calling_window',
                    'time_zone', 'spacing', 'caller_id', 'paused', 'redial']) AS w (waiting_for)
 CROSS JOIN LATERAL (SELECT count(*) AS n
                       FROM (SELECT FROM calls
                              WHERE state = 'scheduled' AND waiting_for <> 'slot' AND waiting_for = w.waiting_for
                              ORDER BY account_id, run_at
                              LIMIT $1) c) h
