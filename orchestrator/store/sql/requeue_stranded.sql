-- requeue_stranded: the function of that name (migration 0009) says what it promises.
SELECT requeue_stranded($1, $2, $3, $4, $5) AS moved
