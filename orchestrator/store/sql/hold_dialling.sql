-- hold_dialling: hold all dialling until an operator confirms, because of $1. A hold that is there already stays as it is: no row.
-- Promises: switch, event and wake-up together. Locks: the row of switches, which dials only read.
WITH held AS (
    UPDATE switches
       SET held_at = clock_timestamp(), held_why = $1
     WHERE held_at IS NULL
 RETURNING held_why
), event AS (
    INSERT INTO system_events (kind, detail)
    SELECT 'system.held', jsonb_build_object('why', held_why)
      FROM held
)
SELECT pg_notify('orchestrator_stop', '')
  FROM held
