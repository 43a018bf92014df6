-- find_trunk_group: the trunk group of name $1. Uses: trunk_groups_name_key. Locks nothing.
SELECT id
  FROM trunk_groups
 WHERE name = $1
