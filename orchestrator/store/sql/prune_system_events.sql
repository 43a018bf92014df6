-- prune_system_events: remove up to $2 of the system's events that are older than $1 days.
-- Uses: system_events_at, system_events_pkey. Locks: these rows, by SKIP LOCKED.
WITH old AS MATERIALIZED (
    SELECT id FROM system_events WHERE at < clock_timestamp() - $1 * interval '1 day' ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM system_events WHERE id IN (SELECT id FROM old) RETURNING 1
)
SELECT count(*)::integer FROM gone
