-- lost_rooms: which of the rooms $1, named `..-<call>-<epoch>` by this deployment, belong to no live call: neither to the claim in
-- force of a call that is claimed, nor to a dial that has not ended. An inbound call has whatever room carries its id.
-- Uses: calls_pkey, dials (call_id, epoch). Locks nothing.
SELECT r.name
  FROM unnest($1::text[]) AS r (name)
 CROSS JOIN LATERAL (
       SELECT substring(r.name FROM '-([0-9]{1,18})-[0-9]{1,9}$')::bigint AS call_id,
              substring(r.name FROM '-([0-9]{1,9})$')::integer AS epoch) n
 WHERE NOT EXISTS (
       SELECT FROM calls c
        WHERE c.id = n.call_id AND c.ended_at IS NULL AND c.worker_id IS NOT NULL
          AND (c.direction = 'inbound' OR c.epoch = n.epoch
               OR EXISTS (SELECT FROM dials d WHERE d.call_id = c.id AND d.epoch = c.epoch AND d.room = r.name)))
