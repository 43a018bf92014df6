-- 0006_admission_by_route: from queued to claimed, over routes (a trunk group and an agent pool) with urgent calls, reserved slots,
-- switches, circuits and calling windows. Each function's comment says what it promises, which index it uses, and what it locks
-- in which order.

DROP FUNCTION stage_due_calls(integer);
DROP FUNCTION claim_calls(integer, uuid, interval);
DROP FUNCTION claim_candidates(integer, integer, timestamptz, timestamptz);
DROP FUNCTION expire_calls(integer);
DROP FUNCTION add_ready(bigint[], integer[]);
DROP FUNCTION remove_ready(bigint[], integer[]);

-- Calls that have one run_at in common, as those of a batch have, are paged through by id.
DROP INDEX calls_scheduled_run_at;
CREATE INDEX calls_scheduled_run_at ON calls (run_at, id) WHERE state = 'scheduled';

-- The same rules as one: a check is read anew by each statement that inserts, and of the lines of a timeline most are states.
ALTER TABLE call_events
    DROP CONSTRAINT call_events_kind_check,
    DROP CONSTRAINT call_events_detail_check,
    DROP CONSTRAINT call_events_check,
    ADD CONSTRAINT call_events_check CHECK (
        CASE WHEN state IS NOT NULL THEN kind = 'state' ELSE kind <> 'state' AND kind ~ '^[a-z][a-z0-9_.]{0,63}$' END
        AND jsonb_typeof(detail) = 'object');

-- trunk_openings: how many dials a trunk can take with dial times in [first, until): its free channels or its pace, whichever is
-- less; one while its circuit is half open and nobody probes; none while it is disabled or its circuit is open.
CREATE OR REPLACE FUNCTION trunk_openings(t trunk_channels, first timestamptz, until timestamptz) RETURNS integer
LANGUAGE sql STABLE
RETURN CASE WHEN t.enabled AND t.channels < t.max_channels AND t.next_dial_at < until
                 AND (t.circuit_until IS NULL
                      OR (t.circuit_until <= first AND (t.probe_call_id IS NULL OR t.probe_until < first)))
            THEN least(t.max_channels - t.channels,
                       ceil(date_part('epoch', until - greatest(first, t.next_dial_at)) * 1000000
                            / t.dial_interval_us)::integer,
                       CASE WHEN t.circuit_until IS NULL THEN 1000000 ELSE 1 END)
            ELSE 0 END;

-- pool_openings: how many calls an agent pool can take now; a million when nothing limits it, one while its circuit is half open
-- and nobody probes, none while it is paused, full, or its circuit is open.
CREATE FUNCTION pool_openings(p agent_pools) RETURNS integer
LANGUAGE sql STABLE
RETURN CASE WHEN p.paused
                 OR (p.circuit_until IS NOT NULL
                     AND (p.circuit_until > now() OR (p.probe_call_id IS NOT NULL AND p.probe_until >= now())))
            THEN 0
            ELSE least(CASE WHEN p.capacity IS NULL THEN 1000000 ELSE greatest(0, p.capacity - p.inflight) END,
                       CASE WHEN p.circuit_until IS NULL THEN 1000000 ELSE 1 END)
            END;


