-- begin_inbound_call: write down a call that somebody has made to account $1's number.
-- Promises, uses, locks: those of the function begin_inbound_call (migration 0012). No row: there is no such account.
SELECT a.id AS account_id, b.call_id, b.epoch, b.ours
  FROM accounts a
 CROSS JOIN LATERAL begin_inbound_call(a.id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) b
 WHERE a.name = $1
