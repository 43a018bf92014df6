-- 0007_gate: what forbids a dial, and the last gate itself.

-- open_caller_ids: which of some caller ids may show themselves once more today (UTC), the one to take first.
-- Promises: none that has reached its cap. An id that is the account's has the account's cap, one that is the trunk's the trunk's,
--   one that is both the lower. Order: as given; for `rotating` by dials today. `dials` counts from 0 where nothing is counted.
-- Uses: accounts_pkey, trunks_pkey, caller_id_days_pkey. Locks nothing.
CREATE FUNCTION open_caller_ids(
    p_account_id bigint, p_trunk_id integer, p_caller_ids text[], p_choice text,
    OUT caller_id text, OUT cap integer, OUT dials integer
) RETURNS SETOF record
LANGUAGE sql STABLE ROWS 2 AS $$
    SELECT o.id, o.cap, o.dials
      FROM (SELECT u.id, u.n, coalesce(d.dials, 0) AS dials,
                   least(CASE WHEN u.id = ANY (a.caller_ids::text[]) THEN a.caller_id_cap END,
                         CASE WHEN u.id = ANY (t.caller_ids::text[]) THEN t.caller_id_cap END) AS cap
              FROM unnest(p_caller_ids) WITH ORDINALITY AS u (id, n)
              LEFT JOIN LATERAL (SELECT * FROM accounts WHERE id = p_account_id LIMIT 1) a ON true
              LEFT JOIN LATERAL (SELECT * FROM trunks WHERE id = p_trunk_id LIMIT 1) t ON true
              LEFT JOIN LATERAL (SELECT * FROM caller_id_days
                                  WHERE caller_id = u.id AND day = (clock_timestamp() AT TIME ZONE 'UTC')::date
                                  LIMIT 1) d ON true) o
     WHERE o.cap IS NULL OR o.dials < o.cap
     ORDER BY CASE WHEN p_choice = 'rotating' THEN o.dials END, o.n
$$;

-- dial_forbidden: what forbids to dial a call now, by the database's clock, and in how many seconds that may be over, where that is
-- known.
-- Promises: one row for a call that exists, of nulls if nothing forbids it. All that can have changed since the claim: the system's
--   switches and cluster, cancel, expiry, pauses, circuits (their probe call passes), do-not-call and suppression, the calling
--   window, spacing over all of the account's calls, one call to a number at a time over all accounts, caps of caller ids. A call
--   without a window is forbidden; trunk and agent pool are asked only for a call that has them.
-- Uses: calls_pkey, accounts_pkey, account_slots_pkey, trunk_channels_pkey, trunks_pkey, routes_pkey, agent_pools_pkey,
--   calls_one_for_a_number, dials_to_a_number. Locks nothing: begin_dial asks once it has its locks.
--
-- Step by step in plpgsql, and not one query: what is seldom asked for costs nothing then, and each step's plan is kept. It is kept
-- for as long as the session, so that one made while the tables were empty must not be to read all of them.
CREATE FUNCTION dial_forbidden(p_call_id bigint, OUT gate text, OUT retry_in_s double precision) RETURNS SETOF record
LANGUAGE plpgsql ROWS 1 SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v       record;
    v_now   timestamptz;
    v_until timestamptz;        -- when it may be over
