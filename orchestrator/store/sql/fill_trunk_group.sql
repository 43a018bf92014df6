-- fill_trunk_group: put trunks into group $1, one array element a trunk: names $2, positions $3, weights $4; returns the names that were
-- put in. Uses: trunk_groups_name_key, trunks_name_key. Locks: nothing that exists; the caller holds the group.
WITH given AS (
    SELECT g.id AS trunk_group_id, t.id AS trunk_id, t.name, i.position, i.weight
      FROM unnest($2::text[], $3::smallint[], $4::double precision[]) AS i (trunk, position, weight)
      JOIN trunks t ON t.name = i.trunk
     CROSS JOIN (SELECT id FROM trunk_groups WHERE name = $1) g
), filled AS (
    INSERT INTO trunk_group_members (trunk_group_id, trunk_id, position, weight)
    SELECT trunk_group_id, trunk_id, position, weight
      FROM given
)
SELECT name
  FROM given
