-- next_due: seconds until the next scheduled call is due, 0 if it is; null without one.
-- Uses: the first entry of calls_scheduled_run_at. Locks nothing.
SELECT greatest(0, date_part('epoch', min(run_at) - clock_timestamp())) AS due_in_s
  FROM calls
 WHERE state = 'scheduled'
