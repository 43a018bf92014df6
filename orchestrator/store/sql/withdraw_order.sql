-- withdraw_order: call $1 (claim $2) is not ended by $3 after all: that was written down, and not carried out.
-- Promises: column and event change together; nothing changes if another order stands or none; true if the claim holds the call.
-- Uses: calls_pkey. Locks: the call, waits.
WITH mine AS MATERIALIZED (
    SELECT id, ordered_end
      FROM calls
     WHERE id = $1 AND epoch = $2 AND state IN ('claimed', 'dialing', 'ringing', 'active')
       FOR NO KEY UPDATE
), changed AS (
    UPDATE calls c
       SET ordered_end = NULL
      FROM mine m
     WHERE c.id = m.id AND m.ordered_end = $3
 RETURNING c.id
), event AS (
    INSERT INTO call_events (call_id, epoch, kind, detail)
    SELECT id, $2, 'order_withdrawn', jsonb_build_object('order', $3::text) || $4::jsonb
      FROM changed
)
SELECT true AS ours
  FROM mine
