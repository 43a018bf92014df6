-- list_attempts: the attempts of call $1 in order. Uses: attempts_pkey. Locks nothing.
SELECT number, started_at, ended_at, end_reason
  FROM attempts
 WHERE call_id = $1
 ORDER BY number
