-- list_numbers: put numbers on lists.
-- Promises, uses, locks: those of the function list_numbers (migration 0011).
SELECT added, changed FROM list_numbers($1, $2, $3, $4, $5, $6)
