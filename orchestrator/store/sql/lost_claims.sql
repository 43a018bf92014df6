-- lost_claims: which of the claims $2 (calls) and $3 (epochs), which worker $1 holds, are not its own any more: taken over by another
-- worker, given back or ended. Right after the end of a call its own conductor may still be named.
-- Uses: calls_pkey. Locks nothing: asked after a beat of the heart, which waits for whoever is taking calls over.
SELECT held.call_id, held.epoch
  FROM unnest($2::bigint[], $3::integer[]) AS held (call_id, epoch)
 WHERE NOT EXISTS (SELECT FROM calls c
                    WHERE c.id = held.call_id AND c.epoch = held.epoch AND c.worker_id = $1 AND c.ended_at IS NULL)
