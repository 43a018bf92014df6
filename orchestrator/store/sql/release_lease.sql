-- release_lease: the function of that name (migration 0009) says what it promises.
SELECT release_lease($1, $2) AS released
