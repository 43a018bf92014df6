-- list_events: the timeline of call $1. Uses: call_events_pkey. Locks nothing.
SELECT at, epoch, kind, state, detail::text AS detail
  FROM call_events
 WHERE call_id = $1
 ORDER BY id
