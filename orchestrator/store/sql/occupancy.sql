-- occupancy: how full everything is, from the counters alone. Locks nothing; reads each account, trunk and lane once.
SELECT (SELECT coalesce(sum(ready), 0) FROM lanes) AS ready,
       s.used AS slots_used, s.total AS slots_total, t.used AS channels_used, t.total AS channels_total
  FROM (SELECT coalesce(sum(inflight), 0) AS used, coalesce(sum(max_concurrent), 0) AS total FROM account_slots) s
 CROSS JOIN (SELECT coalesce(sum(channels), 0) AS used, coalesce(sum(max_channels) FILTER (WHERE enabled), 0) AS total
               FROM trunk_channels) t