-- add_ready: count calls that have become ready in their lanes, one array element a call; makes lanes that are missing.
-- Promises: `ready`, `urgent` and the lane's copies of the account are right together. Uses: account_slots_pkey, lanes_pkey.
-- Locks: lanes. The caller already holds the accounts, from an earlier statement of its transaction, so that this one's
--   snapshot shows the accounts as they are.
CREATE FUNCTION add_ready(p_account_ids bigint[], p_route_ids integer[], p_urgent boolean[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO lanes (account_id, route_id, ready, urgent, share, has_room, has_urgent_room, last_claim_at)
    SELECT r.account_id, r.route_id, r.n, r.urgent, a.share, a.has_room, a.has_urgent_room, a.last_claim_at
      FROM (SELECT account_id, route_id, count(*)::integer AS n, count(*) FILTER (WHERE urgent)::integer AS urgent
              FROM unnest(p_account_ids, p_route_ids, p_urgent) AS r (account_id, route_id, urgent)
             GROUP BY account_id, route_id) r
      JOIN account_slots a ON a.account_id = r.account_id
     ORDER BY r.account_id, r.route_id
        ON CONFLICT (account_id, route_id) DO UPDATE
       SET ready = lanes.ready + excluded.ready, urgent = lanes.urgent + excluded.urgent, share = excluded.share,
           has_room = excluded.has_room, has_urgent_room = excluded.has_urgent_room, last_claim_at = excluded.last_claim_at
$$;

-- remove_ready: take calls that are no longer ready off the counters of their lanes, one array element a call.
-- Promises: `ready` and `urgent` fall by what was given. Uses: lanes_pkey. Locks: lanes. The caller already holds the accounts.
CREATE FUNCTION remove_ready(p_account_ids bigint[], p_route_ids integer[], p_urgent boolean[]) RETURNS void
LANGUAGE sql AS $$
    UPDATE lanes l
       SET ready = l.ready - r.n, urgent = l.urgent - r.urgent
      FROM (SELECT account_id, route_id, count(*)::integer AS n, count(*) FILTER (WHERE urgent)::integer AS urgent
              FROM unnest(p_account_ids, p_route_ids, p_urgent) AS r (account_id, route_id, urgent)
             GROUP BY account_id, route_id) r
     WHERE l.account_id = r.account_id AND l.route_id = r.route_id
$$;


-- make_routes: the agent pools and routes that the calls p_ids need and that do not exist yet.
-- Promises: commits nothing but new rows of agent_pools and routes. A transaction of its own, before stage_calls, so that
--   nobody waits for a long one. Uses: calls_pkey, agent_pools_name_key, routes_trunk_group_id_agent_pool_id_key.
-- Locks: advisory (7303, 0), shared (prune_routes); what it inserts, in order of names, so that two of it wait for each other and
--   do not deadlock.
CREATE FUNCTION make_routes(p_ids bigint[]) RETURNS void
LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock_shared(7303, 0);

    INSERT INTO agent_pools (name)
    SELECT DISTINCT c.agent_name
      FROM calls c
     WHERE c.id = ANY (p_ids) AND NOT EXISTS (SELECT FROM agent_pools p WHERE p.name = c.agent_name)
     ORDER BY c.agent_name
        ON CONFLICT (name) DO NOTHING;

    INSERT INTO routes (trunk_group_id, agent_pool_id)
    SELECT DISTINCT c.trunk_group_id, p.id
      FROM calls c
      JOIN agent_pools p ON p.name = c.agent_name
     WHERE c.id = ANY (p_ids)
       AND NOT EXISTS (SELECT FROM routes r WHERE r.trunk_group_id = c.trunk_group_id AND r.agent_pool_id = p.id)
     ORDER BY c.trunk_group_id, p.id
        ON CONFLICT (trunk_group_id, agent_pool_id) DO NOTHING;
$$;

-- stage_calls: place due calls, each by the calling window that was found for it, one array element a call: into the ready queue if the
-- window is open; else back until it opens; a call without a window is held until it expires: its time zone is not
-- known, or there is a problem with its hours (p_problems; else empty). The first time, an event says so.
-- Promises: a call moves once; each lane's counters equal its ready calls; a call is placed only by the hours that its account has
--   now (p_versions), since a change of hours must reach every call that is held. An account that is locked is left for the next
--   round, and so is a call without a route (make_routes), and one whose window closed meanwhile. p_ids: at most 1,000.
-- Uses: account_slots_pkey, accounts_pkey, calls_pkey, agent_pools_name_key, routes' key, lanes_pkey.
-- Locks: advisory (7303, 0), shared, so that no route goes meanwhile (prune_routes); accounts in id order, SKIP LOCKED; then calls;
--   then lanes. Accounts before calls: the other way round it deadlocks with cancel_calls.
CREATE FUNCTION stage_calls(
    p_ids bigint[], p_from timestamptz[], p_until timestamptz[], p_versions integer[], p_zones text[], p_problems text[],
    OUT staged integer, OUT held integer
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_now      timestamptz;
    v_accounts bigint[];
    v_routes   integer[];
    v_urgent   boolean[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7303, 0);

    SELECT array_agg(a.account_id)
      INTO v_accounts
      FROM (SELECT account_id
              FROM account_slots
             WHERE account_id = ANY (ARRAY(SELECT DISTINCT c.account_id FROM calls c WHERE c.id = ANY (p_ids)))
             ORDER BY account_id
               FOR NO KEY UPDATE SKIP LOCKED) a;
    v_now := clock_timestamp();

    WITH placed AS MATERIALIZED (
        SELECT c.id, r.id AS route_id, p.opens_at, p.closes_at, p.version, p.zone, p.problem,
               CASE WHEN p.opens_at IS NULL OR p.closes_at IS NULL
                    THEN CASE p.problem WHEN '' THEN 'time_zone' ELSE 'calling_window' END
                    WHEN p.opens_at > v_now THEN 'calling_window'
                    ELSE 'ready' END AS place,
               c.window_from IS NOT NULL OR c.waiting_for NOT IN ('calling_window', 'time_zone') AS is_news
          FROM unnest(p_ids, p_from, p_until, p_versions, p_zones, p_problems)
            AS p (id, opens_at, closes_at, version, zone, problem)
         CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = p.id LIMIT 1) c
         CROSS JOIN LATERAL (SELECT hours_version FROM accounts WHERE id = c.account_id LIMIT 1) a
         CROSS JOIN LATERAL (SELECT id FROM agent_pools WHERE name = c.agent_name LIMIT 1) g
         CROSS JOIN LATERAL (SELECT id FROM routes WHERE trunk_group_id = c.trunk_group_id AND agent_pool_id = g.id LIMIT 1) r
         WHERE c.account_id = ANY (v_accounts)
           AND c.state = 'scheduled' AND c.run_at <= v_now AND c.expires_at > v_now
           AND p.version = a.hours_version
           AND (p.closes_at > v_now OR p.closes_at IS NULL)
    ), moved AS (
        UPDATE calls c
           SET state = CASE p.place WHEN 'ready' THEN 'ready' ELSE 'scheduled' END,
               route_id = p.route_id,
               run_at = CASE p.place WHEN 'ready' THEN c.run_at ELSE coalesce(p.opens_at, c.expires_at) END,
               waiting_for = CASE WHEN p.place <> 'ready' THEN p.place
                                  WHEN c.waiting_for IN ('calling_window', 'time_zone') THEN 'slot'
                                  ELSE c.waiting_for END,
               window_from = p.opens_at, window_until = p.closes_at, hours_version = p.version, time_zone = p.zone
          FROM placed p
         WHERE c.id = p.id
           AND c.state IN ('scheduled', '')   -- two values, so that the planner does not see the predicate of calls_scheduled_run_at
     RETURNING c.id, c.epoch, c.account_id, c.route_id, c.priority > 0 AS urgent, p.place, p.problem,
               p.opens_at IS NULL AND p.is_news AS is_news
    ), event AS (
        INSERT INTO call_events (call_id, epoch, kind, state, detail)
        SELECT id, epoch, CASE place WHEN 'ready' THEN 'state' ELSE 'held' END, CASE place WHEN 'ready' THEN 'ready' END,
               CASE place WHEN 'ready' THEN '{}'
                          ELSE jsonb_strip_nulls(jsonb_build_object('waiting_for', place, 'problem', nullif(problem, ''))) END
          FROM moved
         WHERE place = 'ready' OR is_news
    )
    SELECT array_agg(account_id) FILTER (WHERE place = 'ready'), array_agg(route_id) FILTER (WHERE place = 'ready'),
           array_agg(urgent) FILTER (WHERE place = 'ready'), count(*) FILTER (WHERE place <> 'ready')
      INTO v_accounts, v_routes, v_urgent, held
      FROM moved;

    staged := coalesce(cardinality(v_accounts), 0);
    IF staged > 0 THEN
        PERFORM add_ready(v_accounts, v_routes, v_urgent);
    END IF;
END $$;

-- close_windows: take ready calls whose calling window has closed back to `scheduled`, due at once, so that the next window is found.
-- Promises: as stage_calls; returns how many went back; repeat while it returns p_limit (at most 1,000).
-- Uses: calls_ready_until, account_slots_pkey, calls_pkey, lanes_pkey. Locks: accounts in id order, SKIP LOCKED; then calls; lanes.
CREATE FUNCTION close_windows(p_limit integer) RETURNS integer
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_closed   bigint[];
    v_accounts bigint[];
    v_routes   integer[];
    v_urgent   boolean[];
BEGIN
    SELECT array_agg(d.id), array_agg(DISTINCT d.account_id)
      INTO v_closed, v_accounts
      FROM (SELECT id, account_id
              FROM calls
             WHERE state = 'ready' AND window_until <= now()
             ORDER BY window_until
             LIMIT p_limit) d;
    IF v_closed IS NULL THEN
        RETURN 0;
    END IF;

    SELECT array_agg(a.account_id)
      INTO v_accounts
      FROM (SELECT account_id
              FROM account_slots
             WHERE account_id = ANY (v_accounts)
             ORDER BY account_id
               FOR NO KEY UPDATE SKIP LOCKED) a;

    WITH moved AS (
        UPDATE calls c
           SET state = 'scheduled', waiting_for = CASE c.waiting_for WHEN 'slot' THEN 'calling_window' ELSE c.waiting_for END
          FROM unnest(v_closed) AS closed (id)
         WHERE c.id = closed.id AND c.account_id = ANY (v_accounts) AND c.state IN ('ready', '')
     RETURNING c.id, c.epoch, c.account_id, c.route_id, c.priority > 0 AS urgent
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state, detail)
        SELECT id, epoch, 'scheduled', jsonb_build_object('waiting_for', 'calling_window') FROM moved
    )
    SELECT array_agg(account_id), array_agg(route_id), array_agg(urgent)
      INTO v_accounts, v_routes, v_urgent
      FROM moved;

    PERFORM remove_ready(v_accounts, v_routes, v_urgent);
    RETURN coalesce(cardinality(v_accounts), 0);
END $$;

-- release_held_calls: let up to 1,000 calls that an account's calling hours hold be placed again, after the hours were changed.
-- Promises: returns how many; repeat while it returns 1,000. A call that stage_calls places meanwhile by the old hours is among
--   them: both hold the account, and stage_calls looks at the version while it does.
-- Uses: account_slots_pkey, calls_held_by_hours, calls_pkey. Locks: the account, then calls; waits for each.
CREATE FUNCTION release_held_calls(p_account_id bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_released integer;
BEGIN
    PERFORM FROM account_slots WHERE account_id = p_account_id FOR NO KEY UPDATE;

    UPDATE calls c
       SET run_at = clock_timestamp()
      FROM (SELECT id
              FROM calls
             WHERE account_id = p_account_id AND state = 'scheduled' AND waiting_for IN ('calling_window', 'time_zone')
               AND run_at > clock_timestamp()
             LIMIT 1000) h
     WHERE c.id = h.id AND c.state = 'scheduled';
    GET DIAGNOSTICS v_released = ROW_COUNT;
    IF v_released > 0 THEN
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;
    RETURN v_released;
END $$;


-- last_attempt: how the last attempt of a call ended that has none open: what the call itself ends as, should no other follow.
-- Promises: no row when no attempt has ended or one is open. What finish_calls wrote on the timeline when it put the call back is
--   the witness. Uses: attempts_pkey, dials' key, call_events_pkey. Locks nothing.
CREATE FUNCTION last_attempt(
    p_call_id bigint, OUT state text, OUT end_reason text, OUT dialled text, OUT dialed_at timestamptz, OUT answered_at timestamptz,
    OUT answered_by text, OUT sip_code integer, OUT sip_reason text
) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 1 AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT CASE WHEN v.detail ->> 'ended_as' = 'ended' AND e.at IS NOT NULL THEN 'ended' ELSE 'not_connected' END,
           t.end_reason::text, coalesce(d.dialled::text, 'no'), d.intent_at,
           CASE WHEN v.detail ->> 'ended_as' = 'ended' THEN e.at END,
           CASE WHEN v.detail ->> 'ended_as' = 'ended' AND e.at IS NOT NULL THEN v.detail ->> 'answered_by' END,
           d.sip_code, coalesce(d.sip_reason, '')
      FROM (SELECT * FROM attempts WHERE call_id = p_call_id ORDER BY number DESC LIMIT 1) t
      JOIN LATERAL (
           SELECT * FROM dials WHERE call_id = t.call_id AND attempt = t.number ORDER BY number DESC LIMIT 1) d ON true
      LEFT JOIN LATERAL (
           SELECT * FROM call_events
            WHERE call_id = t.call_id AND kind = 'state' AND detail ? 'ended_as' ORDER BY id DESC LIMIT 1) v ON true
      LEFT JOIN LATERAL (
           SELECT * FROM call_events
            WHERE call_id = t.call_id AND id < v.id AND state = 'active' AND at >= d.intent_at ORDER BY id DESC LIMIT 1) e ON true
     WHERE t.ended_at IS NOT NULL;
END $$;

-- dialled_so_far: whether any dial of a call may have rung a phone. Uses: dials' key. Locks nothing.
CREATE FUNCTION dialled_so_far(p_call_id bigint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_yes     boolean;
    v_unknown boolean;
BEGIN
    SELECT bool_or(d.dialled = 'yes'), bool_or(d.dialled = 'unknown') INTO v_yes, v_unknown FROM dials d WHERE d.call_id = p_call_id;
    RETURN CASE WHEN v_yes THEN 'yes' WHEN v_unknown THEN 'unknown' ELSE 'no' END;
END $$;

-- expire_calls: end waiting calls whose time has run out: as their last attempt ended if one has and none is open, else with the reason
-- that says what they waited for.
-- Promises: a call ends once, with its open attempt if it has one; each lane's counters equal its ready calls; an account that
--   is locked is left for the next round. p_limit is at most 1,000; repeat while as many come back.
-- Uses: calls_waiting_expires_at, account_slots_pkey, calls_pkey, attempts_one_open, lanes_pkey.
-- Locks: accounts in id order, SKIP LOCKED; then calls, attempts, lanes. The CASE is EXPIRY_REASONS of records.py; a test
--   compares them.
CREATE FUNCTION expire_calls(p_limit integer, OUT call_id bigint, OUT end_reason text) RETURNS SETOF record
LANGUAGE plpgsql ROWS 20 AS $$
#variable_conflict use_column
DECLARE
    v_due      bigint[];
    v_accounts bigint[];
    v_calls    bigint[];
    v_reasons  text[];
    v_routes   integer[];
    v_urgent   boolean[];
BEGIN
    SELECT array_agg(d.id), array_agg(DISTINCT d.account_id)
      INTO v_due, v_accounts
      FROM (SELECT id, account_id
              FROM calls
             WHERE worker_id IS NULL AND ended_at IS NULL AND expires_at <= now()
             ORDER BY expires_at
             LIMIT p_limit) d;
    IF v_due IS NULL THEN
        RETURN;
    END IF;

    SELECT array_agg(a.account_id)
      INTO v_accounts
      FROM (SELECT account_id
              FROM account_slots
             WHERE account_id = ANY (v_accounts)
             ORDER BY account_id
               FOR NO KEY UPDATE SKIP LOCKED) a;

    WITH waiting AS MATERIALIZED (
        SELECT c.id, c.state,
               t.state AS last_state, t.dialed_at AS last_dialed_at, t.answered_at AS last_answered_at,
               t.answered_by AS last_answered_by, t.sip_code AS last_sip_code,
               coalesce(t.sip_reason, '') AS last_sip_reason, coalesce(t.dialled, dialled_so_far(c.id)) AS dialled,
               CASE WHEN c.waiting_for <> 'slot' THEN c.waiting_for
                    WHEN c.state = 'scheduled' THEN 'its_time'
                    WHEN s.paused THEN 'paused_account'
                    WHEN NOT CASE WHEN c.priority > 0 THEN s.has_urgent_room ELSE s.has_room END THEN 'account_slot'
                    WHEN pool_openings(p) = 0 THEN 'agents'
                    ELSE 'trunk_channel_or_turn' END AS waited_for,
               coalesce(t.end_reason,
                        CASE c.waiting_for WHEN 'agent' THEN 'AGENT_NEVER_JOINED'
                                           WHEN 'media_server' THEN 'MEDIA_SERVER_UNAVAILABLE'
                                           WHEN 'trunk_capacity' THEN 'SIP_FAILED_CAPACITY'
                                           WHEN 'trunk_auth' THEN 'SIP_FAILED_TRUNK_AUTH'
                                           WHEN 'trunk_config' THEN 'SIP_FAILED_TRUNK_CONFIG'
                                           WHEN 'trunk_unreachable' THEN 'SIP_FAILED_TRUNK_UNREACHABLE'
                                           ELSE 'EXPIRED_IN_QUEUE' END) AS reason
          FROM unnest(v_due) AS due (id)
         CROSS JOIN LATERAL (SELECT * FROM calls WHERE id = due.id LIMIT 1) c
         CROSS JOIN LATERAL (SELECT * FROM account_slots WHERE account_id = c.account_id LIMIT 1) s
          LEFT JOIN routes r ON r.id = c.route_id
          LEFT JOIN agent_pools p ON p.id = r.agent_pool_id
          LEFT JOIN LATERAL (SELECT * FROM last_attempt(c.id) WHERE c.attempt > 0) t ON true
         WHERE c.account_id = ANY (v_accounts)
           AND c.worker_id IS NULL AND c.state IN ('scheduled', 'ready')
    ), expired AS (
        UPDATE calls c
           SET state = coalesce(w.last_state, 'not_connected'), end_reason = w.reason, dialled = w.dialled,
               dialed_at = w.last_dialed_at, answered_at = w.last_answered_at, answered_by = w.last_answered_by,
               sip_code = w.last_sip_code, sip_reason = w.last_sip_reason,
               ended_at = clock_timestamp(),
               evidence = jsonb_build_object(
                   'waited_for', w.waited_for,
                   'waited_s', round(date_part('epoch', clock_timestamp() - c.created_at)::numeric, 3),
                   'deferrals', c.deferrals)
          FROM waiting w
         WHERE c.id = w.id AND c.worker_id IS NULL AND c.state IN ('scheduled', 'ready')
     RETURNING c.id, c.epoch, c.state, c.account_id, c.route_id, c.priority > 0 AS urgent, c.evidence, w.reason, w.state AS was
    ), attempt AS (
        UPDATE attempts t
           SET ended_at = clock_timestamp(), end_reason = e.reason
          FROM expired e
         WHERE t.call_id = e.id AND t.ended_at IS NULL
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state, detail)
        SELECT id, epoch, state, jsonb_build_object('end_reason', reason) || evidence FROM expired
    )
    SELECT array_agg(id), array_agg(reason), array_agg(account_id) FILTER (WHERE was = 'ready'),
           array_agg(route_id) FILTER (WHERE was = 'ready'), array_agg(urgent) FILTER (WHERE was = 'ready')
      INTO v_calls, v_reasons, v_accounts, v_routes, v_urgent
      FROM expired;

    PERFORM remove_ready(v_accounts, v_routes, v_urgent);
    RETURN QUERY SELECT * FROM unnest(v_calls, v_reasons);
END $$;

-- cancel_calls: end calls of one account that no worker holds.
-- Promises: returns the ids that were scheduled or ready and are now canceled; the others are claimed or ended, and a
--   claimed call is canceled through its worker. Each lane's counters equal its ready calls.
-- Uses: account_slots_pkey, calls_pkey, attempts_one_open, lanes_pkey. Locks: the account, then calls, attempts, lanes; waits for
--   each. At most 1,000 ids, since the claim skips the account meanwhile.
CREATE OR REPLACE FUNCTION cancel_calls(p_account_id bigint, p_call_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_calls  bigint[];
    v_routes integer[];
    v_urgent boolean[];
BEGIN
    PERFORM FROM account_slots WHERE account_id = p_account_id FOR NO KEY UPDATE;

    WITH mine AS MATERIALIZED (
        SELECT id, state
          FROM calls
         WHERE id = ANY (p_call_ids) AND account_id = p_account_id AND state IN ('scheduled', 'ready')
    ), canceled AS (
        UPDATE calls c
           SET state = 'canceled', end_reason = 'CANCELED_BY_REQUEST', ended_at = clock_timestamp(),
               dialled = CASE WHEN c.attempt = 0 THEN 'no' ELSE dialled_so_far(c.id) END,
               cancel_requested_at = coalesce(c.cancel_requested_at, clock_timestamp())
          FROM mine m
         WHERE c.id = m.id AND c.state = m.state
     RETURNING c.id, c.epoch, c.route_id, c.priority > 0 AS urgent, m.state AS was
    ), attempt AS (
        UPDATE attempts t
           SET ended_at = clock_timestamp(), end_reason = 'CANCELED_BY_REQUEST'
          FROM canceled c
         WHERE t.call_id = c.id AND t.ended_at IS NULL
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state, detail)
        SELECT id, epoch, 'canceled', jsonb_build_object('end_reason', 'CANCELED_BY_REQUEST') FROM canceled
    )
    SELECT array_agg(id), array_agg(route_id) FILTER (WHERE was = 'ready'), array_agg(urgent) FILTER (WHERE was = 'ready')
      INTO v_calls, v_routes, v_urgent
      FROM canceled;

    PERFORM remove_ready(array_fill(p_account_id, ARRAY[coalesce(cardinality(v_routes), 0)]), v_routes, v_urgent);
    RETURN coalesce(v_calls, '{}');
END $$;


-- claim_candidates: the second step of claim_calls. Chooses the calls of one trunk group that are next by fair share, as many as its
-- trunks and agent pools seem to have openings for, and locks their accounts; returns parallel arrays in that order, or NULL.
--
-- Promises: what it returns fits each account's room as it is now, not as it was in the snapshot (LockRows hands on the newest version
--   of a locked account); each account's urgent calls come first, and only they take its reserved slots. p_limit is at most 100.
-- Uses: lanes_claimable (for each open route of the group), account_slots_pkey, calls_ready. Reads p_limit + 3 lanes of the
--   p_limit + 3 neediest routes at most, and as many calls as it returns where accounts have one lane each: the quota of each account
--   is worked out on the counters before any call is read.
-- Locks: accounts in id order, SKIP LOCKED (three more than needed are tried, so that a busy one does not cost the batch a
--   place). Not the calls: nobody else touches a ready call without its account.
--
-- The constant LIMITs are for the planner: a LIMIT that it cannot see counts as a tenth of the table, and the plan built
-- on that hashes the whole of `account_slots` or `calls`.
CREATE FUNCTION claim_candidates(
    p_trunk_group_id integer, p_limit integer, p_first timestamptz, p_until timestamptz,
    OUT call_ids bigint[], OUT agent_pool_ids integer[], OUT avoid_trunk_ids integer[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    WITH openings AS MATERIALIZED (
        SELECT least(p_limit, sum(trunk_openings(t, p_first, p_until)))::integer AS n
          FROM trunk_group_members m
          JOIN trunk_channels t ON t.trunk_id = m.trunk_id
         WHERE m.trunk_group_id = p_trunk_group_id
    ), route AS MATERIALIZED (          -- that have openings, the neediest first
        SELECT r.id, r.agent_pool_id, r.openings
          FROM (SELECT r.id, r.agent_pool_id, pool_openings(p) AS openings
                  FROM routes r
                  JOIN agent_pools p ON p.id = r.agent_pool_id
                 WHERE r.trunk_group_id = p_trunk_group_id AND pool_openings(p) > 0) r
         CROSS JOIN LATERAL (
               SELECT l.share, l.last_claim_at
                 FROM lanes l
                WHERE l.route_id = r.id AND l.claimable
                ORDER BY l.share, l.last_claim_at
                LIMIT 1) head
         ORDER BY head.share, head.last_claim_at, r.id
         LIMIT (SELECT n + 3 FROM openings)
    ), lane AS MATERIALIZED (
        SELECT l.account_id, l.share, l.last_claim_at, r.id AS route_id, r.agent_pool_id, r.openings,
               least(l.urgent, r.openings) AS urgent, least(l.ready - l.urgent, r.openings) AS plain
          FROM (SELECT * FROM route LIMIT 100) r
         CROSS JOIN LATERAL (
               SELECT l.*
                 FROM (SELECT l.account_id, l.share, l.last_claim_at, l.ready, l.urgent
                         FROM lanes l
                        WHERE l.route_id = r.id AND l.claimable
                        ORDER BY l.share, l.last_claim_at, l.account_id
                        LIMIT 200) l
                LIMIT least((SELECT n FROM openings), r.openings) + 3) l
    ), neediest AS MATERIALIZED (
        SELECT account_id, sum(urgent)::integer AS urgent, sum(plain)::integer AS plain
          FROM lane
         GROUP BY account_id, share, last_claim_at
         ORDER BY share, last_claim_at, account_id
         LIMIT (SELECT n + 3 FROM openings)
    ), account AS MATERIALIZED (
        SELECT a.account_id, a.inflight, a.weight, a.last_claim_at, n.urgent, n.plain,
               a.max_concurrent - a.inflight AS urgent_room,
               greatest(0, a.max_concurrent - a.reserved - a.inflight) AS plain_room
          FROM (SELECT * FROM neediest LIMIT 200) n
          JOIN account_slots a ON a.account_id = n.account_id
         WHERE a.has_urgent_room
         ORDER BY a.account_id
           FOR NO KEY UPDATE OF a SKIP LOCKED
    ), deal AS MATERIALIZED (           -- a turn for each opening, and one more for each call that an agent pool will turn down
        SELECT (o.n + coalesce((SELECT sum(greatest(0, l.asked - l.openings))
                                  FROM (SELECT openings, sum(urgent + plain) AS asked
                                          FROM lane
                                         WHERE openings < o.n
                                         GROUP BY route_id, openings) l), 0))::integer AS turns
          FROM openings o
    ), asking AS MATERIALIZED (         -- each account, the most turns that it can take, and an even part of all
        SELECT a.*, d.turns, (d.turns + count(*) OVER () - 1) / count(*) OVER () AS even,
               least(least(a.urgent, a.urgent_room) + least(a.plain, greatest(0, a.plain_room - least(a.urgent, a.urgent_room))),
                     (SELECT n FROM openings)) AS most
          FROM account a CROSS JOIN deal d
    ), bound AS MATERIALIZED (          -- the share at which all turns are taken at the latest: no account gets beyond it
        SELECT CASE WHEN sum(least(most, even)) >= min(turns) THEN max((inflight + least(most, even)) / weight) ELSE 'infinity' END AS share
          FROM asking
    ), quota AS MATERIALIZED (          -- deal out the turns one by one, each to the account then of least share
        SELECT account_id, inflight, weight, last_claim_at, urgent_room, plain_room, count(*) AS n
          FROM (SELECT a.*
                  FROM asking a
                 CROSS JOIN LATERAL generate_series(1, least(
                       a.most, floor((SELECT share FROM bound) * a.weight) - a.inflight + 1)::integer) k
                 ORDER BY (a.inflight + k) / a.weight, a.last_claim_at, a.account_id
                 LIMIT (SELECT turns FROM deal)) turn
         GROUP BY account_id, inflight, weight, last_claim_at, urgent_room, plain_room
    ), head AS (
        SELECT c.id, c.priority, c.avoid_trunk_id, q.*, l.agent_pool_id, l.openings,
               row_number() OVER (PARTITION BY q.account_id ORDER BY c.priority DESC, c.run_at, c.id) AS turn
          FROM (SELECT * FROM quota LIMIT 200) q
          JOIN lane l ON l.account_id = q.account_id
         CROSS JOIN LATERAL (
               SELECT c.id, c.priority, c.run_at, c.avoid_trunk_id
                 FROM calls c
                WHERE c.account_id = q.account_id AND c.route_id = l.route_id AND c.state = 'ready'
                ORDER BY c.priority DESC, c.run_at, c.id
                LIMIT least(q.n, l.openings)) c
    ), chosen AS (
        SELECT h.id, h.agent_pool_id, h.avoid_trunk_id, h.openings, (h.inflight + h.turn) / h.weight AS share, h.last_claim_at,
               h.account_id, h.turn,
               row_number() OVER (PARTITION BY h.agent_pool_id
                                      ORDER BY (h.inflight + h.turn) / h.weight, h.last_claim_at, h.account_id, h.turn) AS pool_turn
          FROM head h
         WHERE h.turn <= least(h.n, CASE WHEN h.priority > 0 THEN h.urgent_room ELSE h.plain_room END)
    )
    SELECT array_agg(c.id), array_agg(c.agent_pool_id), array_agg(c.avoid_trunk_id)
      INTO call_ids, agent_pool_ids, avoid_trunk_ids
      FROM (SELECT id, agent_pool_id, avoid_trunk_id
              FROM chosen
             WHERE pool_turn <= openings
             ORDER BY share, last_claim_at, account_id, turn
             LIMIT (SELECT n FROM openings)) c;
END $$;


-- claim_calls: admit up to p_limit ready calls of one trunk group, each with an account slot, a channel and a dial time
-- on a trunk of the group, and a place in its agent pool; or nothing. Repeat until it returns nothing, then sleep (half of p_horizon at
-- most).
--
-- Promises, with any number of claimers:
--   * no account passes max_concurrent, nor with calls that are not urgent max_concurrent - reserved; no trunk max_channels; no agent
--     pool its capacity; dial times on a trunk are dial_interval_us apart, none later than p_horizon from now; a call is claimed
--     once an epoch; a half-open circuit gets one call, its probe, for 3 minutes; nothing is claimed while the switches are off;
--   * the group is the open one (a trunk has a channel and a dial time, an agent pool a place) whose neediest lane is needier than the
--     others'; inside it the calls go to the accounts of least (inflight + calls already given in this batch) / weight, then to the
--     least recently served; inside a lane by priority, run_at, id;
--   * trunks are filled by position, then by least channels / weight: a full or paced trunk overflows to the next; a call that has a
--     trunk to avoid gets another one if there is a slot on one;
--   * a full or paced group, a full, paused or broken agent pool and an account at its limit are not looked at, however many calls
--     wait in them.
-- Uses: lanes_claimable (one descent for each route of an open group, then one ordered scan of each needy route), account_slots_pkey,
--   calls_ready (one descent for each lane served), calls_pkey, lanes_pkey.
-- Locks: the trunk group (advisory 7300; skips those that other claimers hold; when all are held, waits for the neediest, holding
--   nothing); accounts in id order, SKIP LOCKED; agent pools in id order (advisory 7301, shared; then the rows of those that have a
--   capacity or a circuit that is not closed), the group's trunks in id order, waits.
--
-- A function and not one statement, because READ COMMITTED takes the snapshot before the wait: after waiting for the
-- group, the choice of accounts must be made on what its last holder committed. It is one round trip all the same.
CREATE FUNCTION claim_calls(
    p_limit integer, p_worker_id uuid, p_horizon interval DEFAULT '1 s',
    OUT call_id bigint, OUT account_id bigint, OUT route_id integer, OUT trunk_id integer, OUT epoch integer,
    OUT dial_at timestamptz, OUT dial_in_ms double precision    -- planned; begin_dial gives the time to keep
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 20 AS $$
#variable_conflict use_column
DECLARE
    v_now     timestamptz := clock_timestamp();
    v_group   integer;
    v_busy    integer;                  -- the neediest group that another claimer holds
    v_held    boolean := false;         -- this claim holds a group
    v_calls   bigint[];
    v_pools   integer[];
    v_avoid   integer[];
    v_trunks  integer[];
    v_times   timestamptz[];
    v_trunk   integer;
    v_time    timestamptz;
BEGIN
    IF EXISTS (SELECT FROM switches s WHERE s.stopped_at IS NOT NULL OR s.held_at IS NOT NULL) THEN
        RETURN;
    END IF;

    FOR v_group IN
        SELECT g.id
          FROM trunk_groups g
         CROSS JOIN LATERAL (
               SELECT head.share, head.last_claim_at
                 FROM routes r
                 JOIN agent_pools p ON p.id = r.agent_pool_id
                CROSS JOIN LATERAL (
                      SELECT l.share, l.last_claim_at
                        FROM lanes l
                       WHERE l.route_id = r.id AND l.claimable
                       ORDER BY l.share, l.last_claim_at
                       LIMIT 1) head
                WHERE r.trunk_group_id = g.id AND pool_openings(p) > 0
                ORDER BY head.share, head.last_claim_at
                LIMIT 1) head
         WHERE EXISTS (
               SELECT FROM trunk_group_members m JOIN trunk_channels t ON t.trunk_id = m.trunk_id
                WHERE m.trunk_group_id = g.id
                  AND trunk_openings(t, v_now, v_now + p_horizon) > 0)
         ORDER BY head.share, head.last_claim_at
    LOOP
        IF NOT pg_try_advisory_xact_lock(7300, v_group) THEN
            v_busy := coalesce(v_busy, v_group);
            CONTINUE;
        END IF;
        v_held := true;
        SELECT * INTO v_calls, v_pools, v_avoid FROM claim_candidates(v_group, p_limit, v_now, v_now + p_horizon);
        EXIT WHEN v_calls IS NOT NULL;  -- NULL: all its accounts are locked at this moment; the next group's turn
    END LOOP;

    IF v_calls IS NULL AND v_busy IS NOT NULL AND NOT v_held THEN
        v_group := v_busy;
        PERFORM pg_advisory_xact_lock(7300, v_group);
        v_now := clock_timestamp();
        SELECT * INTO v_calls, v_pools, v_avoid FROM claim_candidates(v_group, p_limit, v_now, v_now + p_horizon);
    END IF;
    IF v_calls IS NULL THEN
        RETURN;
    END IF;

    PERFORM pg_advisory_xact_lock_shared(7301, p.id) FROM (SELECT DISTINCT id FROM unnest(v_pools) AS id ORDER BY id) p;
    PERFORM FROM agent_pools p
      WHERE p.id = ANY (v_pools) AND (p.capacity IS NOT NULL OR p.circuit_until IS NOT NULL)
      ORDER BY p.id
        FOR NO KEY UPDATE;
    IF FOUND THEN                       -- what they can take now that they are held
        SELECT array_agg(c.id), array_agg(c.pool_id), array_agg(c.avoid)
          INTO v_calls, v_pools, v_avoid
          FROM (SELECT c.id, c.pool_id, c.avoid, c.n, pool_openings(p) AS openings, row_number() OVER (PARTITION BY p.id ORDER BY c.n) AS turn
                  FROM unnest(v_calls, v_pools, v_avoid) WITH ORDINALITY AS c (id, pool_id, avoid, n)
                  JOIN agent_pools p ON p.id = c.pool_id
                 ORDER BY c.n) c
         WHERE c.turn <= c.openings;
    END IF;

    PERFORM FROM trunk_channels t
      WHERE t.trunk_id IN (SELECT m.trunk_id FROM trunk_group_members m WHERE m.trunk_group_id = v_group)
      ORDER BY t.trunk_id
        FOR NO KEY UPDATE;
    v_now := clock_timestamp();         -- now() would be older than the waits

    SELECT array_agg(s.trunk_id), array_agg(s.dial_at)      -- the dials that the trunks can take, in the order in which they are filled
      INTO v_trunks, v_times
      FROM (SELECT t.trunk_id,
                   greatest(t.next_dial_at, v_now) + (k - 1) * t.dial_interval_us * interval '1 microsecond' AS dial_at
              FROM trunk_group_members m
              JOIN trunk_channels t ON t.trunk_id = m.trunk_id
             CROSS JOIN LATERAL generate_series(1, least(
                   cardinality(v_calls), trunk_openings(t, v_now, v_now + p_horizon))) k
             WHERE m.trunk_group_id = v_group
             ORDER BY m.position, (t.channels + k) / m.weight, t.trunk_id, k) s;

    IF v_avoid && v_trunks THEN         -- exchange a slot on a trunk to avoid for the next one on another trunk
        FOR i IN 1 .. least(cardinality(v_calls), cardinality(v_trunks)) LOOP
            FOR j IN i + 1 .. CASE WHEN v_avoid[i] = v_trunks[i] THEN cardinality(v_trunks) ELSE 0 END LOOP
                IF v_trunks[j] <> v_avoid[i] AND (j > cardinality(v_calls) OR v_avoid[j] IS DISTINCT FROM v_trunks[i]) THEN
                    v_trunk := v_trunks[i];
                    v_time := v_times[i];
                    v_trunks[i] := v_trunks[j];
                    v_times[i] := v_times[j];
                    v_trunks[j] := v_trunk;
                    v_times[j] := v_time;
                    EXIT;
                END IF;
            END LOOP;
        END LOOP;
    END IF;

    RETURN QUERY
    WITH claimed AS (
        UPDATE calls c
           SET state = 'claimed', epoch = c.epoch + 1, worker_id = p_worker_id, trunk_id = s.trunk_id, dial_at = s.dial_at,
               claimed_at = v_now
          FROM unnest(v_calls, v_pools, v_trunks, v_times) AS s (id, agent_pool_id, trunk_id, dial_at)
         WHERE c.id = s.id AND s.trunk_id IS NOT NULL
           AND c.state IN ('ready', '')         -- two values, so that the planner does not see the predicate of calls_ready
     RETURNING c.id, c.account_id, c.route_id, c.trunk_id, c.epoch, c.dial_at, c.priority > 0 AS urgent, s.agent_pool_id
    ), account AS (
        UPDATE account_slots a
           SET inflight = a.inflight + u.n, last_claim_at = v_now
          FROM (SELECT account_id, count(*)::integer AS n, array_agg(route_id) AS routes,
                       array_agg(CASE WHEN urgent THEN route_id END) AS urgent_routes
                  FROM claimed
                 GROUP BY account_id) u
         WHERE a.account_id = u.account_id
     RETURNING a.account_id, a.share, a.has_room, a.has_urgent_room, u.routes, u.urgent_routes
    ), lane AS (
        UPDATE lanes l
           SET ready = l.ready - cardinality(array_positions(a.routes, l.route_id)),
               urgent = l.urgent - cardinality(array_positions(a.urgent_routes, l.route_id)),
               share = a.share, has_room = a.has_room, has_urgent_room = a.has_urgent_room, last_claim_at = v_now
          FROM account a
         WHERE l.account_id = a.account_id AND l.ready > 0
    ), pool AS (
        UPDATE agent_pools p
           SET inflight = p.inflight + CASE WHEN p.capacity IS NULL THEN 0 ELSE u.n END,
               probe_call_id = CASE WHEN p.circuit_until IS NULL THEN p.probe_call_id ELSE u.first_id END,
               probe_until = CASE WHEN p.circuit_until IS NULL THEN p.probe_until ELSE v_now + interval '3 min' END
          FROM (SELECT agent_pool_id, count(*)::integer AS n, min(id) AS first_id FROM claimed GROUP BY agent_pool_id) u
         WHERE p.id = u.agent_pool_id AND (p.capacity IS NOT NULL OR p.circuit_until IS NOT NULL)
    ), trunk AS (
        UPDATE trunk_channels t
           SET channels = t.channels + u.n,
               next_dial_at = u.last_dial_at + t.dial_interval_us * interval '1 microsecond',
               probe_call_id = CASE WHEN t.circuit_until IS NULL THEN t.probe_call_id ELSE u.first_id END,
               probe_until = CASE WHEN t.circuit_until IS NULL THEN t.probe_until ELSE v_now + interval '3 min' END
          FROM (SELECT trunk_id, count(*)::integer AS n, max(dial_at) AS last_dial_at, min(id) AS first_id
                  FROM claimed GROUP BY trunk_id) u
         WHERE t.trunk_id = u.trunk_id
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state)
        SELECT id, epoch, 'claimed' FROM claimed
    )
    SELECT c.id, c.account_id, c.route_id, c.trunk_id, c.epoch, c.dial_at,
           greatest(0, date_part('epoch', c.dial_at - clock_timestamp()) * 1000)
      FROM claimed c;
END $$;


-- A call that expires while it waits for its next attempt ends as its last attempt did, which may have been answered (by a machine).
DROP TRIGGER calls_transition ON calls;
CREATE TRIGGER calls_transition
    BEFORE UPDATE OF state ON calls
    FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND OLD.state || ' > ' || NEW.state NOT IN (
        'scheduled > ready', 'scheduled > ended', 'scheduled > not_connected', 'scheduled > canceled',
        'ready > claimed', 'ready > scheduled', 'ready > ended', 'ready > not_connected', 'ready > canceled',
        'claimed > dialing', 'claimed > ready', 'claimed > scheduled', 'claimed > not_connected', 'claimed > canceled',
        'dialing > ringing', 'dialing > active', 'dialing > scheduled', 'dialing > not_connected', 'dialing > canceled',
        'ringing > active', 'ringing > scheduled', 'ringing > not_connected', 'ringing > canceled',
        'active > ended', 'active > scheduled'))
    EXECUTE FUNCTION refuse_transition();
