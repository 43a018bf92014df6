-- prune_do_not_call: remove up to $2 do-not-call entries that expired more than $1 days ago.
-- Uses: do_not_call_expires_at, do_not_call_pkey. Locks: these rows, by SKIP LOCKED.
WITH old AS MATERIALIZED (
    SELECT number_key, account_id
      FROM do_not_call
     WHERE expires_at < clock_timestamp() - $1 * interval '1 day'
     ORDER BY expires_at
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM do_not_call d USING old o WHERE d.number_key = o.number_key AND d.account_id = o.account_id RETURNING 1
)
SELECT count(*)::integer FROM gone
