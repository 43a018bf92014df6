-- list_trunk_groups: trunk groups by name, or group $1 alone, with their trunks in the order in which they are filled, the account that
-- alone may use the group, and the caller ids of all its trunks. Uses: trunk_groups_name_key, trunk_group_members_pkey.
-- Locks nothing.
SELECT g.name, coalesce(m.trunks, '{}') AS trunks, coalesce(m.positions, '{}') AS positions, coalesce(m.weights, '{}') AS weights,
       a.name AS owner,
       ARRAY(SELECT DISTINCT n.caller_id::text
               FROM trunk_group_members i
               JOIN trunks t ON t.id = i.trunk_id
              CROSS JOIN LATERAL unnest(t.caller_ids) AS n (caller_id)
              WHERE i.trunk_group_id = g.id
              ORDER BY 1) AS caller_ids,
       EXISTS (SELECT FROM trunks t WHERE t.name = g.name) AS of_one_trunk
  FROM trunk_groups g
  LEFT JOIN LATERAL (
       SELECT array_agg(t.name ORDER BY i.position, t.name) AS trunks, array_agg(i.position ORDER BY i.position, t.name) AS positions,
              array_agg(i.weight ORDER BY i.position, t.name) AS weights
         FROM trunk_group_members i
         JOIN trunks t ON t.id = i.trunk_id
        WHERE i.trunk_group_id = g.id) m ON true
  LEFT JOIN accounts a ON a.id = trunk_group_owner(g.id)
 WHERE $1::text IS NULL OR g.name = $1
 ORDER BY g.name
