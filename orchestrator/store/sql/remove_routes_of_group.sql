-- remove_routes_of_group: the routes of trunk group $1, which no lane uses any more. Locks: these routes.
DELETE FROM routes r
 USING trunk_groups g
 WHERE g.name = $1 AND r.trunk_group_id = g.id
