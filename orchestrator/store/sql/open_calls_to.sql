-- open_calls_to: of the $3 calls after id $2, those to the number $1 that have not ended; last_id is where to go on, null at the end.
-- Uses: calls_pkey. Reads the calls whole, a batch each time. Locks nothing.
SELECT max(c.id) AS last_id, array_agg(c.id) FILTER (WHERE c.to_number = $1 AND c.ended_at IS NULL) AS open
  FROM (SELECT id, to_number, ended_at FROM calls WHERE id > $2 ORDER BY id LIMIT $3) c
