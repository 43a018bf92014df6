-- 0012_ends: how calls leave a worker's hands: ended, put back for their next attempt or unspent; and inbound calls, which begin
-- in a worker's hands. Each function's comment says what it promises, which index it uses, and what it locks in which order.
--
-- A session keeps the plans that it made while the tables were small, until they are analyzed again: it would read a million calls for
-- each end meanwhile. So these functions forbid scans of whole tables, and leave the planner one good way to each row of a large one.
-- What is true of every end (e.call_id > 0 ...) tells it that the arrays are short, so that it looks calls up by their keys;
-- `account_id = ANY (...)` beside `account_id + 0 = ...` that it need not look up accounts one by one.

DROP FUNCTION finish_call;
DROP FUNCTION requeue_call;
DROP FUNCTION release_slot;

-- An inbound call begins at ringing or active and was never queued: it holds its account's inbound counter, and no slot, trunk, route
-- or attempt. `to_number` is the number that was called, `caller_id` who calls; null: withheld.
ALTER TABLE calls
    ALTER COLUMN trunk_group_id DROP NOT NULL,
    DROP CONSTRAINT calls_live_hold_everything,
    ADD CONSTRAINT calls_live_hold_everything CHECK (
        state NOT IN ('claimed', 'dialing', 'ringing', 'active')
        OR (epoch > 0 AND worker_id IS NOT NULL
            AND (direction = 'inbound' OR (trunk_id IS NOT NULL AND claimed_at IS NOT NULL AND dial_at IS NOT NULL)))),
    DROP CONSTRAINT calls_dialing_have_an_attempt,
    ADD CONSTRAINT calls_dialing_have_an_attempt CHECK (
        state NOT IN ('dialing', 'ringing', 'active', 'ended') OR direction = 'inbound' OR (attempt > 0 AND dialed_at IS NOT NULL)),
    ADD CONSTRAINT calls_outbound_have_a_trunk_group CHECK (direction = 'inbound' OR trunk_group_id IS NOT NULL),
    ADD CONSTRAINT calls_inbound_hold_nothing CHECK (
        direction = 'outbound'
        OR (state IN ('ringing', 'active', 'ended', 'not_connected', 'canceled') AND attempt = 0
            AND num_nonnulls(trunk_id, route_id, claimed_at, dial_at, dialed_at) = 0));

-- give_back_slots: take calls off the counters of their accounts, one array element a call; p_inbound says which counter.
-- Promises: the counter and the lanes' copies of share and room change together. Uses: account_slots_pkey, lanes_pkey.
-- Locks: lanes. The caller already holds the accounts, from an earlier statement of its transaction, so that this one's snapshot
--   shows the lanes as they are: in one statement a lane that has just been filled is older in the snapshot than in fact, is left
--   at "has_room = false" and sleeps for ever.
--
-- Without nested loops, because of two good ways to join arrays with what they look up there is one bad one, each of the one with
-- all of the other, and it is taken whenever the tables have just been analyzed at a moment that suits it.
CREATE FUNCTION give_back_slots(p_account_ids bigint[], p_inbound boolean[]) RETURNS void
LANGUAGE plpgsql SET enable_nestloop = off AS $$
BEGIN
    WITH account AS (
        UPDATE account_slots a
           SET inflight = a.inflight - u.outbound, inbound = a.inbound - u.inbound
          FROM (SELECT account_id, count(*) FILTER (WHERE NOT inbound) AS outbound, count(*) FILTER (WHERE inbound) AS inbound
                  FROM unnest(p_account_ids, p_inbound) AS e (account_id, inbound)
                 GROUP BY account_id) u
         WHERE a.account_id = ANY (p_account_ids) AND a.account_id + 0 = u.account_id
     RETURNING a.account_id, a.share, a.has_room, a.has_urgent_room
    )
    UPDATE lanes l
       SET share = a.share, has_room = a.has_room, has_urgent_room = a.has_urgent_room
      FROM account a
     WHERE l.account_id = ANY (p_account_ids) AND l.account_id + 0 = a.account_id AND l.ready > 0;
END $$;

