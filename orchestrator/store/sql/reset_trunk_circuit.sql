-- reset_trunk_circuit: the function of that name, on trunk $1. Uses: trunks_name_key. Locks: trunk_channels, trunk_health; waits.
SELECT reset_trunk_circuit(id)
  FROM trunks
 WHERE name = $1
