-- allow_sweep: an operator lets a sweep end unusually many rooms, once, within the next minutes. Locks: the switches' row.
WITH allowed AS (
    UPDATE switches SET sweep_allowed_at = clock_timestamp()
)
INSERT INTO system_events (kind) VALUES ('sweep_allowed')
