-- record_ringing: the far end of call $1 (claim $2) rings, $3 ms after the INVITE.
-- Promises: state, columns and event change together, once; true if the call rings under this claim, now or by an earlier commit
--   whose answer was lost. The trunk's circuit hears at once that it carries calls: a probe may talk for an hour.
-- Uses: calls_pkey, and as judge_trunk. Locks: the call, waits; then what judge_trunk locks for good news.
-- The call is read with its lock, so that after a wait for our own earlier commit its newest state decides.
WITH mine AS MATERIALIZED (
    SELECT id, state
      FROM calls
     WHERE id = $1 AND epoch = $2
       FOR NO KEY UPDATE
), changed AS (
    UPDATE calls c
       SET state = 'ringing', ringing_at = clock_timestamp(), pdd_ms = $3
      FROM mine m
     WHERE c.id = m.id AND m.state = 'dialing'
 RETURNING c.id, c.trunk_id, c.to_number
), event AS (
    INSERT INTO call_events (call_id, epoch, state, detail)
    SELECT id, $2, 'ringing', jsonb_build_object('pdd_ms', $3::integer) || $4::jsonb
      FROM changed
)
SELECT true AS ours, (SELECT judge_trunk(c.trunk_id, c.id, c.to_number, 'good', '') FROM changed c)
  FROM mine
 WHERE state IN ('dialing', 'ringing')