-- give_back_agents: take calls off the counters of their agent pools, and tell the pools' circuits whether agents came (null says
-- nothing); one array element a call.
-- Promises: a pool with a capacity counts exactly, whenever the capacity is set or taken away; a call that probed a circuit and says
--   nothing lets the next one probe. Nearly free for pools without capacity whose agents come.
-- Uses: routes_pkey, agent_pools_pkey, and as judge_pool.
-- Locks: each pool's advisory lock, shared, in id order; then pools in id order, only those that count or whose circuit has work.
CREATE FUNCTION give_back_agents(p_call_ids bigint[], p_route_ids integer[], p_came boolean[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_pools integer[];
    v_pool  integer;
    v_held  text;
BEGIN
    SELECT array_agg(DISTINCT r.agent_pool_id ORDER BY r.agent_pool_id) INTO v_pools FROM routes r WHERE r.id = ANY (p_route_ids);
    FOREACH v_pool IN ARRAY coalesce(v_pools, '{}') LOOP
        v_held := pg_advisory_xact_lock_shared(7301, v_pool);
    END LOOP;

    -- Only a statement that begins after the advisory lock sees which pools count.
    PERFORM FROM agent_pools p
      WHERE p.id = ANY (v_pools)
        AND (p.capacity IS NOT NULL OR p.circuit_until IS NOT NULL OR p.absences > 0 OR false = ANY (p_came))
      ORDER BY p.id
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE agent_pools p
       SET inflight = p.inflight - u.n
      FROM (SELECT r.agent_pool_id, count(*) AS n
              FROM unnest(p_route_ids) AS e (route_id)
              JOIN routes r ON r.id = e.route_id
             GROUP BY r.agent_pool_id) u
     WHERE p.id = u.agent_pool_id AND p.capacity IS NOT NULL;
    PERFORM judge_pool(e.pool_id, e.call_id, e.came)
       FROM (SELECT p.id AS pool_id, e.call_id, e.came
               FROM unnest(p_call_ids, p_route_ids, p_came) WITH ORDINALITY AS e (call_id, route_id, came, n)
               JOIN routes r ON r.id = e.route_id
               JOIN agent_pools p ON p.id = r.agent_pool_id
              WHERE NOT e.came OR (e.came AND (p.circuit_until IS NOT NULL OR p.absences > 0))
              ORDER BY p.id, e.n) e;
    UPDATE agent_pools p
       SET probe_call_id = NULL, probe_until = NULL
     WHERE p.id = ANY (v_pools) AND p.probe_call_id = ANY (p_call_ids);
END $$;

-- give_back_channels: take calls off the counters of their trunks, and tell the trunks' circuits what their ends say; one array
-- element a call. p_verdicts: TrunkVerdict's values.
-- Promises: `channels` falls by what was given; good news counts before bad, and that of a trunk that is known to be well costs
--   nothing; a call that probed a circuit and says nothing lets the next one probe.
-- Uses: trunk_channels_pkey, trunk_health_pkey, and as judge_trunk.
-- Locks: trunks in id order, waits; then what judge_trunk locks. Every other call on the trunk waits from here to the commit.
CREATE FUNCTION give_back_channels(
    p_call_ids bigint[], p_trunk_ids integer[], p_numbers text[], p_verdicts text[], p_codes text[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_open boolean;         -- a circuit of them is open or half open
BEGIN
    PERFORM FROM trunk_channels t WHERE t.trunk_id = ANY (p_trunk_ids) ORDER BY t.trunk_id FOR NO KEY UPDATE;
    WITH trunk AS (
        UPDATE trunk_channels t
           SET channels = t.channels - u.n
          FROM (SELECT trunk_id, count(*) AS n FROM unnest(p_trunk_ids) AS trunk_id GROUP BY trunk_id) u
         WHERE t.trunk_id = u.trunk_id
     RETURNING t.circuit_until
    )
    SELECT coalesce(bool_or(circuit_until IS NOT NULL), false) INTO v_open FROM trunk;

    IF p_verdicts && ARRAY['good', 'answered', 'trunk', 'number'] THEN
        PERFORM judge_trunk(e.trunk_id, e.call_id, e.to_number, e.verdict, e.code)
           FROM (SELECT e.*
                   FROM unnest(p_trunk_ids, p_call_ids, p_numbers, p_verdicts, p_codes) WITH ORDINALITY
                        AS e (trunk_id, call_id, to_number, verdict, code, n)
                   LEFT JOIN trunk_health h ON h.trunk_id = e.trunk_id
                  WHERE e.trunk_id IS NOT NULL AND e.verdict <> 'nothing'
                    AND (v_open OR p_verdicts && ARRAY['trunk', 'number'] OR h.failing
                         OR coalesce(h.good_at, '-infinity') < clock_timestamp() - interval '1 min'
                         OR (e.verdict = 'answered' AND coalesce(h.answered_at, '-infinity') < clock_timestamp() - interval '1 min'))
                  ORDER BY e.trunk_id, e.verdict IN ('trunk', 'number'), e.n) e;
    END IF;
    IF v_open THEN
        UPDATE trunk_channels t
           SET probe_call_id = NULL, probe_until = NULL
         WHERE t.trunk_id = ANY (p_trunk_ids) AND t.probe_call_id = ANY (p_call_ids);
    END IF;
END $$;

-- suppress_numbers: put numbers that do not exist on their accounts' suppression lists, one array element a call; for_s null: not this.
-- Promises: only on the word of a trunk that is to be believed (may_suppress: it completed a call within a day and its circuit is
--   closed), so it is to be asked after judge_trunk. A do-not-call entry and a longer suppression stay as they are. Who writes
--   the same entry in an open transaction is waited for no longer than 100 ms, and then has the last word: nobody's end waits
--   for an import.
-- Uses: as may_suppress, do_not_call_pkey. Locks: do_not_call, in order of key.
CREATE FUNCTION suppress_numbers(
    p_call_ids bigint[], p_epochs integer[], p_account_ids bigint[], p_trunk_ids integer[], p_numbers text[], p_reasons text[],
    p_for_s double precision[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_patience text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', '100ms', true);
    WITH suppressed AS (
        INSERT INTO do_not_call AS d (account_id, number_key, to_number, kind, reason, source, expires_at)
        SELECT DISTINCT ON (key, e.account_id)
               e.account_id, key, e.to_number, 'suppression', e.reason, 'call ' || e.call_id, clock_timestamp() + e.for_s * interval '1 s'
          FROM unnest(p_call_ids, p_account_ids, p_trunk_ids, p_numbers, p_reasons, p_for_s)
               AS e (call_id, account_id, trunk_id, to_number, reason, for_s)
         CROSS JOIN LATERAL number_key(e.to_number) AS key
         WHERE e.for_s > 0 AND may_suppress(e.trunk_id)
         ORDER BY key, e.account_id, e.for_s DESC
            ON CONFLICT (number_key, account_id) DO UPDATE
           SET to_number = excluded.to_number, kind = excluded.kind, reason = excluded.reason, source = excluded.source,
               created_at = clock_timestamp(), expires_at = excluded.expires_at
         WHERE d.expires_at <= clock_timestamp() OR (d.kind = 'suppression' AND d.expires_at < excluded.expires_at)
     RETURNING d.source, d.expires_at
    )
    INSERT INTO call_events (call_id, epoch, kind, detail)
    SELECT e.call_id, e.epoch, 'number_suppressed', jsonb_build_object('until', s.expires_at)
      FROM suppressed s
      JOIN unnest(p_call_ids, p_epochs) AS e (call_id, epoch) ON s.source = 'call ' || e.call_id;
    PERFORM set_config('lock_timeout', v_patience, true);
EXCEPTION WHEN lock_not_available THEN
    NULL;       -- the setting is back as it was, too
END $$;


-- redial_calls: put those of these calls back on the queue whose next attempt follows, one array element a call: only the call itself and
-- its event. Returns which did, by their place in the arrays, with what they held until now.
-- Promises: as finish_calls, which locks the accounts before and ends attempts and dials afterwards. No next attempt sooner than the
--   account's spacing of dials to one number allows. Uses: calls_pkey, accounts_pkey.
-- Locks: calls in id order; waits.
CREATE FUNCTION redial_calls(
    p_account_ids bigint[], p_call_ids bigint[], p_epochs integer[], p_delays_s double precision[], p_details jsonb[],
    OUT n integer, OUT route_id integer, OUT trunk_id integer, OUT to_number text
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 10 AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH mine AS MATERIALIZED (
        SELECT e.n::integer AS n, c.id, c.epoch, c.attempt, c.route_id, c.trunk_id, c.to_number, e.detail, d.again_at
          FROM unnest(p_account_ids, p_call_ids, p_epochs, p_delays_s, p_details) WITH ORDINALITY
               AS e (account_id, call_id, epoch, delay_s, detail, n)
          JOIN calls c ON c.id = e.call_id
         CROSS JOIN LATERAL (SELECT greatest(
                   clock_timestamp() + e.delay_s * interval '1 s',
                   c.dialed_at + (SELECT a.number_gap_s FROM accounts a WHERE a.id = c.account_id) * interval '1 s') AS again_at) d
         WHERE e.delay_s >= 0 AND e.call_id > 0 AND e.epoch > 0 AND c.account_id = e.account_id AND c.epoch = e.epoch
           AND c.state IN ('dialing', 'ringing', 'active') AND c.direction = 'outbound' AND c.cancel_requested_at IS NULL
           AND (c.expires_after_s IS NOT NULL OR d.again_at < c.expires_at)
         ORDER BY c.id
           FOR NO KEY UPDATE OF c
    ), redialled AS (
        UPDATE calls c
           SET state = 'scheduled', waiting_for = 'redial', run_at = m.again_at,
               expires_at = coalesce(m.again_at + c.expires_after_s * interval '1 s', c.expires_at), deferrals = 0,
               worker_id = NULL, trunk_id = NULL, avoid_trunk_id = NULL, claimed_at = NULL, dial_at = NULL, dialed_at = NULL,
               ringing_at = NULL, answered_at = NULL, ordered_end = NULL, pdd_ms = NULL, ring_ms = NULL, ring_error_ms = NULL,
               talk_ms = NULL, sip_call_id = '', livekit_sip_call_id = '', participant_sid = ''
          FROM mine m
         WHERE c.id = m.id
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state, detail)
        SELECT m.id, m.epoch, 'scheduled', jsonb_build_object('attempt', m.attempt, 'redial_at', m.again_at) || m.detail
          FROM mine m
    )
    SELECT m.n, m.route_id, m.trunk_id, m.to_number::text FROM mine m;
END $$;


-- finish_calls: write the ends of up to 100 calls or of their attempts, one array element each (of what is null, '' or {} for all of
-- them, the array may be empty): terminal state, end reason and all that is known of the end; end attempt and dial; give back slot, agent and channel; append the event; suppress the number; judge the trunk.
-- Promises: one row for each, n as given. `ours`: the call, or its attempt, ended so under this claim (account, id, epoch), now or by an
--   earlier commit whose answer was lost; false for everything else: wrong epoch, ended otherwise, back on the queue. `state`
--   is where that left the call: `scheduled` if its next attempt follows. All changes together or none. A terminal state that
--   the lifecycle does not allow raises calls_transition. An attempt that is followed by another keeps its details on its dial and
--   in its event. A call whose earlier attempt rang a phone has been dialled, whatever the last one did.
--   p_redial_delays_s: the next attempt so many seconds from now, null: none; later if the account's spacing of dials to one number
--   asks for it. It is refused, and the call ends, if it was canceled meanwhile, was not dialled, is inbound, or would expire first
--   (expires_at for the whole call; else each attempt has its own).
-- Uses: account_slots_pkey, calls_pkey, attempts_one_open, dials (call_id, epoch), lanes_pkey, trunk_channels_pkey.
-- Locks: accounts, calls, attempts, dials, lanes, agent_pools, trunk_channels, trunk_health, do_not_call; accounts, pools and trunks
--   each in id order. Calls in the order given, by their ids where attempts are followed by others. Waits for each, 2 s at most, so that
--   ends which were gathered into one statement do not wait long for an account that somebody holds.
--
-- A function and not one statement, because the lanes must be read after the accounts are locked (give_back_slots).
CREATE FUNCTION finish_calls(
    p_account_ids bigint[], p_call_ids bigint[], p_epochs integer[], p_states text[], p_end_reasons text[], p_dialled text[],
    p_answered_by text[], p_sip_codes integer[], p_sip_reasons text[], p_q850_causes integer[], p_hangup_causes text[],
    p_error_codes text[], p_error_messages text[], p_pdd_ms integer[], p_ring_ms integer[], p_ring_error_ms integer[],
    p_talk_ms integer[], p_sip_call_ids text[], p_livekit_sip_call_ids text[], p_participant_sids text[], p_evidence jsonb[],
    p_trunk_verdicts text[], p_trunk_codes text[], p_redial_delays_s double precision[], p_suppress_s double precision[],
    OUT n integer, OUT ours boolean, OUT state text
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 20
SET lock_timeout = '2s' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_again    integer[];       -- these go back for their next attempt
    v_dialled  boolean;         -- one of them at least was dialled
    v_calls    bigint[];
    v_numbers  integer[];       -- these are ours and have just been written; with what they held until now
    v_accounts bigint[];
    v_inbound  boolean[];
    v_routes   integer[];
    v_trunks   integer[];
    v_called   text[];
    v_came     boolean[];
BEGIN
    PERFORM FROM account_slots a WHERE a.account_id = ANY (p_account_ids) ORDER BY a.account_id FOR NO KEY UPDATE;

    IF 0 <= ANY (p_redial_delays_s) THEN
        -- These are written first and the others afterwards: all are locked in order before.
        PERFORM FROM calls c
          WHERE c.id = ANY (p_call_ids) AND c.state IN ('dialing', 'ringing', 'active', 'claimed')
          ORDER BY c.id
            FOR NO KEY UPDATE;
        SELECT array_agg(r.n), array_agg(p_account_ids[r.n]), array_agg(false), array_agg(r.route_id), array_agg(r.trunk_id),
               array_agg(r.to_number), array_agg(true)
          INTO v_again, v_accounts, v_inbound, v_routes, v_trunks, v_called, v_came
          FROM redial_calls(p_account_ids, p_call_ids, p_epochs, p_redial_delays_s, (
                   SELECT array_agg(jsonb_strip_nulls(jsonb_build_object(
                              'end_reason', e.end_reason, 'ended_as', e.state, 'dialled', e.dialled, 'answered_by', e.answered_by,
                              'sip_code', e.sip_code, 'sip_reason', nullif(e.sip_reason, ''), 'q850_cause', e.q850_cause,
                              'hangup_cause', nullif(e.hangup_cause, ''), 'error_code', nullif(e.error_code, ''),
                              'error_message', nullif(e.error_message, ''), 'pdd_ms', e.pdd_ms, 'ring_ms', e.ring_ms,
                              'ring_error_ms', e.ring_error_ms, 'talk_ms', e.talk_ms)) || coalesce(e.evidence, '{}') ORDER BY e.n)
                     FROM unnest(p_states, p_end_reasons, p_dialled, p_answered_by, p_sip_codes, p_sip_reasons, p_q850_causes,
                                 p_hangup_causes, p_error_codes, p_error_messages, p_pdd_ms, p_ring_ms, p_ring_error_ms,
                                 p_talk_ms, p_evidence) WITH ORDINALITY
                          AS e (state, end_reason, dialled, answered_by, sip_code, sip_reason, q850_cause,
                                hangup_cause, error_code, error_message, pdd_ms, ring_ms, ring_error_ms, talk_ms, evidence, n))) r;
        v_numbers := v_again;
    END IF;

    IF cardinality(v_again) IS DISTINCT FROM cardinality(p_call_ids) THEN
        -- By subscript: an array that plpgsql holds costs nothing to look into, twenty that are unnested cost more than the update.
        WITH ended AS (
            UPDATE calls c
               SET state = p_states[e.n], end_reason = p_end_reasons[e.n], ended_at = clock_timestamp(),
                   dialled = CASE WHEN p_dialled[e.n] = 'yes' OR c.attempt = 0 THEN p_dialled[e.n]
                                  ELSE coalesce(nullif(dialled_so_far(c.id), 'no'), p_dialled[e.n]) END,
                   answered_by = p_answered_by[e.n], sip_code = p_sip_codes[e.n], sip_reason = coalesce(p_sip_reasons[e.n], ''),
                   q850_cause = p_q850_causes[e.n], hangup_cause = coalesce(p_hangup_causes[e.n], ''),
                   error_code = coalesce(p_error_codes[e.n], ''), error_message = coalesce(p_error_messages[e.n], ''),
                   pdd_ms = coalesce(p_pdd_ms[e.n], c.pdd_ms), ring_ms = coalesce(p_ring_ms[e.n], c.ring_ms),
                   ring_error_ms = coalesce(p_ring_error_ms[e.n], c.ring_error_ms), talk_ms = p_talk_ms[e.n],
                   sip_call_id = coalesce(nullif(p_sip_call_ids[e.n], ''), c.sip_call_id),
                   livekit_sip_call_id = coalesce(nullif(p_livekit_sip_call_ids[e.n], ''), c.livekit_sip_call_id),
                   participant_sid = coalesce(nullif(p_participant_sids[e.n], ''), c.participant_sid),
                   evidence = coalesce(p_evidence[e.n], '{}')
              FROM unnest(p_account_ids, p_call_ids, p_epochs) WITH ORDINALITY AS e (account_id, call_id, epoch, n)
             WHERE e.account_id > 0 AND e.call_id > 0 AND e.epoch > 0 AND c.id = e.call_id AND c.account_id = e.account_id AND c.epoch = e.epoch
               AND c.state IN ('claimed', 'dialing', 'ringing', 'active')
         RETURNING e.n::integer AS n, c.id, c.epoch, c.state, c.account_id, c.direction = 'inbound' AS inbound, c.route_id,
                   c.trunk_id, c.to_number, c.attempt, c.dialed_at, c.end_reason, c.sip_code, c.evidence
        ), event AS (
            INSERT INTO call_events (call_id, epoch, state, detail)
            SELECT id, epoch, state, jsonb_strip_nulls(jsonb_build_object(
                       'end_reason', end_reason, 'sip_code', sip_code, 'ring_ms', p_ring_ms[n], 'talk_ms', p_talk_ms[n])) || evidence
              FROM ended
        )
        SELECT v_numbers || array_agg(e.n), v_accounts || array_agg(e.account_id), v_inbound || array_agg(e.inbound),
               v_routes || array_agg(e.route_id), v_trunks || array_agg(e.trunk_id), v_called || array_agg(e.to_number::text),
               v_came || array_agg(e.dialed_at IS NOT NULL OR NULL), v_again IS NOT NULL OR bool_or(e.attempt > 0)
          INTO v_numbers, v_accounts, v_inbound, v_routes, v_trunks, v_called, v_came, v_dialled
          FROM ended e;
    END IF;

    IF v_numbers IS NOT NULL THEN
        IF v_dialled OR v_again IS NOT NULL THEN
            WITH attempt AS (
                UPDATE attempts t
                   SET ended_at = clock_timestamp(), end_reason = p_end_reasons[e.n]
                  FROM unnest(v_numbers) AS e (n)
                 WHERE e.n > 0 AND p_call_ids[e.n] > 0 AND p_epochs[e.n] > 0 AND t.call_id = p_call_ids[e.n] AND t.ended_at IS NULL
            )           -- dials not by their epoch: who has adopted a live call has another
            UPDATE dials d
               SET ended_at = clock_timestamp(), spent = true, end_reason = p_end_reasons[e.n], dialled = p_dialled[e.n],
                   sip_code = p_sip_codes[e.n], sip_reason = coalesce(p_sip_reasons[e.n], ''),
                   sip_call_id = coalesce(p_sip_call_ids[e.n], ''),
                   livekit_sip_call_id = coalesce(p_livekit_sip_call_ids[e.n], ''),
                   participant_sid = coalesce(p_participant_sids[e.n], '')
              FROM unnest(v_numbers) AS e (n)
             WHERE e.n > 0 AND p_call_ids[e.n] > 0 AND p_epochs[e.n] > 0 AND d.call_id = p_call_ids[e.n] AND d.ended_at IS NULL;
        END IF;
        PERFORM give_back_slots(v_accounts, v_inbound);
        v_calls := ARRAY(SELECT p_call_ids[e.n] FROM unnest(v_numbers) AS e (n));
        PERFORM give_back_agents(v_calls, v_routes, v_came);
        PERFORM give_back_channels(
            v_calls, v_trunks, v_called, ARRAY(SELECT p_trunk_verdicts[e.n] FROM unnest(v_numbers) AS e (n)),
            ARRAY(SELECT coalesce(p_trunk_codes[e.n], '') FROM unnest(v_numbers) AS e (n)));
        IF 0 < ANY (p_suppress_s) THEN
            PERFORM suppress_numbers(
                v_calls, ARRAY(SELECT p_epochs[e.n] FROM unnest(v_numbers) AS e (n)), v_accounts, v_trunks, v_called,
                ARRAY(SELECT p_end_reasons[e.n] FROM unnest(v_numbers) AS e (n)),
                ARRAY(SELECT p_suppress_s[e.n] FROM unnest(v_numbers) AS e (n)));
        END IF;
        RETURN QUERY SELECT e.n, true, CASE WHEN e.n = ANY (v_again) THEN 'scheduled' ELSE p_states[e.n] END FROM unnest(v_numbers) AS e (n);
        IF cardinality(v_numbers) = cardinality(p_call_ids) THEN
            RETURN;
        END IF;
    END IF;

    -- The others: ended already, perhaps so, perhaps by an attempt that has been followed by another since.
    RETURN QUERY
    SELECT e.n::integer, c.id IS NOT NULL OR e.redialled, coalesce(c.state, CASE WHEN e.redialled THEN 'scheduled' END)
      FROM (SELECT e.*, coalesce((SELECT true FROM call_events v
                                   WHERE v.call_id = e.call_id AND v.epoch = e.epoch AND v.state = 'scheduled'
                                     AND v.detail ->> 'end_reason' = e.end_reason AND v.detail ->> 'ended_as' = e.state
                                   LIMIT 1), false) AS redialled
              FROM unnest(p_account_ids, p_call_ids, p_epochs, p_states, p_end_reasons) WITH ORDINALITY
                   AS e (account_id, call_id, epoch, state, end_reason, n)
             WHERE e.n <> ALL (coalesce(v_numbers, '{}'))) e
      LEFT JOIN LATERAL (
           SELECT c.id, c.state
             FROM calls c
            WHERE c.id = e.call_id AND c.account_id = e.account_id AND c.epoch = e.epoch AND c.worker_id IS NOT NULL
              AND c.state = e.state AND c.end_reason = e.end_reason
            LIMIT 1) c ON true;
END $$;

-- requeue_call: put a call back on the queue unspent, at once or after a delay: claimed and not dialled, or dialled with a result
-- that proves that no phone rang.
-- Promises: true if it went back by this request, now or by an earlier commit whose answer was lost; false if it went any other way,
--   whatever became of it since. Slot, agent and channel are free
--   again (the dial time is not: it is lost to the trunk); the dial ends unspent, the attempt stays open; the epoch stays, so that
--   the old holder's writes fail on the state, and after the next claim on the epoch. After a failure of the trunk another is tried
--   first. Whoever waits for a window goes through staging, which finds it. A call whose cancel was requested meanwhile is
--   canceled instead: nobody would look at it again before its next claim.
--   p_trunk_verdict: TrunkVerdict's values. p_agent_came: null says nothing.
-- Uses: account_slots_pkey, calls_pkey, dials (call_id, epoch), attempts_one_open, lanes_pkey, trunk_channels_pkey.
-- Locks: account, call, attempt, dial, lanes, agent_pools, trunk_channels, trunk_health; waits for each.
CREATE FUNCTION requeue_call(
    p_account_id bigint, p_call_id bigint, p_epoch integer, p_delay_s double precision, p_waiting_for text, p_detail jsonb,
    p_trunk_verdict text, p_trunk_code text, p_agent_came boolean
) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_call   record;
    v_state  text;
    v_detail jsonb := jsonb_build_object('waiting_for', p_waiting_for, 'delay_s', p_delay_s) || p_detail;
BEGIN
    PERFORM FROM account_slots WHERE account_id = p_account_id FOR NO KEY UPDATE;

    SELECT state, trunk_id, route_id, priority, to_number, cancel_requested_at
      INTO v_call
      FROM calls
     WHERE id = p_call_id AND account_id = p_account_id AND epoch = p_epoch AND state IN ('claimed', 'dialing')
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN       -- perhaps by this very request: what else becomes of a call after its claim is told otherwise
        RETURN EXISTS (SELECT FROM call_events
                        WHERE call_id = p_call_id AND epoch = p_epoch AND state IN ('scheduled', 'ready', 'canceled')
                          AND detail = v_detail);
    END IF;
    v_state := CASE WHEN v_call.cancel_requested_at IS NOT NULL THEN 'canceled'
                    WHEN v_call.state = 'dialing' OR p_delay_s > 0 OR p_waiting_for IN ('calling_window', 'time_zone') THEN 'scheduled'
                    ELSE 'ready' END;

    UPDATE dials
       SET ended_at = clock_timestamp(), spent = false, dialled = 'no'
     WHERE call_id = p_call_id AND ended_at IS NULL;
    IF v_state = 'canceled' THEN
        UPDATE calls
           SET state = 'canceled', end_reason = 'CANCELED_BY_REQUEST', ended_at = clock_timestamp(), evidence = p_detail,
               dialled = dialled_so_far(p_call_id)
         WHERE id = p_call_id;
        UPDATE attempts
           SET ended_at = clock_timestamp(), end_reason = 'CANCELED_BY_REQUEST'
         WHERE call_id = p_call_id AND ended_at IS NULL;
    ELSE
        UPDATE calls
           SET state = v_state, run_at = CASE WHEN p_delay_s > 0 THEN clock_timestamp() + p_delay_s * interval '1 s' ELSE run_at END,
               deferrals = deferrals + 1, waiting_for = p_waiting_for,
               avoid_trunk_id = CASE WHEN p_trunk_verdict = 'trunk'
                                       OR p_waiting_for IN ('trunk_capacity', 'trunk_auth', 'trunk_config', 'trunk_unreachable')
                                     THEN trunk_id ELSE avoid_trunk_id END,
               worker_id = NULL, trunk_id = NULL, claimed_at = NULL, dial_at = NULL, dialed_at = NULL, ordered_end = NULL
         WHERE id = p_call_id;
    END IF;
    INSERT INTO call_events (call_id, epoch, state, detail)
    VALUES (p_call_id, p_epoch, v_state, v_detail);

    IF v_state = 'ready' THEN
        PERFORM add_ready(ARRAY[p_account_id], ARRAY[v_call.route_id], ARRAY[v_call.priority > 0]);
    ELSIF v_state = 'scheduled' AND p_delay_s <= 0 THEN
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;
    PERFORM give_back_slots(ARRAY[p_account_id], ARRAY[false]);
    PERFORM give_back_agents(ARRAY[p_call_id], ARRAY[v_call.route_id], ARRAY[p_agent_came]);
    PERFORM give_back_channels(
        ARRAY[p_call_id], ARRAY[v_call.trunk_id], ARRAY[v_call.to_number::text], ARRAY[p_trunk_verdict], ARRAY[p_trunk_code]);
    RETURN true;
END $$;


-- begin_inbound_call: a call that somebody has made to us, at ringing or active, in the hands of the worker that answers it.
-- Promises: one row and one count in account_slots.inbound for each key of an account: asked again it returns that call, and `ours` says
--   whether it is this worker's and has not ended. Nothing limits inbound calls. It ends as every call does (finish_calls), which
--   takes it off the counter.
-- Uses: account_slots_pkey, calls_idempotency_key. Locks: the account, waits; what the same key inserts, waits.
CREATE FUNCTION begin_inbound_call(
    p_account_id bigint, p_worker_id uuid, p_key text, p_state text, p_to text, p_from text, p_agent_name text, p_metadata jsonb,
    p_sip_call_id text, p_livekit_sip_call_id text, p_participant_sid text, p_detail jsonb,
    OUT call_id bigint, OUT epoch integer, OUT ours boolean
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM account_slots a WHERE a.account_id = p_account_id FOR NO KEY UPDATE;
    INSERT INTO calls (direction, account_id, idempotency_key, request_digest, to_number, caller_id, agent_name, metadata,
                       run_at, expires_at, state, epoch, worker_id, ringing_at, answered_at,
                       sip_call_id, livekit_sip_call_id, participant_sid)
    VALUES ('inbound', p_account_id, 'inbound:' || p_key, '', p_to, p_from, p_agent_name, p_metadata,
            clock_timestamp(), clock_timestamp() + interval '1 day', p_state, 1, p_worker_id,
            CASE WHEN p_state = 'ringing' THEN clock_timestamp() END, CASE WHEN p_state = 'active' THEN clock_timestamp() END,
            p_sip_call_id, p_livekit_sip_call_id, p_participant_sid)
        ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
 RETURNING id, calls.epoch, true INTO call_id, epoch, ours;
    IF FOUND THEN
        INSERT INTO call_events (call_id, epoch, state, detail)
        VALUES (begin_inbound_call.call_id, begin_inbound_call.epoch, p_state, jsonb_build_object('direction', 'inbound') || p_detail);
        UPDATE account_slots a SET inbound = a.inbound + 1 WHERE a.account_id = p_account_id;
    ELSE
        SELECT c.id, c.epoch, c.worker_id = p_worker_id AND c.ended_at IS NULL
          INTO call_id, epoch, ours
          FROM calls c
         WHERE c.account_id = p_account_id AND c.idempotency_key = 'inbound:' || p_key;
    END IF;
END $$;
