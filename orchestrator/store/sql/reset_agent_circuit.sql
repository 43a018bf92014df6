-- reset_agent_circuit: close the circuit of agent pool $1 by an operator's order, and forget its absences.
-- Promises: event and wake-up with it. Uses: agent_pools_name_key. Locks: its row, waits.
SELECT close_pool_circuit(id, '{"by": "operator"}')
  FROM agent_pools
 WHERE name = $1
