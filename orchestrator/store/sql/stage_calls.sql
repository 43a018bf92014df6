-- stage_calls: place the due calls $1 by the calling windows from $2 until $3, found by the hours of versions $4 in time zones $5,
-- or held because of $6; returns how many became ready and how many are held by their hours.
-- Promises, uses, locks: those of the function stage_calls (migration 0006).
SELECT staged, held FROM stage_calls($1, $2, $3, $4, $5, $6)
