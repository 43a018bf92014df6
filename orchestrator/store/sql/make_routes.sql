-- make_routes: the agent pools and routes that the calls $1 need and that do not exist yet.
-- Promises, uses, locks: those of the function make_routes (migration 0006).
SELECT make_routes($1)
