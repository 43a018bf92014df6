-- expire_calls: end up to $1 waiting calls whose time has run out; returns them with their end reasons.
-- Promises, uses, locks: those of the function expire_calls (migration 0006).
SELECT call_id, end_reason FROM expire_calls($1)
