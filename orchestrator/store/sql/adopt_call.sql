-- adopt_call: the function of that name (migration 0009) says what it promises.
SELECT adopt_call($1, $2, $3, $4) AS epoch
