-- finish_calls: the one true end of up to 100 calls, or of one attempt of each.
-- Promises, uses, locks: those of the function finish_calls (migration 0012).
SELECT n, ours, state
  FROM finish_calls(
           p_account_ids => $1, p_call_ids => $2, p_epochs => $3, p_states => $4, p_end_reasons => $5, p_dialled => $6,
           p_answered_by => $7, p_sip_codes => $8, p_sip_reasons => $9, p_q850_causes => $10, p_hangup_causes => $11,
           p_error_codes => $12, p_error_messages => $13, p_pdd_ms => $14, p_ring_ms => $15, p_ring_error_ms => $16,
           p_talk_ms => $17, p_sip_call_ids => $18, p_livekit_sip_call_ids => $19, p_participant_sids => $20, p_evidence => $21,
           p_trunk_verdicts => $22, p_trunk_codes => $23, p_redial_delays_s => $24, p_suppress_s => $25)
