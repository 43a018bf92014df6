-- create_trunk_group: a trunk group of name $1, without trunks as yet. Locks: nothing that exists.
INSERT INTO trunk_groups (name) VALUES ($1)
