-- list_agent_pools: agent pools by name, or pool $1 alone, with limits, counters, circuit and how many calls wait for them.
-- Uses: agent_pools_name_key. Locks nothing.
SELECT p.name, p.capacity, p.inflight, p.paused, p.absences, p.circuit_until, p.circuit_until <= clock_timestamp() AS half_open,
       p.circuit_openings, p.circuit_why,
       coalesce((SELECT sum(l.ready)
                   FROM routes r
                   JOIN lanes l ON l.route_id = r.id
                  WHERE r.agent_pool_id = p.id AND l.ready > 0), 0)::bigint AS ready
  FROM agent_pools p
 WHERE $1::text IS NULL OR p.name = $1
 ORDER BY p.name
