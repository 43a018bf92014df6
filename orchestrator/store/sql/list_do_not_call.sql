-- list_do_not_call: entries of the lists, newest first, one page; $1 the account (0: the list of all accounts; null: all lists),
--   $2 the kind, $3 what the source begins with, $4 to $6 the last entry of the page before, $7 how many.
-- Promises: changes nothing; entries that have run out are among them. Uses: do_not_call_created_at. Locks: none.
SELECT d.to_number, a.name AS account, d.account_id, d.kind, d.reason, d.source, d.created_at, d.expires_at, d.number_key,
       coalesce(d.expires_at > clock_timestamp(), true) AS in_force
  FROM do_not_call d
  LEFT JOIN accounts a ON a.id = d.account_id
 WHERE ($1::bigint IS NULL OR d.account_id = $1)
   AND ($2::text IS NULL OR d.kind = $2)
   AND ($3::text IS NULL OR starts_with(d.source, $3))
   AND ($4::timestamptz IS NULL OR (d.created_at, d.number_key, d.account_id) < ($4, $5::bytea, $6::bigint))
 ORDER BY d.created_at DESC, d.number_key DESC, d.account_id DESC
 LIMIT $7
