-- show_call: call $1. Uses: calls_pkey. Locks nothing.
SELECT *
  FROM call_overview
 WHERE id = $1
