-- create_account: an account with its limits, and with $10 as the trunk group of calls that name none.
-- Promises: both rows or none. Locks: nothing that exists.
WITH account AS (
    INSERT INTO accounts (name, country, allowed_countries, allowed_specials, caller_ids, agent_name, ring_timeout_s, max_duration_s,
                          trust_agent_leave, trunk_group_id, calling_hours, closed_on_holidays, dial_unknown_zone, max_attempts,
                          redial_delays, redial_jitter, number_gap_s, number_most_dials, number_window_s, caller_id_choice,
                          caller_id_cap, detection)
    VALUES ($1, $2, $3, $4, $5::text[]::e164[], $6, $7, $8, $9, (SELECT id FROM trunk_groups WHERE name = $10), $14, $15, $16, $17,
            $18::text::jsonb, $19, $20, $21, $22, $23, $24, $25::text::jsonb)
 RETURNING id
)
INSERT INTO account_slots (account_id, max_concurrent, weight, reserved)
SELECT id, $11, $12, $13
  FROM account
