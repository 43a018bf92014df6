-- record_answer: the far end of call $1 (claim $2) has answered, after $3 +- $4 ms of ringing, with the carrier's ids $5 to $7.
-- Promises: state, columns and event change together, once; true if the call is active under this claim, now or by an earlier
--   commit whose answer was lost. The trunk's circuit hears at once that it carries calls: a probe may talk for an hour.
-- Uses: calls_pkey, and as judge_trunk. Locks: the call, waits; then what judge_trunk locks for good news.
-- The call is read with its lock, so that after a wait for our own earlier commit its newest state decides.
WITH mine AS MATERIALIZED (
    SELECT id, state
      FROM calls
     WHERE id = $1 AND epoch = $2
       FOR NO KEY UPDATE
), changed AS (
    UPDATE calls c
       SET state = 'active', answered_at = clock_timestamp(), ring_ms = $3, ring_error_ms = $4,
           sip_call_id = $5, livekit_sip_call_id = $6, participant_sid = $7
      FROM mine m
     WHERE c.id = m.id AND m.state IN ('dialing', 'ringing')
 RETURNING c.id, c.trunk_id, c.to_number
), event AS (
    INSERT INTO call_events (call_id, epoch, state, detail)
    SELECT id, $2, 'active', jsonb_strip_nulls(jsonb_build_object('ring_ms', $3::integer, 'ring_error_ms', $4::integer)) || $8::jsonb
      FROM changed
)
SELECT true AS ours, (SELECT judge_trunk(c.trunk_id, c.id, c.to_number, 'answered', '') FROM changed c)
  FROM mine
 WHERE state IN ('dialing', 'ringing', 'active')