BEGIN
    SELECT w.stopped_at, w.held_at, c.account_id, c.to_number::text AS to_number, c.trunk_id, c.caller_id::text AS caller_id,
           c.cancel_requested_at, c.expires_at, c.window_from, c.window_until,
           c.hours_version = a.hours_version AS hours_are_current,
           s.paused AS account_paused,
           h.enabled AS trunk_enabled,
           h.circuit_until IS NOT NULL AND h.probe_call_id IS DISTINCT FROM c.id AS trunk_circuit,
           p.paused AS agents_paused,
           p.circuit_until IS NOT NULL AND p.probe_call_id IS DISTINCT FROM c.id AS agents_circuit, p.circuit_until AS agents_until,
           a.number_gap_s * interval '1 s' AS gap, a.number_most_dials AS most_dials, a.number_window_s * interval '1 s' AS most_within,
           a.caller_id_cap IS NOT NULL OR t.caller_id_cap IS NOT NULL AS capped,
           CASE WHEN c.caller_id IS NOT NULL THEN ARRAY[c.caller_id]
                WHEN cardinality(a.caller_ids) > 0 THEN a.caller_ids
                ELSE t.caller_ids END::text[] AS caller_ids
      INTO v
      FROM (SELECT * FROM calls WHERE id = p_call_id LIMIT 1) c
     CROSS JOIN switches w
     CROSS JOIN LATERAL (SELECT * FROM accounts WHERE id = c.account_id LIMIT 1) a
     CROSS JOIN LATERAL (SELECT * FROM account_slots WHERE account_id = c.account_id LIMIT 1) s
      LEFT JOIN LATERAL (SELECT * FROM trunks WHERE id = c.trunk_id LIMIT 1) t ON true
      LEFT JOIN LATERAL (SELECT * FROM trunk_channels WHERE trunk_id = c.trunk_id LIMIT 1) h ON true
      LEFT JOIN LATERAL (SELECT * FROM routes WHERE id = c.route_id LIMIT 1) r ON true
      LEFT JOIN LATERAL (SELECT * FROM agent_pools WHERE id = r.agent_pool_id LIMIT 1) p ON true;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_now := clock_timestamp();

    gate := CASE WHEN v.stopped_at IS NOT NULL THEN 'stopped'
                 WHEN v.held_at IS NOT NULL OR NOT same_cluster() THEN 'held'
                 WHEN v.cancel_requested_at IS NOT NULL THEN 'canceled'
                 WHEN v.expires_at <= v_now THEN 'expired'
                 WHEN v.account_paused THEN 'account_paused'
                 WHEN NOT v.trunk_enabled THEN 'trunk_disabled'
                 WHEN v.trunk_circuit THEN 'trunk_circuit'
                 WHEN v.agents_paused THEN 'agents_paused'
                 WHEN v.agents_circuit THEN 'agents_circuit'
                 WHEN is_listed(v.account_id, v.to_number) THEN 'do_not_call'
                 WHEN (v.window_from <= v_now AND v_now < v.window_until AND v.hours_are_current) IS NOT TRUE THEN 'calling_window'
                 END;
    IF gate = 'agents_circuit' THEN
        v_until := v.agents_until;
    ELSIF gate = 'calling_window' THEN          -- at once, if it is to be found again
        v_until := CASE WHEN v.hours_are_current AND v.window_from > v_now THEN v.window_from ELSE v_now END;
    END IF;

    IF gate IS NULL AND EXISTS (SELECT FROM calls b
                                 WHERE b.to_number = v.to_number AND b.dialed_at IS NOT NULL AND b.ended_at IS NULL
                                   AND b.direction = 'outbound' AND b.id <> p_call_id) THEN
        gate := 'number_busy';
    END IF;
    IF gate IS NULL AND v.gap > interval '0' THEN
        SELECT d.intent_at + v.gap
          INTO v_until
          FROM dials d
         WHERE d.account_id = v.account_id AND d.to_number = v.to_number AND d.spent IS DISTINCT FROM false
         ORDER BY d.intent_at DESC
         LIMIT 1;
        gate := CASE WHEN v_until > v_now THEN 'number_gap' END;
    END IF;
    IF gate IS NULL AND v.most_dials > 0 THEN
        SELECT d.intent_at + v.most_within
          INTO v_until
          FROM dials d
         WHERE d.account_id = v.account_id AND d.to_number = v.to_number AND d.intent_at > v_now - v.most_within
           AND d.spent IS DISTINCT FROM false
         ORDER BY d.intent_at DESC
        OFFSET v.most_dials - 1
         LIMIT 1;
        gate := CASE WHEN v_until > v_now THEN 'number_cap' END;
    END IF;
    IF gate IS NULL AND v.capped AND cardinality(v.caller_ids) > 0
       AND NOT EXISTS (SELECT FROM open_caller_ids(v.account_id, v.trunk_id, v.caller_ids, 'fixed')) THEN
        gate := 'caller_id_cap';
        v_until := ((v_now AT TIME ZONE 'UTC')::date + 1)::timestamp AT TIME ZONE 'UTC';
    END IF;

    IF gate IS NOT NULL AND v_until IS NOT NULL THEN
        retry_in_s := greatest(0, date_part('epoch', v_until - v_now));
    END IF;
    RETURN NEXT;
