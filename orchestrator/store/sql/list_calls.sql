-- list_calls: calls, newest first: of account $1, to $2, in one of the states $3, with end reason $4, older than $5; at most $6. A null
-- asks for any.
-- Uses: calls_pkey from its end. Locks nothing.
SELECT *
  FROM call_overview
 WHERE ($1::text IS NULL OR account = $1)
   AND ($2::text IS NULL OR to_number = $2)
   AND ($3::text[] IS NULL OR state = ANY ($3))
   AND ($4::text IS NULL OR end_reason = $4)
   AND id < coalesce($5::bigint, 9223372036854775807)
 ORDER BY id DESC
 LIMIT $6
