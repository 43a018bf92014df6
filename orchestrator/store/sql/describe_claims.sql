-- describe_claims: all that is needed to conduct the calls $1 that have just been claimed, on trunks $2, under epochs $3.
-- Uses: calls_pkey, accounts_pkey, trunks_pkey. Locks nothing.
-- LIMIT 1 keeps each lookup a lookup: joined, a plan made while the tables were small hashes them whole when they have grown.
SELECT k.call_id, k.epoch, c.account_id, a.name AS account, c.to_number, c.agent_name, c.metadata::text AS metadata, c.caller_id,
       a.caller_ids::text[] AS account_caller_ids, c.display_name, c.headers::text AS headers, c.dtmf,
       coalesce(c.ring_timeout_s, a.ring_timeout_s) AS ring_timeout_s, coalesce(c.max_duration_s, a.max_duration_s) AS max_duration_s,
       a.trust_agent_leave, a.country, a.allowed_countries, a.allowed_specials, c.expires_at, c.deferrals, c.waiting_for,
       greatest(0, date_part('epoch', clock_timestamp() - greatest(c.created_at, c.run_at))) AS enqueued_to_claim_s,
       t.id AS trunk_id, t.name AS trunk, t.sip_trunk_id, t.caller_ids::text[] AS trunk_caller_ids, t.preconnect_voicemail,
       t.preconnect_voicemail_codes, t.min_ring_s, t.max_ring_s, t.busy_means_declined, t.patterns::text AS patterns
  FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS k (call_id, trunk_id, epoch)
 CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = k.call_id LIMIT 1) c
 CROSS JOIN LATERAL (SELECT * FROM accounts WHERE id = c.account_id LIMIT 1) a
 CROSS JOIN LATERAL (SELECT * FROM trunks WHERE id = k.trunk_id LIMIT 1) t
