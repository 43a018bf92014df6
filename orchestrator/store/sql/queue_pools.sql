-- queue_pools: the $1 agent pools with the most work, and those that an operator configured or a circuit holds up.
-- Promises: `running` and `ready` are exact: the counter of a pool with a capacity, else the live calls counted. `absent`: calls that
--   wait because no agent came, of the first $2 such calls.
-- Uses: calls_live, calls_held; reads agent_pools, routes and lanes whole. Locks nothing.
WITH waiting AS MATERIALIZED (
    SELECT r.agent_pool_id, sum(l.ready) AS ready
      FROM lanes l
      JOIN routes r ON r.id = l.route_id
     WHERE l.ready > 0
     GROUP BY r.agent_pool_id
), live AS MATERIALIZED (
    SELECT r.agent_pool_id, count(*) AS running
      FROM calls c
      JOIN routes r ON r.id = c.route_id
     WHERE c.worker_id IS NOT NULL AND c.ended_at IS NULL
     GROUP BY r.agent_pool_id
), absent AS MATERIALIZED (
    SELECT agent_name, count(*) AS calls, min(run_at) AS until
      FROM (SELECT agent_name, run_at FROM calls
             WHERE state = 'scheduled' AND waiting_for <> 'slot' AND waiting_for = 'agent'
             ORDER BY account_id, run_at LIMIT $2) c
     GROUP BY agent_name
)
SELECT p.name, p.capacity, (CASE WHEN p.capacity IS NULL THEN coalesce(l.running, 0) ELSE p.inflight END)::integer AS running,
       p.paused, p.absences, p.circuit_until, p.circuit_why,
       p.probe_call_id IS NOT NULL AND p.probe_until >= clock_timestamp() AS probing,
       coalesce(w.ready, 0)::integer AS ready, coalesce(a.calls, 0)::integer AS absent, a.until AS absent_until
  FROM agent_pools p
  LEFT JOIN waiting w ON w.agent_pool_id = p.id
  LEFT JOIN live l ON l.agent_pool_id = p.id
  LEFT JOIN absent a ON a.agent_name = p.name
 WHERE w.ready > 0 OR l.running > 0 OR a.calls > 0 OR p.capacity IS NOT NULL OR p.paused OR p.circuit_until IS NOT NULL
 ORDER BY coalesce(l.running, 0) + coalesce(w.ready, 0) DESC, p.name
 LIMIT $1
