-- create_account: an account with its limits, and with $10 as the trunk group of calls that name none.
-- Promises: both rows or none. Locks: nothing that exists.
WITH account AS (
    INSERT INTO accounts (name, country, allowed_countries, allowed_specials, caller_ids, agent_name, ring_timeout_s, max_duration_s,
                          trust_agent_leave, trunk_group_id)
    VALUES ($1, $2, $3, $4, $5::text[]::e164[], $6, $7, $8, $9, (SELECT id FROM trunk_groups WHERE name = $10))
 RETURNING id
)
INSERT INTO account_slots (account_id, max_concurrent, weight, reserved)
SELECT id, $11, $12, $13
  FROM account
