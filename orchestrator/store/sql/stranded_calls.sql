-- stranded_calls: calls that hold a slot and that nobody conducts: their worker has stopped, has no row (any more), or has not beaten its heart for $2 s by the
-- database's clock; or it is worker $1 itself, which holds only the claims $3 (calls) and $4 (epochs). Hearts could not beat while the
-- server was down: until it has been up for $5 s their silence says nothing.
-- Uses: calls_live, workers_pkey. Locks nothing: whoever acts on it checks again, under locks.
SELECT c.id, c.account_id, c.epoch, c.deferrals, c.state,
       CASE WHEN c.state = 'claimed' THEN 0 ELSE date_part('epoch', clock_timestamp() - c.dialed_at) END AS since_intent_s
  FROM calls c
  LEFT JOIN workers w ON w.id = c.worker_id
 WHERE c.worker_id IS NOT NULL AND c.ended_at IS NULL
   AND (c.worker_id = $1 OR w.id IS NULL OR w.stopped_at IS NOT NULL
        OR (w.heartbeat_at < clock_timestamp() - $2 * interval '1 s'
            AND pg_postmaster_start_time() <= clock_timestamp() - $5 * interval '1 s'))
   AND NOT EXISTS (SELECT FROM unnest($3::bigint[], $4::integer[]) AS held (call_id, epoch)
                    WHERE held.call_id = c.id AND held.epoch = c.epoch)
