-- remove_lanes_of_group: the empty lanes of trunk group $1, which no call uses any more. Locks: these lanes.
DELETE FROM lanes l
 USING routes r, trunk_groups g
 WHERE g.name = $1 AND r.trunk_group_id = g.id AND l.route_id = r.id AND l.ready = 0
