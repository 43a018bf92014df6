-- pause_agent_pool: pause agent pool $1, or let it go on. Promises: workers hear of it. Uses: agent_pools_name_key. Locks: its row.
WITH changed AS (
    UPDATE agent_pools
       SET paused = $2
     WHERE name = $1
 RETURNING id
)
SELECT pg_notify('orchestrator_queue', '')
  FROM changed
