-- trunk_group_faults: who uses trunk group $1 and must not: it has trunks of two accounts, or one account owns it and another has it as
-- its default, or has calls waiting for it or live (which may be dialled again). One row with what was found, or none.
-- Uses: trunk_groups_name_key, trunk_group_members_pkey; calls_live, calls_scheduled_run_at (the whole of it: for operators only).
-- Locks nothing.
WITH asked AS MATERIALIZED (
    SELECT g.id, trunk_group_owner(g.id) AS owner_id
      FROM trunk_groups g
     WHERE g.name = $1
)
SELECT o.name AS owner,
       (SELECT a.name
          FROM trunk_group_members m
          JOIN trunks t ON t.id = m.trunk_id
          JOIN accounts a ON a.id = t.owner_account_id
         WHERE m.trunk_group_id = g.id AND a.id <> g.owner_id
         LIMIT 1) AS other_owner,
       (SELECT a.name
          FROM accounts a
         WHERE a.trunk_group_id = g.id AND a.id <> g.owner_id
         ORDER BY a.name
         LIMIT 1) AS defaults_of,
       (SELECT a.name
          FROM (SELECT l.account_id
                  FROM lanes l
                  JOIN routes r ON r.id = l.route_id
                 WHERE r.trunk_group_id = g.id AND l.account_id <> g.owner_id AND l.ready > 0
                 UNION ALL
                SELECT c.account_id
                  FROM calls c
                 WHERE c.worker_id IS NOT NULL AND c.ended_at IS NULL
                   AND c.trunk_group_id = g.id AND c.account_id <> g.owner_id
                 UNION ALL
                SELECT c.account_id
                  FROM calls c
                 WHERE c.state = 'scheduled' AND c.trunk_group_id = g.id AND c.account_id <> g.owner_id
                 LIMIT 1) s
          JOIN accounts a ON a.id = s.account_id) AS calls_of
  FROM asked g
  JOIN accounts o ON o.id = g.owner_id
