-- record_note: a line of kind $3 in the timeline of call $1 (claim $2).
-- Promises: written if the claim holds the call. Twice if asked twice. Uses: calls_pkey. Locks: the call's key, shared.
INSERT INTO call_events (call_id, epoch, kind, detail)
SELECT id, epoch, $3, $4::jsonb
  FROM calls
 WHERE id = $1 AND epoch = $2 AND state IN ('claimed', 'dialing', 'ringing', 'active')
RETURNING true AS ours
