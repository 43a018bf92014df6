-- oldest_snapshot: the oldest snapshot that anybody holds open on this server, our own sessions too: what no vacuum can clean up after.
-- Promises: `age_s`: seconds since the transaction began that holds it, so at most its age is that; 0 without any. Sessions of
--   other roles are seen only with pg_read_all_stats. `transactions`: how far back the oldest one lies, in transactions, also
--   counting replication slots and prepared transactions, whose time nobody knows.
-- Locks nothing.
WITH holders AS MATERIALIZED (
    SELECT date_part('epoch', clock_timestamp() - coalesce(xact_start, query_start)) AS age_s, age(backend_xmin) AS transactions,
           coalesce(nullif(application_name, ''), backend_type) || ' (pid ' || pid || ', ' || coalesce(state, 'running') || ')' AS who
      FROM pg_stat_activity
     WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
    UNION ALL
    SELECT date_part('epoch', clock_timestamp() - prepared), age(transaction), 'prepared transaction ' || gid
      FROM pg_prepared_xacts
    UNION ALL
    SELECT NULL, greatest(age(xmin), age(catalog_xmin)), 'replication slot ' || slot_name
      FROM pg_replication_slots
     WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL
)
SELECT coalesce(greatest(0, max(age_s)), 0) AS age_s, coalesce(max(transactions), 0)::bigint AS transactions,
       coalesce((SELECT who FROM holders ORDER BY age_s DESC NULLS LAST, transactions DESC NULLS LAST LIMIT 1), '') AS who
  FROM holders
