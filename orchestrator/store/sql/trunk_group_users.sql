-- trunk_group_users: what points at trunk group $1 and keeps it from being removed: an account, and whether calls do.
-- Uses: trunk_groups_name_key; reads calls until it finds one (for operators only). Locks nothing.
SELECT (SELECT a.name FROM accounts a WHERE a.trunk_group_id = g.id ORDER BY a.name LIMIT 1) AS account,
       EXISTS (SELECT FROM calls c WHERE c.trunk_group_id = g.id) AS calls
  FROM trunk_groups g
 WHERE g.name = $1
