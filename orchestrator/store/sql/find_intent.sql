-- find_intent: the intent of call $1 under claim $2, if its commit took place.
-- Promises, uses, locks: those of the function find_intent (migration 0003).
SELECT dial_id, attempt, dial_number, dial_in_ms FROM find_intent($1, $2)
