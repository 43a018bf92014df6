-- erase_elsewhere: erase the number $1 in all but calls; with $2 the do-not-call lists keep its hash alone. See 0010_age.sql.
SELECT trunk_failures, caller_ids, listed, events FROM erase_elsewhere($1, $2)
