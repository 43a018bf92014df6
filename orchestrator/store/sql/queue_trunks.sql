-- queue_trunks: each trunk with what it carries, what holds it up and until when, and the ready calls that could take it.
-- Promises: exact, from the counters; a call that may take several trunks is counted at each. Reads trunks, routes and lanes
--   whole. Locks nothing.
WITH waiting AS MATERIALIZED (
    SELECT r.trunk_group_id, sum(l.ready) AS ready
      FROM lanes l
      JOIN routes r ON r.id = l.route_id
     WHERE l.ready > 0
     GROUP BY r.trunk_group_id
)
SELECT t.name, c.enabled, c.channels AS running, c.max_channels, c.max_cps::double precision AS max_cps, c.circuit_until,
       c.circuit_why, c.probe_call_id IS NOT NULL AND c.probe_until >= clock_timestamp() AS probing,
       greatest(0, date_part('epoch', greatest(c.next_dial_at, now()) - clock_timestamp())) AS next_dial_in_s,
       coalesce((SELECT sum(w.ready) FROM trunk_group_members m JOIN waiting w USING (trunk_group_id)
                  WHERE m.trunk_id = t.id), 0)::integer AS ready
  FROM trunks t
  JOIN trunk_channels c ON c.trunk_id = t.id
 ORDER BY t.name
