-- bottlenecks: what may hold calls up: trunks, and agent pools that operators gave a capacity or paused, with how full they are and their
-- circuits; the other pools, which calls may name at will, are one row without a name. At most $1 of each kind, the oldest first.
-- Promises: as many rows as there are things configured, however many calls and names there are. Locks nothing; reads trunks and
--   agent pools once.
(SELECT 'trunk' AS kind, t.name, c.channels::bigint AS used, (CASE WHEN c.enabled THEN c.max_channels ELSE 0 END)::bigint AS most,
        0::bigint AS absences, c.circuit_changes AS openings,
        CASE WHEN c.circuit_until IS NULL THEN 0 WHEN c.circuit_until <= clock_timestamp() THEN 1 ELSE 2 END AS circuit
   FROM trunks t
   JOIN trunk_channels c ON c.trunk_id = t.id
  ORDER BY t.id
  LIMIT $1)
 UNION ALL
(SELECT 'agents', p.name, p.inflight, CASE WHEN p.paused THEN 0 ELSE p.capacity END, p.absences, p.circuit_changes,
        CASE WHEN p.circuit_until IS NULL THEN 0 WHEN p.circuit_until <= clock_timestamp() THEN 1 ELSE 2 END
   FROM agent_pools p
  WHERE p.capacity IS NOT NULL OR p.paused
  ORDER BY p.id
  LIMIT $1)
 UNION ALL
SELECT 'agents', '', 0, NULL, coalesce(sum(p.absences), 0), coalesce(sum(p.circuit_changes), 0),
       coalesce(max(CASE WHEN p.circuit_until IS NULL THEN 0 WHEN p.circuit_until <= clock_timestamp() THEN 1 ELSE 2 END), 0)
  FROM agent_pools p
 WHERE p.capacity IS NULL AND NOT p.paused
