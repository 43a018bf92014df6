-- list_calls: calls, newest first: of account $1, batch $2, to $3, in one of the states $4, with end reason $5, older than $6, at
-- most $7, or the call $8 alone. A null asks for any.
-- Uses: calls_pkey from its end, or calls_batch. Locks nothing.
SELECT c.id, a.name AS account, c.to_number, c.state, c.end_reason, c.batch, c.idempotency_key, c.agent_name,
       c.metadata::text AS metadata, c.priority, c.created_at, c.run_at, c.expires_at, c.waiting_for, c.deferrals, c.epoch, c.attempt,
       t.name AS trunk, coalesce(d.caller_id, c.caller_id) AS caller_id, c.cancel_requested_at, c.claimed_at, c.dialed_at, c.ringing_at,
       c.answered_at, c.ended_at, c.dialled, c.answered_by, c.sip_code, c.sip_reason, c.q850_cause, c.hangup_cause, c.error_code,
       c.error_message, c.pdd_ms, c.ring_ms, c.ring_error_ms, c.talk_ms, c.sip_call_id, c.livekit_sip_call_id, c.participant_sid,
       c.evidence::text AS evidence
  FROM calls c
  JOIN accounts a ON a.id = c.account_id
  LEFT JOIN trunks t ON t.id = c.trunk_id
  LEFT JOIN LATERAL (SELECT caller_id FROM dials WHERE call_id = c.id ORDER BY epoch DESC LIMIT 1) d ON true
 WHERE ($1::text IS NULL OR a.name = $1)
   AND ($2::text IS NULL OR c.batch = $2)
   AND ($3::text IS NULL OR c.to_number = $3)
   AND ($4::text[] IS NULL OR c.state = ANY ($4))
   AND ($5::text IS NULL OR c.end_reason = $5)
   AND ($6::bigint IS NULL OR c.id < $6)
   AND ($8::bigint IS NULL OR c.id = $8)
 ORDER BY c.id DESC
 LIMIT $7
