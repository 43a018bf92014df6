-- 0003_calls: the functions that change one call that a worker holds, or that an operator withdraws. Each one's comment says what
-- it promises, which index it uses, and what it locks in which order.

-- begin_dial: the last gate, then the intent to dial and the dial time to keep. Commit, sleep dial_in_ms, send one INVITE.
-- Promises: once per claim; checked again by the database's clock, after the call is locked: claim, cancel, expiry, pause of the
--   account, trunk enabled. `refused` names what forbids the dial, and nothing has changed then. No row: the claim is no longer
--   ours. The dial times that it gives out on one trunk are dial_interval_us apart, so that INVITEs that leave within
--   dial_slack_ms after theirs never exceed max_cps in any second. A worker that cannot keep the time does not dial late.
--   A dial after one that rang nowhere belongs to the same attempt.
-- Uses: calls_pkey, account_slots_pkey, attempts_one_open, dials' keys, trunk_channels_pkey.
-- Locks: call, attempt, then trunk_channels; waits for each. The account is only read: a pause that commits later is later.
--
-- The claim paces how many calls are prepared, this paces INVITEs, from a bucket of its own: preparing takes unforeseeably
-- long or fails, and a dial time taken before it is missed. dial_in_ms is dial_at for a worker whose clock is not the database's.
CREATE FUNCTION begin_dial(
    p_call_id bigint, p_epoch integer, p_room text, p_caller_id text,
    OUT refused text, OUT dial_id bigint, OUT attempt integer, OUT dial_number integer, OUT dial_in_ms double precision
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 1 AS $$
#variable_conflict use_column
DECLARE
    v_call    record;
    v_dial_at timestamptz;
BEGIN
    SELECT c.account_id, c.trunk_id, c.worker_id, c.attempt, c.expires_at, c.cancel_requested_at
      INTO v_call
      FROM calls c
     WHERE c.id = p_call_id AND c.epoch = p_epoch AND c.state = 'claimed'
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    refused := CASE
        WHEN v_call.cancel_requested_at IS NOT NULL THEN 'canceled'
        WHEN v_call.expires_at <= clock_timestamp() THEN 'expired'
        WHEN (SELECT s.paused FROM account_slots s WHERE s.account_id = v_call.account_id) THEN 'account_paused'
        WHEN NOT (SELECT t.enabled FROM trunk_channels t WHERE t.trunk_id = v_call.trunk_id) THEN 'trunk_disabled'
        END;
    IF refused IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT t.number INTO attempt FROM attempts t WHERE t.call_id = p_call_id AND t.ended_at IS NULL;
    IF NOT FOUND THEN
        attempt := v_call.attempt + 1;
        INSERT INTO attempts (call_id, number) VALUES (p_call_id, attempt);
    END IF;
    dial_number := 1 + (SELECT count(*) FROM dials d WHERE d.call_id = p_call_id AND d.attempt = begin_dial.attempt);

    -- The trunk's row is locked as late as can be, since every other call on the trunk waits from then to the commit.
    UPDATE calls c
       SET state = 'dialing', dialed_at = clock_timestamp(), attempt = begin_dial.attempt
     WHERE c.id = p_call_id;
    INSERT INTO call_events (call_id, epoch, state, detail)
    VALUES (p_call_id, p_epoch, 'dialing', jsonb_build_object(
                'attempt', attempt, 'dial', dial_number, 'trunk_id', v_call.trunk_id, 'caller_id', p_caller_id, 'room', p_room));

    UPDATE trunk_channels t
       SET next_invite_at = greatest(t.next_invite_at, clock_timestamp()) + t.dial_interval_us * interval '1 microsecond'
     WHERE t.trunk_id = v_call.trunk_id
 RETURNING t.next_invite_at - t.dial_interval_us * interval '1 microsecond' INTO v_dial_at;

    INSERT INTO dials (call_id, attempt, number, epoch, worker_id, trunk_id, caller_id, room, dial_at)
    VALUES (p_call_id, attempt, dial_number, p_epoch, v_call.worker_id, v_call.trunk_id, p_caller_id, p_room, v_dial_at)
 RETURNING id INTO dial_id;
    dial_in_ms := greatest(0, date_part('epoch', v_dial_at - clock_timestamp()) * 1000);
    RETURN NEXT;
END $$;

-- finish_call: write a call's terminal state, end reason and all that is known of its end; end its attempt and dial; give back its
-- account slot and trunk channel; append the event.
-- Promises: true if the call ended so under this claim (account, id, epoch), now or by an earlier commit whose answer was lost;
--   false for everything else: wrong epoch, ended otherwise, back on the queue. All changes together or none. A terminal state
--   that the lifecycle does not allow raises calls_transition.
-- Uses: account_slots_pkey, calls_pkey, attempts_one_open, dials (call_id, epoch), lanes_pkey, trunk_channels_pkey.
-- Locks: account, call, attempt, dial, lanes, trunk_channels; waits for each. The trunk is last, because every other call on it
--   waits from here to the commit.
--
-- A function and not one statement, because the lanes must be read after the account is locked: in one statement a lane
-- that has just been filled is older in the snapshot than in fact, is left at "has_room = false" and sleeps for ever.
CREATE FUNCTION finish_call(
    p_account_id bigint, p_call_id bigint, p_epoch integer, p_state text, p_end_reason text, p_dialled text, p_answered_by text,
    p_sip_code integer, p_sip_reason text, p_q850_cause integer, p_hangup_cause text, p_error_code text, p_error_message text,
    p_pdd_ms integer, p_ring_ms integer, p_ring_error_ms integer, p_talk_ms integer,
    p_sip_call_id text, p_livekit_sip_call_id text, p_participant_sid text, p_evidence jsonb
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_trunk_id integer;
BEGIN
    PERFORM FROM account_slots WHERE account_id = p_account_id FOR NO KEY UPDATE;

    UPDATE calls
       SET state = p_state, end_reason = p_end_reason, ended_at = clock_timestamp(), dialled = p_dialled,
           answered_by = p_answered_by, sip_code = p_sip_code, sip_reason = p_sip_reason, q850_cause = p_q850_cause,
           hangup_cause = p_hangup_cause, error_code = p_error_code, error_message = p_error_message,
           pdd_ms = coalesce(p_pdd_ms, pdd_ms), ring_ms = coalesce(p_ring_ms, ring_ms),
           ring_error_ms = coalesce(p_ring_error_ms, ring_error_ms), talk_ms = p_talk_ms,
           sip_call_id = coalesce(nullif(p_sip_call_id, ''), sip_call_id),
           livekit_sip_call_id = coalesce(nullif(p_livekit_sip_call_id, ''), livekit_sip_call_id),
           participant_sid = coalesce(nullif(p_participant_sid, ''), participant_sid), evidence = p_evidence
     WHERE id = p_call_id AND account_id = p_account_id AND epoch = p_epoch
       AND state IN ('claimed', 'dialing', 'ringing', 'active')
 RETURNING trunk_id INTO v_trunk_id;
    IF NOT FOUND THEN
        RETURN EXISTS (SELECT FROM calls
                        WHERE id = p_call_id AND account_id = p_account_id AND epoch = p_epoch
                          AND worker_id IS NOT NULL AND state = p_state AND end_reason = p_end_reason);
    END IF;

    UPDATE attempts
       SET ended_at = clock_timestamp(), end_reason = p_end_reason
     WHERE call_id = p_call_id AND ended_at IS NULL;
    UPDATE dials
       SET ended_at = clock_timestamp(), spent = true, dialled = p_dialled, sip_code = p_sip_code, sip_reason = p_sip_reason,
           sip_call_id = p_sip_call_id, livekit_sip_call_id = p_livekit_sip_call_id, participant_sid = p_participant_sid
     WHERE call_id = p_call_id AND epoch = p_epoch AND ended_at IS NULL;
    INSERT INTO call_events (call_id, epoch, state, detail)
    VALUES (p_call_id, p_epoch, p_state, jsonb_strip_nulls(jsonb_build_object(
                'end_reason', p_end_reason, 'sip_code', p_sip_code, 'ring_ms', p_ring_ms, 'talk_ms', p_talk_ms)) || p_evidence);

    PERFORM release_slot(p_account_id, v_trunk_id);
    RETURN true;
END $$;

-- release_slot: take a call off the counters of its account and trunk.
-- Promises: inflight, channels and the lanes' copies of share and has_room change together.
-- Uses: account_slots_pkey, lanes_pkey, trunk_channels_pkey.
-- Locks: lanes, then the trunk. The caller already holds the account, from an earlier statement of its transaction, so that
--   this one's snapshots show the lanes as they are.
CREATE FUNCTION release_slot(p_account_id bigint, p_trunk_id integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_share    double precision;
    v_has_room boolean;
BEGIN
    UPDATE account_slots
       SET inflight = inflight - 1
     WHERE account_id = p_account_id
 RETURNING share, has_room INTO v_share, v_has_room;

    UPDATE lanes
       SET share = v_share, has_room = v_has_room
     WHERE account_id = p_account_id AND ready > 0;

    UPDATE trunk_channels
       SET channels = channels - 1
     WHERE trunk_id = p_trunk_id;
END $$;

-- requeue_call: put a call back on the queue unspent, at once or after a delay: claimed and not dialled, or dialled with a result
-- that proves that no phone rang.
-- Promises: true if it went back under this claim, now or by an earlier commit whose answer was lost. Slot and channel are free
--   again (the dial time is not: it is lost to the trunk); the dial ends unspent, the attempt stays open; the epoch stays, so that
--   the old holder's writes fail on the state, and after the next claim on the epoch. A call whose cancel was requested
--   meanwhile is canceled instead: nobody would look at it again before its next claim.
-- Uses: account_slots_pkey, calls_pkey, dials (call_id, epoch), attempts_one_open, lanes_pkey, trunk_channels_pkey.
-- Locks: account, call, attempt, dial, lanes, trunk_channels; waits for each.
CREATE FUNCTION requeue_call(
    p_account_id bigint, p_call_id bigint, p_epoch integer, p_delay_s double precision, p_waiting_for text, p_detail jsonb
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_call  record;
    v_state text;
BEGIN
    PERFORM FROM account_slots WHERE account_id = p_account_id FOR NO KEY UPDATE;

    SELECT state, trunk_id, trunk_group_id, cancel_requested_at
      INTO v_call
      FROM calls
     WHERE id = p_call_id AND account_id = p_account_id AND epoch = p_epoch AND state IN ('claimed', 'dialing')
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN       -- what a claim puts back has that claim's epoch, what was queued before has a lower one
        RETURN p_epoch > 0 AND EXISTS (SELECT FROM call_events
                                        WHERE call_id = p_call_id AND epoch = p_epoch
                                          AND state IN ('scheduled', 'ready', 'canceled'));
    END IF;
    v_state := CASE WHEN v_call.cancel_requested_at IS NOT NULL THEN 'canceled'
                    WHEN v_call.state = 'dialing' OR p_delay_s > 0 THEN 'scheduled'
                    ELSE 'ready' END;

    UPDATE dials
       SET ended_at = clock_timestamp(), spent = false, dialled = 'no'
     WHERE call_id = p_call_id AND epoch = p_epoch AND ended_at IS NULL;
    IF v_state = 'canceled' THEN
        UPDATE calls
           SET state = 'canceled', end_reason = 'CANCELED_BY_REQUEST', dialled = 'no', ended_at = clock_timestamp(),
               evidence = p_detail
         WHERE id = p_call_id;
        UPDATE attempts
           SET ended_at = clock_timestamp(), end_reason = 'CANCELED_BY_REQUEST'
         WHERE call_id = p_call_id AND ended_at IS NULL;
    ELSE
        UPDATE calls
           SET state = v_state, run_at = CASE WHEN p_delay_s > 0 THEN clock_timestamp() + p_delay_s * interval '1 s' ELSE run_at END,
               deferrals = deferrals + 1, waiting_for = p_waiting_for,
               worker_id = NULL, trunk_id = NULL, claimed_at = NULL, dial_at = NULL, dialed_at = NULL, ordered_end = NULL
         WHERE id = p_call_id;
    END IF;
    INSERT INTO call_events (call_id, epoch, state, detail)
    VALUES (p_call_id, p_epoch, v_state, jsonb_build_object('waiting_for', p_waiting_for, 'delay_s', p_delay_s) || p_detail);

    IF v_state = 'ready' THEN
        PERFORM add_ready(ARRAY[p_account_id], ARRAY[v_call.trunk_group_id]);
    ELSIF v_state = 'scheduled' AND p_delay_s <= 0 THEN
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;
    PERFORM release_slot(p_account_id, v_call.trunk_id);
    RETURN true;
END $$;

-- cancel_calls: end calls of one account that no worker holds.
-- Promises: returns the ids that were scheduled or ready and are now canceled; the others are claimed or ended, and a
--   claimed call is canceled through its worker. Each lane's `ready` equals the number of its ready calls.
-- Uses: account_slots_pkey, calls_pkey, attempts_one_open, lanes_pkey. Locks: the account, then calls, attempts, lanes; waits for
--   each. At most 1,000 ids, since the claim skips the account meanwhile.
CREATE FUNCTION cancel_calls(p_account_id bigint, p_call_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_calls  bigint[];
    v_groups integer[];
BEGIN
    PERFORM FROM account_slots WHERE account_id = p_account_id FOR NO KEY UPDATE;

    WITH mine AS MATERIALIZED (
        SELECT id, state
          FROM calls
         WHERE id = ANY (p_call_ids) AND account_id = p_account_id AND state IN ('scheduled', 'ready')
    ), canceled AS (
        UPDATE calls c
           SET state = 'canceled', end_reason = 'CANCELED_BY_REQUEST', dialled = 'no', ended_at = clock_timestamp(),
               cancel_requested_at = coalesce(c.cancel_requested_at, clock_timestamp())
          FROM mine m
         WHERE c.id = m.id
     RETURNING c.id, c.epoch, c.trunk_group_id, m.state AS was
    ), attempt AS (
        UPDATE attempts t
           SET ended_at = clock_timestamp(), end_reason = 'CANCELED_BY_REQUEST'
          FROM canceled c
         WHERE t.call_id = c.id AND t.ended_at IS NULL
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state, detail)
        SELECT id, epoch, 'canceled', jsonb_build_object('end_reason', 'CANCELED_BY_REQUEST') FROM canceled
    )
    SELECT array_agg(id), array_agg(trunk_group_id) FILTER (WHERE was = 'ready')
      INTO v_calls, v_groups
      FROM canceled;

    PERFORM remove_ready(array_fill(p_account_id, ARRAY[coalesce(cardinality(v_groups), 0)]), v_groups);
    RETURN coalesce(v_calls, '{}');
END $$;

-- request_cancel: withdraw a call: at once if it waits, else through the worker that holds it.
-- Promises: 'canceled': it has ended; 'requested': cancel_requested_at is set, once, with its event, and the worker is notified;
--   'already_ended'; 'not_found'. Repeating it changes nothing. Uses: calls_pkey and as cancel_calls.
-- Locks: account, call, lanes; waits for each.
CREATE FUNCTION request_cancel(p_call_id bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_account_id bigint;
    v_call       record;
BEGIN
    SELECT account_id INTO v_account_id FROM calls WHERE id = p_call_id;
    IF NOT FOUND THEN
        RETURN 'not_found';
    END IF;
    IF cardinality(cancel_calls(v_account_id, ARRAY[p_call_id])) = 1 THEN
        RETURN 'canceled';
    END IF;

    -- The account is locked by now, so that a call that is held cannot go back to the queue meanwhile.
    SELECT state, epoch, cancel_requested_at INTO v_call FROM calls WHERE id = p_call_id FOR NO KEY UPDATE;
    IF v_call.state IN ('ended', 'not_connected', 'canceled') THEN
        RETURN 'already_ended';
    END IF;
    IF v_call.cancel_requested_at IS NULL THEN
        UPDATE calls SET cancel_requested_at = clock_timestamp() WHERE id = p_call_id;
        INSERT INTO call_events (call_id, epoch, kind) VALUES (p_call_id, v_call.epoch, 'cancel_requested');
        PERFORM pg_notify('orchestrator_cancel', p_call_id::text);
    END IF;
    RETURN 'requested';
END $$;
