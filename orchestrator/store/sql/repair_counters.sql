-- repair_counters: the function of that name (migration 0009) says what it promises. With $1 lanes are compared, too, unless more than
-- $2 calls are ready: that reads them all.
SELECT inflight, inbound, lanes, agents, channels
  FROM repair_counters($1::boolean AND $2 >= (SELECT coalesce(sum(ready), 0) FROM lanes))
