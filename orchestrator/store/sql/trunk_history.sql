-- trunk_history: dials on trunk $1 of the last $2 days that rang and were not answered, the newest $3, each with its code, ring time and
-- ring timeout in ms, and who answered the account's next answered dial to the same number within $4 days: machine, human, or null.
-- Promises: a dial is there once; what is not known is null. `later` is machine where detection, or an end reason, says so.
-- Uses: dials_pkey backwards, call_events_pkey, calls_pkey, dials_to_a_number. Locks nothing.
WITH rung AS (
    SELECT d.id, d.call_id, d.account_id, d.to_number, d.intent_at, d.sip_code, (e.detail ->> 'ring_ms')::integer AS ring_ms,
           round(1000 * coalesce(c.ring_timeout_s, a.ring_timeout_s))::integer AS ring_timeout_ms
      FROM dials d
      JOIN calls c ON c.id = d.call_id
      JOIN accounts a ON a.id = c.account_id
     CROSS JOIN LATERAL (
           SELECT detail
             FROM call_events
            WHERE call_id = d.call_id
              AND epoch = d.epoch
              AND kind = 'state'
              AND detail ? 'ring_ms'
            ORDER BY id DESC
            LIMIT 1) e
     WHERE d.trunk_id = $1
       AND d.spent
       AND d.sip_code IS NOT NULL
       AND d.intent_at > now() - make_interval(days => $2)
       AND NOT e.detail ? 'talk_ms'
     ORDER BY d.id DESC
     LIMIT $3
)
SELECT r.sip_code, r.ring_ms, r.ring_timeout_ms, later.who AS later
  FROM rung r
  LEFT JOIN LATERAL (
       SELECT CASE WHEN n.end_reason IN ('AGENT_HUNG_UP_VOICEMAIL_DETECTED', 'AGENT_LEFT_VOICEMAIL_MESSAGE', 'AGENT_HUNG_UP_BY_POLICY')
                     OR o.answered_by = 'machine' THEN 'machine'
                   WHEN o.answered_by = 'human' THEN 'human' END AS who
         FROM dials n
         JOIN calls o ON o.id = n.call_id
        WHERE n.account_id = r.account_id
          AND n.to_number = r.to_number
          AND n.intent_at > r.intent_at
          AND n.intent_at < r.intent_at + make_interval(days => $4)
          AND (n.end_reason IN ('AGENT_HUNG_UP_VOICEMAIL_DETECTED', 'AGENT_LEFT_VOICEMAIL_MESSAGE', 'AGENT_HUNG_UP_BY_POLICY')
               OR (o.answered_by IN ('machine', 'human')
                   AND n.id = (SELECT max(id) FROM dials WHERE call_id = n.call_id)))
        ORDER BY n.intent_at
        LIMIT 1) later ON true
