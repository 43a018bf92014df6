-- resume_dialling: take the kill switch back; the hold after a restore stays. No row if it was not set.
-- Promises: switch, event and wake-up together. Locks: the row of switches, which dials only read.
WITH resumed AS (
    UPDATE switches
       SET stopped_at = NULL, stopped_why = ''
     WHERE stopped_at IS NOT NULL
 RETURNING held_at
), event AS (
    INSERT INTO system_events (kind)
    SELECT 'system.resumed'
      FROM resumed
)
SELECT pg_notify('orchestrator_queue', '')
  FROM resumed
