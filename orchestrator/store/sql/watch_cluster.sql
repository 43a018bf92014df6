-- watch_cluster: the function of that name (migration 0009) says what it promises.
SELECT watch_cluster() AS held_why
