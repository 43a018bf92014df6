-- prune_workers: remove up to $2 workers that stopped, or last beat their heart, more than $1 days ago.
-- Promises: none that a live call or a lease names. Uses: calls_live; reads workers and leases whole, which are short.
-- Locks: these rows, by SKIP LOCKED.
WITH old AS MATERIALIZED (
    SELECT w.id
      FROM workers w
     WHERE coalesce(w.stopped_at, w.heartbeat_at) < clock_timestamp() - $1 * interval '1 day'
       AND NOT EXISTS (SELECT FROM calls c WHERE c.worker_id = w.id AND c.worker_id IS NOT NULL AND c.ended_at IS NULL)
       AND NOT EXISTS (SELECT FROM leases l WHERE l.worker_id = w.id)
     LIMIT $2
       FOR UPDATE OF w SKIP LOCKED
), gone AS (
    DELETE FROM workers WHERE id IN (SELECT id FROM old) RETURNING 1
)
SELECT count(*)::integer FROM gone
