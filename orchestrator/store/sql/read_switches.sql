-- read_switches: the system's switches. Locks nothing.
SELECT stopped_at, stopped_why, held_at, held_why
  FROM switches
