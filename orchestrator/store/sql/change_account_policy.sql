-- change_account_policy: change what is not null of the policy of account $1. Uses: accounts_name_key. Locks: the account's policy.
UPDATE accounts
   SET country = coalesce($2, country), allowed_countries = coalesce($3, allowed_countries),
       allowed_specials = coalesce($4, allowed_specials), caller_ids = coalesce($5::text[]::e164[], caller_ids),
       agent_name = coalesce($6, agent_name), ring_timeout_s = coalesce($7, ring_timeout_s),
       max_duration_s = coalesce($8, max_duration_s), trust_agent_leave = coalesce($9, trust_agent_leave),
       trunk_group_id = coalesce((SELECT id FROM trunk_groups WHERE name = $10), trunk_group_id)
 WHERE name = $1
