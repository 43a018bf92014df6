-- last_system_event: the newest event of kind $1, with its age by the database's clock.
-- Uses: system_events_at. Locks nothing.
SELECT subject, detail::text AS detail, date_part('epoch', clock_timestamp() - at) AS age_s
  FROM system_events
 WHERE kind = $1
 ORDER BY at DESC
 LIMIT 1
