-- stop_dialling: the kill switch, because of $1. A second one changes the reason and not the time.
-- Promises: switch, event and wake-up together; every claim and every intent that begins after the commit sees it. Workers are told,
--   so that a call whose intent is written and whose dial time has not come is not dialled either.
-- Locks: the row of switches, which dials only read.
WITH stopped AS (
    UPDATE switches
       SET stopped_at = coalesce(stopped_at, clock_timestamp()), stopped_why = $1
 RETURNING stopped_at, stopped_why, held_at, held_why
), event AS (
    INSERT INTO system_events (kind, detail)
    SELECT 'system.stopped', jsonb_build_object('why', stopped_why)
      FROM stopped
)
SELECT s.*, pg_notify('orchestrator_stop', '')
  FROM stopped s
