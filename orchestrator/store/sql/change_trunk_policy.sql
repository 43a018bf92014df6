-- change_trunk_policy: change what is not null of how trunk $1 is used and read; 0 as $10 ends its caller ids' cap, the empty name as
-- $11 shares it among all accounts. Uses: trunks_name_key. Locks: the trunk's policy.
UPDATE trunks
   SET sip_trunk_id = coalesce($2, sip_trunk_id), caller_ids = coalesce($3::text[]::e164[], caller_ids),
       preconnect_voicemail = coalesce($4, preconnect_voicemail),
       preconnect_voicemail_codes = coalesce($5, preconnect_voicemail_codes), min_ring_s = coalesce($6, min_ring_s),
       max_ring_s = coalesce($7, max_ring_s), busy_means_declined = coalesce($8, busy_means_declined),
       patterns = coalesce($9::jsonb, patterns), caller_id_cap = nullif(coalesce($10, caller_id_cap), 0),
       owner_account_id = CASE WHEN $11::text IS NULL THEN owner_account_id
                               ELSE (SELECT id FROM accounts WHERE accounts.name = $11) END
 WHERE name = $1
