-- find_account_id: an account's id by its name; no row if there is none. Uses: accounts_name_key. Locks: none.
SELECT id FROM accounts WHERE name = $1
