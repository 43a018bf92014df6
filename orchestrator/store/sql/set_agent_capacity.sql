-- set_agent_capacity: the function of that name, on pool $1 with capacity $2 (null: not limited).
-- Locks: the pool's advisory lock, then its row; waits.
SELECT set_agent_capacity(id, $2)
  FROM agent_pools
 WHERE name = $1
