-- queue_system: the switches, the workers that give signs of life ($1 s at most since the last), and how many calls are scheduled (at most
-- $2 are counted).
-- Uses: calls_scheduled_run_at; reads workers whole. Locks nothing.
SELECT s.stopped_at, s.stopped_why, s.held_at, s.held_why, clock_timestamp() AS now,
       (SELECT count(*) FROM (SELECT FROM calls WHERE state = 'scheduled' ORDER BY run_at, id LIMIT $2) c)::integer AS scheduled,
       w.workers::integer, w.draining::integer, w.seats::integer, w.live::integer
  FROM switches s
 CROSS JOIN (SELECT count(*) FILTER (WHERE NOT draining) AS workers, count(*) FILTER (WHERE draining) AS draining,
                    coalesce(sum(capacity) FILTER (WHERE NOT draining), 0) AS seats, coalesce(sum(live_calls), 0) AS live
               FROM workers
              WHERE stopped_at IS NULL AND heartbeat_at > clock_timestamp() - $1 * interval '1 s') w
