-- add_agent_pool: the agent pool of name $1, if there is none yet; it stays until the end of the transaction.
-- Uses: agent_pools_name_key. Locks: advisory (7303, 0), shared, as prune_routes wants it.
INSERT INTO agent_pools (name)
SELECT $1
  FROM (SELECT pg_advisory_xact_lock_shared(7303, 0) OFFSET 0) held
    ON CONFLICT (name) DO NOTHING
