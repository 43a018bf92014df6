-- due_calls: up to $1 calls whose time has come, with all that placing them by calling hours needs, the longest due first; after the
-- call $3, due at $2, when they are given, so that calls of an account that is locked hold up no others.
-- Promises: what it returns was due and had not expired; stage_calls looks again. has_route is false where make_routes is needed.
-- Uses: calls_scheduled_run_at, accounts_pkey, agent_pools_name_key, routes' key. Locks nothing.
-- LIMIT 1 keeps each lookup a lookup, whatever the tables' size was when the plan was made.
SELECT c.id, c.to_number, c.run_at, c.expires_at, c.calling_hours::text[] AS call_hours, a.calling_hours::text[] AS account_hours,
       a.closed_on_holidays, a.dial_unknown_zone, a.hours_version AS account_version, a.country, c.window_from, c.window_until,
       c.hours_version, c.time_zone, r.id IS NOT NULL AS has_route, clock_timestamp() AS asked_at
  FROM (SELECT *
          FROM calls
         WHERE state = 'scheduled' AND run_at <= now() AND expires_at > now()
           AND (run_at, id) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::bigint, 0))
         ORDER BY run_at, id
         LIMIT $1) c
 CROSS JOIN LATERAL (SELECT * FROM accounts WHERE id = c.account_id LIMIT 1) a
  LEFT JOIN LATERAL (SELECT id FROM agent_pools WHERE name = c.agent_name LIMIT 1) p ON true
  LEFT JOIN LATERAL (SELECT id FROM routes WHERE trunk_group_id = c.trunk_group_id AND agent_pool_id = p.id LIMIT 1) r ON true
 ORDER BY c.run_at, c.id
