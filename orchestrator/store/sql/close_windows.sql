-- close_windows: take up to $1 ready calls whose calling window has closed back; returns how many.
-- Promises, uses, locks: those of the function close_windows (migration 0006).
SELECT close_windows($1) AS closed
