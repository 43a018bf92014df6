-- release_held_calls: let up to 1,000 calls that the calling hours of account $1 hold be placed again; returns how many.
-- Promises, uses, locks: those of the function release_held_calls (migration 0006).
SELECT release_held_calls($1) AS released
