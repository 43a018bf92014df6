-- prune_caller_id_days: remove up to $2 counts of caller ids of days that began more than $1 days before today (UTC).
-- Reads the table whole: a row for each caller id and day. Locks: these rows, by SKIP LOCKED.
WITH old AS MATERIALIZED (
    SELECT caller_id, day
      FROM caller_id_days
     WHERE day < (clock_timestamp() AT TIME ZONE 'UTC')::date - ceil($1)::integer
     LIMIT $2
       FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM caller_id_days d USING old o WHERE d.caller_id = o.caller_id AND d.day = o.day RETURNING 1
)
SELECT count(*)::integer FROM gone
