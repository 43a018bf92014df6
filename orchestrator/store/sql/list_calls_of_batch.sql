-- list_calls_of_batch: as list_calls, of batch $7 only: a statement of its own, since a plan for any batch would read all calls.
-- Uses: calls_batch from the batch's end. Locks nothing.
SELECT *
  FROM call_overview
 WHERE batch = $7
   AND ($1::text IS NULL OR account = $1)
   AND ($2::text IS NULL OR to_number = $2)
   AND ($3::text[] IS NULL OR state = ANY ($3))
   AND ($4::text IS NULL OR end_reason = $4)
   AND id < coalesce($5::bigint, 9223372036854775807)
 ORDER BY id DESC
 LIMIT $6
