-- record_system_event: a line of what happened to the system as a whole: its kind, whom or what it is about, and details. Locks nothing.
INSERT INTO system_events (kind, subject, detail) VALUES ($1, $2, $3)
