-- change_account_limits: change what is not null of the limits of account $1; a trigger carries it to the lanes. A limit that falls
-- below what is in flight takes effect as calls end. Uses: accounts_name_key, account_slots_pkey. Locks: the account, then its lanes.
UPDATE account_slots s
   SET max_concurrent = coalesce($2, s.max_concurrent), weight = coalesce($3, s.weight), reserved = coalesce($4, s.reserved),
       paused = coalesce($5, s.paused)
  FROM accounts a
 WHERE a.name = $1 AND s.account_id = a.id
