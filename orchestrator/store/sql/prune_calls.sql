-- prune_calls: look at the $3 calls after id $1, and remove those that ended more than $2 days ago. See 0010_age.sql.
SELECT last_id, removed, beyond FROM prune_calls($1, $2, $3)
