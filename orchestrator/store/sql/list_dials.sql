-- list_dials: the dials of call $1 in order. Uses: dials (call_id, epoch), trunks_pkey. Locks nothing.
SELECT d.id, d.attempt, d.number, d.epoch, t.name AS trunk, d.caller_id, d.room, d.intent_at, d.dial_at, d.ended_at, d.spent, d.dialled,
       d.sip_code, d.sip_reason, d.sip_call_id, d.livekit_sip_call_id, d.participant_sid
  FROM dials d
  JOIN trunks t ON t.id = d.trunk_id
 WHERE d.call_id = $1
 ORDER BY d.epoch
