-- remove_trunk_group: trunk group $1, which nothing uses any more; foreign keys refuse it otherwise. Locks: the group.
DELETE FROM trunk_groups
 WHERE name = $1
