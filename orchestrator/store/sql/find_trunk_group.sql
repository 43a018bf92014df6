-- find_trunk_group: the trunk group of name $1, and the account that alone may use it. Uses: trunk_groups_name_key,
-- trunk_group_members_pkey, trunks_pkey. Locks nothing.
SELECT g.id, a.name AS owner
  FROM trunk_groups g
  LEFT JOIN accounts a ON a.id = trunk_group_owner(g.id)
 WHERE g.name = $1
