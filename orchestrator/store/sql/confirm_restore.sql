-- confirm_restore: the function of that name (migration 0009) says what it promises.
SELECT confirm_restore() AS was
