-- create_trunk: a trunk with its limits and its health, in a trunk group of its own name; $14 is the account that owns it, by name.
-- Promises: all rows or none. Locks: nothing that exists.
WITH trunk AS (
    INSERT INTO trunks (name, sip_trunk_id, caller_ids, preconnect_voicemail, preconnect_voicemail_codes, min_ring_s, max_ring_s,
                        busy_means_declined, patterns, owner_account_id, caller_id_cap)
    VALUES ($1, $2, $3::text[]::e164[], $4, $5, $6, $7, $8, $9::jsonb, (SELECT id FROM accounts WHERE name = $14), $15)
 RETURNING id
), channels AS (
    INSERT INTO trunk_channels (trunk_id, max_channels, max_cps, dial_slack_ms, enabled)
    SELECT id, $10, $11, $12, $13
      FROM trunk
), health AS (
    INSERT INTO trunk_health (trunk_id)
    SELECT id
      FROM trunk
), trunk_group AS (
    INSERT INTO trunk_groups (name) VALUES ($1)
 RETURNING id
)
INSERT INTO trunk_group_members (trunk_group_id, trunk_id)
SELECT g.id, t.id
  FROM trunk t
 CROSS JOIN trunk_group g
