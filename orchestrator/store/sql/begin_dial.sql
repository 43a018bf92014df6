-- begin_dial: the last gate and the intent to dial for call $1 under claim $2, in room $3, from the first of the caller ids $4
-- that may show itself today, or by choice $5.
-- Promises, uses, locks: those of the function begin_dial (migration 0007).
SELECT refused, retry_in_s, dial_id, attempt, dial_number, dial_in_ms, caller_id FROM begin_dial($1, $2, $3, $4, $5)
