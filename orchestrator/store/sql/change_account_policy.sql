-- change_account_policy: change what is not null of the policy of account $1; 0 takes a cap ($18, $21) away. A trigger counts up the
-- version of its calling hours when these change. Uses: accounts_name_key. Locks: the account's policy.
UPDATE accounts
   SET country = coalesce($2, country), allowed_countries = coalesce($3, allowed_countries),
       allowed_specials = coalesce($4, allowed_specials), caller_ids = coalesce($5::text[]::e164[], caller_ids),
       agent_name = coalesce($6, agent_name), ring_timeout_s = coalesce($7, ring_timeout_s),
       max_duration_s = coalesce($8, max_duration_s), trust_agent_leave = coalesce($9, trust_agent_leave),
       trunk_group_id = coalesce((SELECT id FROM trunk_groups WHERE name = $10), trunk_group_id),
       calling_hours = coalesce($11, calling_hours), closed_on_holidays = coalesce($12, closed_on_holidays),
       dial_unknown_zone = coalesce($13, dial_unknown_zone), max_attempts = coalesce($14, max_attempts),
       redial_delays = coalesce($15::text::jsonb, redial_delays), redial_jitter = coalesce($16, redial_jitter),
       number_gap_s = coalesce($17, number_gap_s), number_most_dials = nullif(coalesce($18, number_most_dials), 0),
       number_window_s = coalesce($19, number_window_s), caller_id_choice = coalesce($20, caller_id_choice),
       caller_id_cap = nullif(coalesce($21, caller_id_cap), 0), detection = coalesce($22::text::jsonb, detection)
 WHERE name = $1
