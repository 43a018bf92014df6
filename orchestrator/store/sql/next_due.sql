-- next_due: seconds until the next scheduled call is due, 0 if it is; null without one.
-- Uses: the first entry of calls_scheduled_run_at. Locks nothing.
-- The CASE is needed: greatest() passes over a null, and an empty queue would be due now.
SELECT CASE WHEN min(run_at) IS NOT NULL
            THEN greatest(0, date_part('epoch', min(run_at) - clock_timestamp()))
       END AS due_in_s
  FROM calls
 WHERE state = 'scheduled'
