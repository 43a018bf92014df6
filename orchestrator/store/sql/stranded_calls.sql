-- stranded_calls: calls that hold a slot and whose worker has stopped, or has not beaten its heart for $2 s by the database's clock, or
-- is worker $1 itself, which knows which of these it conducts.
-- Uses: calls_live, workers_pkey. Locks nothing: the writes that follow are guarded by the epoch.
SELECT c.id, c.account_id, c.epoch, c.deferrals, c.state,
       CASE WHEN c.state = 'claimed' THEN 0 ELSE date_part('epoch', clock_timestamp() - c.dialed_at) END AS since_intent_s
  FROM workers w
  JOIN calls c ON c.worker_id = w.id AND c.worker_id IS NOT NULL AND c.ended_at IS NULL
 WHERE w.id = $1
    OR w.stopped_at IS NOT NULL
    OR w.heartbeat_at < clock_timestamp() - $2 * interval '1 s'
