-- register_worker: a new instance of a worker; the name may be taken, each start is an instance of its own. Locks nothing.
INSERT INTO workers (name, version, capacity)
VALUES ($1, $2, $3)
RETURNING id
