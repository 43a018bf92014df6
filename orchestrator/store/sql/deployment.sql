-- deployment: this deployment's id. Made by the first migration, never changed. Locks nothing.
SELECT id FROM deployment
