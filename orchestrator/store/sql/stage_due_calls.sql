-- stage_due_calls: move up to $1 due calls into the ready queue; returns how many moved.
-- Promises, uses, locks: those of the function stage_due_calls (migration 0002).
SELECT stage_due_calls($1) AS staged