END $$;

-- begin_dial: the last gate, then the intent to dial, the caller id to show and the dial time to keep. Commit, sleep dial_in_ms,
-- send one INVITE.
-- Promises: once per claim; asks dial_forbidden when it holds all its locks, so that whatever was committed before that forbids.
--   `refused` names what does (retry_in_s as there), and nothing of the call has changed then. No row: the claim is no longer ours.
--   At most one call to a number at a time, of whatever account. No caller id shows itself more often than its cap; p_caller_ids
--   are tried in order, by dials today if p_choice is `rotating`; none given, none shown. The dial times that it gives out on one
--   trunk are dial_interval_us apart, so that INVITEs that leave within dial_slack_ms after theirs never exceed max_cps in any
--   second. None is more than a second ahead (`trunk_pace`: ask again then), so that no phone rings long after it was forbidden.
--   A worker that cannot keep the time does not dial late. None is so near the end of the calling window, or of the call's own time, that
--   the request could leave after it. A dial after one that rang nowhere belongs to the same attempt.
--   Whoever asks has its agent there: a pool that missed agents is told (judge_pool), refused or not.
-- Uses: calls_pkey, routes_pkey, agent_pools_pkey, trunk_channels_pkey, caller_id_days_pkey, attempts_one_open, dials' keys, and
--   as dial_forbidden.
-- Locks: call; the number (an advisory lock); agent pool (only one that missed agents), trunk_channels, caller_id_days (only where
--   dials are counted); waits for each. Account, switches and lists are only read: what commits later is later.
--
-- The claim paces how many calls are prepared, this paces INVITEs, from a bucket of its own: preparing takes unforeseeably
-- long or fails, and a dial time taken before it is missed. dial_in_ms is dial_at for a worker whose clock is not the database's.
DROP FUNCTION begin_dial(bigint, integer, text, text);
CREATE FUNCTION begin_dial(
    p_call_id bigint, p_epoch integer, p_room text, p_caller_ids text[], p_choice text,
    OUT refused text, OUT retry_in_s double precision, OUT dial_id bigint, OUT attempt integer, OUT dial_number integer,
    OUT dial_in_ms double precision, OUT caller_id text
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 1 SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    c_latest  CONSTANT interval := '2 s';      -- after its time no request leaves: the most that calls.intent_max_age_s may be
    v_call    record;
    v_pool_id integer;
    v_counted boolean;          -- dials of the caller id are counted
    v_cap     integer;
    v_day     date;
    v_dials   integer;
    v_next    timestamptz;      -- the trunk's next dial time
    v_latest  timestamptz;      -- when the request may leave at the latest
    v_dial_at timestamptz;
BEGIN
    SELECT c.account_id, c.to_number::text AS to_number, c.route_id, c.trunk_id, c.worker_id, c.attempt, c.expires_at, c.window_until
      INTO v_call
      FROM calls c
     WHERE c.id = p_call_id AND c.epoch = p_epoch AND c.state = 'claimed'
       FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(7302, hashtext(v_call.to_number));

    SELECT p.id
      INTO v_pool_id
      FROM routes r
      JOIN agent_pools p ON p.id = r.agent_pool_id
     WHERE r.id = v_call.route_id AND (p.absences > 0 OR p.circuit_until IS NOT NULL);
    IF FOUND THEN
        PERFORM judge_pool(v_pool_id, p_call_id, true);
    END IF;

    SELECT p_choice = 'rotating' OR a.caller_id_cap IS NOT NULL OR t.caller_id_cap IS NOT NULL
      INTO v_counted
      FROM accounts a
     CROSS JOIN trunks t
     WHERE a.id = v_call.account_id AND t.id = v_call.trunk_id;

    -- Every other call on the trunk waits from here to the commit.
    SELECT t.next_invite_at INTO v_next FROM trunk_channels t WHERE t.trunk_id = v_call.trunk_id FOR NO KEY UPDATE;

    caller_id := p_caller_ids[1];
    WHILE v_counted AND cardinality(p_caller_ids) > 0 LOOP
        SELECT o.caller_id, o.cap
          INTO caller_id, v_cap
          FROM open_caller_ids(v_call.account_id, v_call.trunk_id, p_caller_ids, p_choice) o
         LIMIT 1;
        EXIT WHEN NOT FOUND;            -- and then dial_forbidden says so
        v_counted := p_choice = 'rotating' OR v_cap IS NOT NULL;
        EXIT WHEN NOT v_counted;
        v_day := (clock_timestamp() AT TIME ZONE 'UTC')::date;
        INSERT INTO caller_id_days (caller_id, day) VALUES (begin_dial.caller_id, v_day) ON CONFLICT DO NOTHING;
        SELECT d.dials
          INTO v_dials
          FROM caller_id_days d
         WHERE d.caller_id = begin_dial.caller_id AND d.day = v_day
           FOR NO KEY UPDATE;
        EXIT WHEN v_cap IS NULL OR v_dials < v_cap;     -- else somebody took the last one: look again
    END LOOP;

    SELECT f.gate, f.retry_in_s INTO refused, retry_in_s FROM dial_forbidden(p_call_id) f;
    IF NOT FOUND THEN
        refused := 'held';              -- somebody has deleted what must be asked
    ELSIF refused IS NULL AND caller_id IS NULL AND cardinality(p_caller_ids) > 0 THEN
        refused := 'caller_id_cap';     -- these few had reached their caps, or the day has just ended
    ELSIF refused IS NULL AND v_next > clock_timestamp() + interval '1 s' THEN
        refused := 'trunk_pace';
        retry_in_s := date_part('epoch', v_next - interval '1 s' - clock_timestamp());
    END IF;
    v_latest := greatest(v_next, clock_timestamp()) + c_latest;
    IF refused IS NULL AND v_call.expires_at <= v_latest THEN
        refused := 'expired';
    ELSIF refused IS NULL AND v_call.window_until <= v_latest THEN
        refused := 'calling_window';    -- for what follows this window, once it has closed
        retry_in_s := greatest(0, date_part('epoch', v_call.window_until - clock_timestamp()));
    END IF;
    IF refused IS NOT NULL THEN
        caller_id := NULL;
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT t.number INTO attempt FROM attempts t WHERE t.call_id = p_call_id AND t.ended_at IS NULL;
    BEGIN
        UPDATE calls c
           SET state = 'dialing', dialed_at = clock_timestamp(), attempt = coalesce(begin_dial.attempt, v_call.attempt + 1)
         WHERE c.id = p_call_id;
    EXCEPTION WHEN unique_violation THEN        -- of calls_one_for_a_number, which has the last word
        refused := 'number_busy';
        caller_id := NULL;
        attempt := NULL;
        RETURN NEXT;
        RETURN;
    END;
    IF attempt IS NULL THEN
        attempt := v_call.attempt + 1;
        INSERT INTO attempts (call_id, number) VALUES (p_call_id, attempt);
    END IF;
    dial_number := 1 + (SELECT count(*) FROM dials d WHERE d.call_id = p_call_id AND d.attempt = begin_dial.attempt);
    IF v_counted AND caller_id IS NOT NULL THEN
        UPDATE caller_id_days d SET dials = d.dials + 1 WHERE d.caller_id = begin_dial.caller_id AND d.day = v_day;
    END IF;
    INSERT INTO call_events (call_id, epoch, state, detail)
    VALUES (p_call_id, p_epoch, 'dialing', jsonb_build_object(
                'attempt', attempt, 'dial', dial_number, 'trunk_id', v_call.trunk_id, 'caller_id', caller_id, 'room', p_room));

    UPDATE trunk_channels t
       SET next_invite_at = greatest(t.next_invite_at, clock_timestamp()) + t.dial_interval_us * interval '1 microsecond'
     WHERE t.trunk_id = v_call.trunk_id
 RETURNING t.next_invite_at - t.dial_interval_us * interval '1 microsecond' INTO v_dial_at;
    INSERT INTO dials (call_id, attempt, number, epoch, worker_id, trunk_id, account_id, to_number, caller_id, room, dial_at)
    VALUES (p_call_id, attempt, dial_number, p_epoch, v_call.worker_id, v_call.trunk_id, v_call.account_id, v_call.to_number,
            caller_id, p_room, v_dial_at)
 RETURNING id INTO dial_id;
    dial_in_ms := greatest(0, date_part('epoch', v_dial_at - clock_timestamp()) * 1000);
    RETURN NEXT;
END $$;
