-- find_listings: all entries of one number, those that have run out too; with an account ($2), what applies to it.
-- Promises: changes nothing. Uses: do_not_call_pkey. Locks: none.
SELECT d.to_number, a.name AS account, d.account_id, d.kind, d.reason, d.source, d.created_at, d.expires_at, d.number_key,
       coalesce(d.expires_at > clock_timestamp(), true) AS in_force
  FROM do_not_call d
  LEFT JOIN accounts a ON a.id = d.account_id
 WHERE d.number_key = number_key($1)
   AND ($2::bigint IS NULL OR d.account_id IN (0, $2))
 ORDER BY d.account_id
