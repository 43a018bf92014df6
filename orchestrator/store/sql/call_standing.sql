-- call_standing: the call $1 with everything that it may wait for. No row: no such call.
-- Promises: `ahead`: calls that come before it in its lane, of which at most $2 are counted; null unless it is ready. `gate`: what the
--   last gate would say now, null unless the call waits. `seats`, `live`: of workers that gave a sign of life in the last $3 s.
-- Uses: calls_pkey, calls_ready, and as dial_forbidden; reads workers whole. Locks nothing.
SELECT c.id, a.name AS account, c.state, c.direction, c.priority, c.run_at, c.expires_at, c.waiting_for, c.deferrals, c.attempt,
       c.cancel_requested_at, c.time_zone, c.window_until, c.agent_name, c.end_reason, c.ended_at, c.dial_at, c.dialed_at,
       c.ringing_at, c.answered_at, t.name AS trunk, k.name AS worker, clock_timestamp() AS now,
       coalesce((c.redial ->> 'max_attempts')::integer, a.max_attempts) AS max_attempts,
       (SELECT end_reason FROM attempts WHERE call_id = c.id AND ended_at IS NOT NULL ORDER BY number DESC LIMIT 1) AS last_reason,
       a.number_most_dials, a.number_window_s, a.dial_unknown_zone,
       s.paused, s.inflight, s.max_concurrent, s.reserved,
       w.stopped_at, w.stopped_why, w.held_at, w.held_why,
       f.gate, f.retry_in_s,
       p.capacity AS pool_capacity, p.inflight AS pool_inflight, p.paused AS pool_paused, p.circuit_until AS pool_circuit_until,
       p.circuit_why AS pool_circuit_why, p.name IS NOT NULL AS has_pool,
       g.name AS trunk_group, n.seats::integer, n.live::integer,
       ARRAY(SELECT jsonb_build_object('name', mt.name, 'enabled', mc.enabled, 'running', mc.channels, 'most', mc.max_channels,
                                       'max_cps', mc.max_cps, 'circuit_until', mc.circuit_until, 'circuit_why', mc.circuit_why,
                                       'next_dial_in_s', greatest(0, date_part('epoch', greatest(mc.next_dial_at, now()) - clock_timestamp())))
               FROM trunk_group_members m
               JOIN trunks mt ON mt.id = m.trunk_id
               JOIN trunk_channels mc ON mc.trunk_id = m.trunk_id
              WHERE m.trunk_group_id = c.trunk_group_id
              ORDER BY m.position, mt.name)::text[] AS trunks,
       CASE WHEN c.state = 'ready' THEN
           (SELECT count(*) FROM (
               (SELECT FROM calls o WHERE o.state = 'ready' AND o.account_id = c.account_id AND o.route_id = c.route_id
                   AND o.priority > c.priority
                 ORDER BY o.priority DESC, o.run_at, o.id LIMIT $2)
               UNION ALL
               (SELECT FROM calls o WHERE o.state = 'ready' AND o.account_id = c.account_id AND o.route_id = c.route_id
                   AND o.priority = c.priority AND (o.run_at, o.id) < (c.run_at, c.id)
                 ORDER BY o.run_at, o.id LIMIT $2)
               LIMIT $2) x)::integer END AS ahead
  FROM calls c
  JOIN accounts a ON a.id = c.account_id
  JOIN account_slots s ON s.account_id = c.account_id
 CROSS JOIN switches w
  JOIN trunk_groups g ON g.id = c.trunk_group_id
  LEFT JOIN agent_pools p ON p.name = c.agent_name
  LEFT JOIN trunks t ON t.id = c.trunk_id
  LEFT JOIN workers k ON k.id = c.worker_id
 CROSS JOIN (SELECT coalesce(sum(capacity), 0) AS seats, coalesce(sum(live_calls), 0) AS live
               FROM workers
              WHERE stopped_at IS NULL AND NOT draining AND heartbeat_at > clock_timestamp() - $3 * interval '1 s') n
  LEFT JOIN LATERAL dial_forbidden(c.id) f ON c.state IN ('scheduled', 'ready')
 WHERE c.id = $1
