-- lock_trunk_group: trunk group $1, before its trunks change. Promises: no claim is choosing from it until the transaction ends.
-- Uses: trunk_groups_name_key. Locks: the group (advisory 7300), as the claim does; waits.
SELECT pg_advisory_xact_lock(7300, id)
  FROM trunk_groups
 WHERE name = $1
