-- describe_adopted: what was written down of call $1, which has just been adopted under epoch $2: how far it is, and since when, as ages
-- by the database's clock; beside them how exactly each moment was known, by its event.
-- Uses: calls_pkey, dials (call_id, epoch), call_events_pkey. Locks nothing.
SELECT c.state, c.trunk_id, c.ordered_end, c.pdd_ms, d.id AS dial_id, d.attempt, d.number AS dial_number, d.caller_id, d.room,
       greatest(0, date_part('epoch', clock_timestamp() - coalesce(d.dial_at, c.dialed_at))) AS since_dial_s,
       date_part('epoch', clock_timestamp() - c.ringing_at) AS since_ringing_s,
       date_part('epoch', clock_timestamp() - c.answered_at) AS since_answer_s,
       (SELECT (e.detail ->> 'error_ms')::double precision / 1000
          FROM call_events e WHERE e.call_id = c.id AND e.state = 'ringing' ORDER BY e.id DESC LIMIT 1) AS ringing_error_s,
       (SELECT (e.detail ->> 'error_ms')::double precision / 1000
          FROM call_events e WHERE e.call_id = c.id AND e.state = 'active' ORDER BY e.id DESC LIMIT 1) AS answer_error_s,
       (SELECT e.detail::text
          FROM call_events e WHERE e.call_id = c.id AND e.kind = 'verdict' AND e.at >= c.answered_at ORDER BY e.id DESC LIMIT 1) AS verdict
  FROM calls c
  LEFT JOIN dials d ON d.call_id = c.id AND d.epoch = $2
 WHERE c.id = $1 AND c.epoch = $2
