-- record_order: what we are about to do to end call $1 (claim $2): $3. Written before it is done, so that what the carrier answers
-- to it is read as the answer to it.
-- Promises: column and event change together; the same order again changes nothing; true if the claim holds the call.
-- Uses: calls_pkey. Locks: the call, waits.
WITH mine AS MATERIALIZED (
    SELECT id, ordered_end
      FROM calls
     WHERE id = $1 AND epoch = $2 AND state IN ('claimed', 'dialing', 'ringing', 'active')
       FOR NO KEY UPDATE
), changed AS (
    UPDATE calls c
       SET ordered_end = $3
      FROM mine m
     WHERE c.id = m.id AND m.ordered_end IS DISTINCT FROM $3
 RETURNING c.id
), event AS (
    INSERT INTO call_events (call_id, epoch, kind, detail)
    SELECT id, $2, 'order', jsonb_build_object('order', $3::text) || $4::jsonb
      FROM changed
)
SELECT true AS ours
  FROM mine
