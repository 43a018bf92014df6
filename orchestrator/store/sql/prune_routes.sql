-- prune_routes: remove up to $2 lanes that have been idle for $1 days, and routes and agent pools that nothing uses.
-- Promises, uses, locks: those of the function prune_routes (migration 0010).
SELECT prune_routes($1, $2)
