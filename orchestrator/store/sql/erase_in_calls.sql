-- erase_in_calls: erase the number $1 in the $3 calls after id $2. See 0010_age.sql.
SELECT last_id, erased, kept, open FROM erase_in_calls($1, $2, $3)
