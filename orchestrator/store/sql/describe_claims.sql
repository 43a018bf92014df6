-- describe_claims: all that is needed to conduct the calls $1 that have just been claimed, on trunks $2, under epochs $3, and what
-- forbids to dial them already now (dial_forbidden, migration 0007).
-- Uses: calls_pkey, accounts_pkey, trunks_pkey, attempts_pkey, and as dial_forbidden. Locks nothing.
-- A call that nothing can forbid is not asked about in full, which costs a third: `doubtful` is null.
-- LIMIT 1 keeps each lookup a lookup: joined, a plan made while the tables were small hashes them whole when they have grown.
SELECT k.call_id, k.epoch, c.account_id, a.name AS account, c.to_number, c.agent_name, c.metadata::text AS metadata, c.caller_id,
       a.caller_ids::text[] AS account_caller_ids, c.display_name, c.headers::text AS headers, c.dtmf,
       coalesce(c.ring_timeout_s, a.ring_timeout_s) AS ring_timeout_s, coalesce(c.max_duration_s, a.max_duration_s) AS max_duration_s,
       a.trust_agent_leave, a.country, a.allowed_countries, a.allowed_specials, c.expires_at, c.deferrals, c.waiting_for,
       greatest(0, date_part('epoch', clock_timestamp() - greatest(c.created_at, c.run_at))) AS enqueued_to_claim_s,
       t.id AS trunk_id, t.name AS trunk, t.sip_trunk_id, t.caller_ids::text[] AS trunk_caller_ids, t.preconnect_voicemail,
       t.preconnect_voicemail_codes, t.min_ring_s, t.max_ring_s, t.busy_means_declined, t.patterns::text AS patterns,
       (SELECT dial_slack_ms FROM trunk_channels WHERE trunk_id = k.trunk_id) AS dial_slack_ms,
       a.caller_id_choice, a.max_attempts, a.redial_delays::text AS redial_delays, a.redial_jitter, c.redial::text AS redial,
       a.detection::text AS account_detection, c.detection::text AS detection,
       CASE WHEN c.attempt > 0
            THEN ARRAY(SELECT p.end_reason::text FROM attempts p WHERE p.call_id = c.id AND p.ended_at IS NOT NULL ORDER BY p.number)
            ELSE '{}' END AS earlier_ends,
       f.gate, f.retry_in_s
  FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS k (call_id, trunk_id, epoch)
 CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = k.call_id LIMIT 1) c
 CROSS JOIN LATERAL (SELECT * FROM accounts WHERE id = c.account_id LIMIT 1) a
 CROSS JOIN LATERAL (SELECT * FROM trunks WHERE id = k.trunk_id LIMIT 1) t
 CROSS JOIN LATERAL (
       SELECT CASE WHEN (SELECT stopped_at IS NOT NULL OR held_at IS NOT NULL OR NOT same_cluster() FROM switches)
                        OR c.cancel_requested_at IS NOT NULL OR c.expires_at <= clock_timestamp()
                        OR (c.window_from <= clock_timestamp() AND clock_timestamp() < c.window_until
                            AND c.hours_version = a.hours_version) IS NOT TRUE
                        OR a.number_gap_s > 0 OR a.number_most_dials > 0
                        OR a.caller_id_cap IS NOT NULL OR t.caller_id_cap IS NOT NULL
                        OR (SELECT paused FROM account_slots WHERE account_id = c.account_id)
                        OR EXISTS (SELECT FROM trunk_channels WHERE trunk_id = k.trunk_id AND (NOT enabled OR circuit_until IS NOT NULL))
                        OR EXISTS (SELECT FROM routes r JOIN agent_pools p ON p.id = r.agent_pool_id
                                    WHERE r.id = c.route_id AND (p.paused OR p.circuit_until IS NOT NULL))
                        OR EXISTS (SELECT FROM calls b
                                    WHERE b.to_number = c.to_number AND b.dialed_at IS NOT NULL AND b.ended_at IS NULL
                                      AND b.direction = 'outbound' AND b.id <> c.id)
                        OR (EXISTS (SELECT FROM do_not_call) AND is_listed(c.account_id, c.to_number))
                   THEN k.call_id END AS id
       OFFSET 0) doubtful
  LEFT JOIN LATERAL dial_forbidden(doubtful.id) f ON true
