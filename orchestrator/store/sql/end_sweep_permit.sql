-- end_sweep_permit: the sweep that an operator allowed has been done. Locks: the switches' row.
UPDATE switches SET sweep_allowed_at = NULL WHERE sweep_allowed_at IS NOT NULL
