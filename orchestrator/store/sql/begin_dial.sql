-- begin_dial: the last gate and the intent to dial for call $1 under claim $2, in room $3, from caller id $4.
-- Promises, uses, locks: those of the function begin_dial (migration 0003).
SELECT refused, dial_id, attempt, dial_number, dial_in_ms FROM begin_dial($1, $2, $3, $4)
