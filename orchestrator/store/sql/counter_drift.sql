-- counter_drift: how many accounts, trunks, agent pools and lanes have a counter or a copy that differs from what it stands for (I5).
-- Promises: all zero at any moment, under any load: it reads one snapshot, and every writer changes counters and calls in
--   one transaction. Anything else is a bug.
-- Uses: calls_live, calls_ready (the whole of it: run it rarely on a long queue). Locks nothing.
WITH live AS MATERIALIZED (
    SELECT account_id, trunk_id, route_id, direction
      FROM calls
     WHERE worker_id IS NOT NULL AND ended_at IS NULL
), ready AS (
    SELECT account_id, route_id, count(*) AS n, count(*) FILTER (WHERE priority > 0) AS urgent
      FROM calls
     WHERE state = 'ready'
     GROUP BY account_id, route_id
)
SELECT (SELECT count(*)
          FROM account_slots a
          LEFT JOIN (SELECT account_id, count(*) FILTER (WHERE direction = 'outbound') AS n,
                            count(*) FILTER (WHERE direction = 'inbound') AS inbound
                       FROM live GROUP BY account_id) c ON c.account_id = a.account_id
         WHERE a.inflight <> coalesce(c.n, 0) OR a.inbound <> coalesce(c.inbound, 0)) AS inflight,
       (SELECT count(*)
          FROM trunk_channels t
          FULL JOIN (SELECT trunk_id, count(*) AS n FROM live WHERE direction = 'outbound' GROUP BY trunk_id) c ON c.trunk_id = t.trunk_id
         WHERE coalesce(t.channels, 0) <> coalesce(c.n, 0)) AS channels,
       (SELECT count(*)
          FROM agent_pools p
          LEFT JOIN (SELECT r.agent_pool_id, count(*) AS n FROM live l JOIN routes r ON r.id = l.route_id
                      GROUP BY r.agent_pool_id) c ON c.agent_pool_id = p.id
         WHERE p.inflight <> CASE WHEN p.capacity IS NULL THEN 0 ELSE coalesce(c.n, 0) END) AS pools,
       (SELECT count(*)
          FROM lanes l
          FULL JOIN ready r ON r.account_id = l.account_id AND r.route_id = l.route_id
         WHERE coalesce(l.ready, 0) <> coalesce(r.n, 0) OR coalesce(l.urgent, 0) <> coalesce(r.urgent, 0)) AS ready,
       (SELECT count(*)
          FROM lanes l
          JOIN account_slots a ON a.account_id = l.account_id
         WHERE l.ready > 0
           AND (l.share, l.has_room, l.has_urgent_room, l.last_claim_at)
               IS DISTINCT FROM (a.share, a.has_room, a.has_urgent_room, a.last_claim_at)) AS copies
