-- unlist_number: take a number off one list, whatever kind of entry it is; returns what stood there.
-- Promises: afterwards this list does not stop calls to it. Uses: do_not_call_pkey. Locks: do_not_call; waits.
DELETE FROM do_not_call d
 WHERE d.number_key = number_key($1)
   AND d.account_id = $2
RETURNING d.to_number, d.account_id, (SELECT a.name FROM accounts a WHERE a.id = d.account_id) AS account,
          d.kind, d.reason, d.source, d.created_at, d.expires_at, d.number_key,
          coalesce(d.expires_at > clock_timestamp(), true) AS in_force
