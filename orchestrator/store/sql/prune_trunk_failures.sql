-- prune_trunk_failures: remove up to $2 failures of trunks that are older than $1 days.
-- Uses: trunk_failures_at, trunk by trunk. Locks: these rows, by SKIP LOCKED.
WITH old AS MATERIALIZED (
    SELECT f.row
      FROM trunks t
     CROSS JOIN LATERAL (SELECT f.ctid AS row
                           FROM trunk_failures f
                          WHERE f.trunk_id = t.id AND f.at < clock_timestamp() - $1 * interval '1 day'
                          ORDER BY f.at
                          LIMIT $2
                            FOR UPDATE SKIP LOCKED) f
     LIMIT $2
), gone AS (
    DELETE FROM trunk_failures WHERE ctid = ANY (ARRAY(SELECT row FROM old)) RETURNING 1
)
SELECT count(*)::integer FROM gone
