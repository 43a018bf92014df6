-- groups_of_trunk: the names of the groups that trunk $1 is in. Uses: trunks_name_key. Locks nothing.
SELECT g.name
  FROM trunks t
  JOIN trunk_group_members m ON m.trunk_id = t.id
  JOIN trunk_groups g ON g.id = m.trunk_group_id
 WHERE t.name = $1
 ORDER BY g.name
