-- finish_call: the one true end of a call.
-- Promises, uses, locks: those of the function finish_call (migration 0003).
SELECT finish_call(
           p_account_id => $1, p_call_id => $2, p_epoch => $3, p_state => $4, p_end_reason => $5, p_dialled => $6,
           p_answered_by => $7, p_sip_code => $8, p_sip_reason => $9, p_q850_cause => $10, p_hangup_cause => $11,
           p_error_code => $12, p_error_message => $13, p_pdd_ms => $14, p_ring_ms => $15, p_ring_error_ms => $16, p_talk_ms => $17,
           p_sip_call_id => $18, p_livekit_sip_call_id => $19, p_participant_sid => $20, p_evidence => $21) AS ours
