-- take_lease: the function of that name (migration 0009) says what it promises.
SELECT take_lease($1, $2, $3) AS term
