-- claim_calls: claim up to $1 ready calls for worker $2. describe_claims says what they are.
-- Promises, uses, locks: those of the function claim_calls (migration 0006).
-- Nothing is joined here: this statement's snapshot is older than the claim, and a call that was queued meanwhile would be
-- claimed and not returned.
SELECT call_id, account_id, epoch, trunk_id FROM claim_calls($1, $2)
