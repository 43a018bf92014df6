-- clear_trunk_group: take all trunks out of group $1. Uses: trunk_group_members_pkey. Locks: its members; the caller holds the group.
DELETE FROM trunk_group_members m
 USING trunk_groups g
 WHERE g.name = $1 AND m.trunk_group_id = g.id
