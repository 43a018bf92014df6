-- 0002_admission: the functions that move calls into the ready queue and from there to workers. Each one's comment says what it
-- promises, which index it uses, and what it locks in which order.

-- How many dials a trunk can take with dial times in [first, until): its free channels or its pace, whichever is less.
CREATE FUNCTION trunk_openings(t trunk_channels, first timestamptz, until timestamptz) RETURNS integer
LANGUAGE sql STABLE
RETURN CASE WHEN t.enabled AND t.channels < t.max_channels AND t.next_dial_at < until
            THEN least(t.max_channels - t.channels,
                       ceil(date_part('epoch', until - greatest(first, t.next_dial_at)) * 1000000
                            / t.dial_interval_us)::integer)
            ELSE 0 END;


-- claim_candidates: the second step of claim_calls. Chooses and locks the accounts and calls of one trunk group that are
-- next by fair share, as many as its trunks seem to have openings for; returns the calls' ids in that order, or NULL.
--
-- Promises: what it returns is locked, and fits each account's room as it is now, not as it was in the snapshot (LockRows
--   hands on the newest version of a locked account). p_limit is at most 100.
-- Uses: lanes_claimable, account_slots_pkey, calls_ready. Reads exactly as many calls as it returns: the quota of each account
--   is worked out on the counters before any call is read.
-- Locks: accounts in id order, SKIP LOCKED (three more than needed are tried, so that a busy one does not cost the batch a
--   place); then calls, SKIP LOCKED (nobody else locks a ready call without its account, so none is skipped in practice).
--
-- The constant LIMITs are for the planner: a LIMIT that it cannot see counts as a tenth of the table, and the plan built
-- on that hashes the whole of `account_slots` or `calls`.
CREATE FUNCTION claim_candidates(
    p_trunk_group_id integer, p_limit integer, p_first timestamptz, p_until timestamptz
) RETURNS bigint[]
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_calls bigint[];
BEGIN
    WITH openings AS MATERIALIZED (
        SELECT least(p_limit, sum(trunk_openings(t, p_first, p_until)))::integer AS n
          FROM trunk_group_members m
          JOIN trunk_channels t ON t.trunk_id = m.trunk_id
         WHERE m.trunk_group_id = p_trunk_group_id
    ), neediest AS MATERIALIZED (
        SELECT account_id, ready
          FROM (SELECT l.account_id, l.ready
                  FROM lanes l
                 WHERE l.trunk_group_id = p_trunk_group_id AND l.claimable
                 ORDER BY l.share, l.last_claim_at, l.account_id
                 LIMIT 200) l
         LIMIT (SELECT n + 3 FROM openings)
    ), account AS MATERIALIZED (
        SELECT a.account_id, a.inflight, a.weight, a.last_claim_at,
               least(l.ready, a.max_concurrent - a.reserved - a.inflight) AS room
          FROM neediest l
          JOIN account_slots a ON a.account_id = l.account_id
         WHERE a.has_room
         ORDER BY a.account_id
           FOR NO KEY UPDATE OF a SKIP LOCKED
    ), quota AS MATERIALIZED (          -- deal out the openings one by one, each to the account then of least share
        SELECT account_id, inflight, weight, last_claim_at, count(*) AS n
          FROM (SELECT a.*
                  FROM account a
                 CROSS JOIN LATERAL generate_series(1, least(a.room, (SELECT n FROM openings))) k
                 ORDER BY (a.inflight + k) / a.weight, a.last_claim_at, a.account_id
                 LIMIT (SELECT n FROM openings)) turn
         GROUP BY account_id, inflight, weight, last_claim_at
    )
    SELECT array_agg(c.id ORDER BY (q.inflight + c.turn) / q.weight, q.last_claim_at, q.account_id)
      INTO v_calls
      FROM (SELECT * FROM quota LIMIT 100) q
     CROSS JOIN LATERAL (
           SELECT head.id, row_number() OVER () AS turn
             FROM (SELECT c.id
                     FROM calls c
                    WHERE c.account_id = q.account_id AND c.trunk_group_id = p_trunk_group_id AND c.state = 'ready'
                    ORDER BY c.priority DESC, c.run_at, c.id
                    LIMIT q.n
                      FOR NO KEY UPDATE SKIP LOCKED) head) c;
    RETURN v_calls;
END $$;


-- claim_calls: admit up to p_limit ready calls of one trunk group, each with an account slot, a channel and a dial time
-- on a trunk of the group; or nothing. Repeat until it returns nothing, then sleep (half of p_horizon at most).
--
-- Promises, with any number of claimers:
--   * no account passes max_concurrent - reserved, no trunk max_channels; dial times on a trunk are dial_interval_us
--     apart, none later than p_horizon from now; a call is claimed once an epoch;
--   * the group is the open one (a trunk has a channel and a dial time) whose neediest lane is needier than the others';
--     inside it the calls go to the accounts of least (inflight + calls already given in this batch) / weight, then to
--     the least recently served; inside a lane by priority, run_at, id;
--   * trunks are filled by position, then by least channels / weight: a full or paced trunk overflows to the next;
--   * a full or paced group and an account at its limit are not looked at, however many calls wait in them.
-- Uses: lanes_claimable (one descent for each open group, then one ordered scan), account_slots_pkey, calls_ready (one descent
--   for each account served), calls_pkey, lanes_pkey. Reads no more than p_limit + 3 lanes and p_limit calls.
-- Locks: one trunk_groups row (skips those that other claimers hold; when all are held, waits for the neediest, holding
--   nothing); accounts in id order, SKIP LOCKED; calls, SKIP LOCKED; the group's trunks in id order, waits.
--
-- A function and not one statement, because READ COMMITTED takes the snapshot before the wait: after waiting for the
-- group, the choice of accounts must be made on what its last holder committed. It is one round trip all the same.
CREATE FUNCTION claim_calls(
    p_limit integer, p_worker_id uuid, p_horizon interval DEFAULT '1 s',
    OUT call_id bigint, OUT account_id bigint, OUT trunk_group_id integer, OUT trunk_id integer, OUT epoch integer,
    OUT dial_at timestamptz, OUT dial_in_ms double precision    -- planned; begin_dial gives the time to keep
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 20 AS $$
#variable_conflict use_column
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_group  integer;
    v_busy   integer;                   -- the neediest group that another claimer holds
    v_held   boolean := false;          -- this claim holds a group
    v_calls  bigint[];
BEGIN
    FOR v_group IN
        SELECT g.id
          FROM trunk_groups g
         CROSS JOIN LATERAL (
               SELECT l.share, l.last_claim_at
                 FROM lanes l
                WHERE l.trunk_group_id = g.id AND l.claimable
                ORDER BY l.share, l.last_claim_at
                LIMIT 1) head
         WHERE EXISTS (
               SELECT FROM trunk_group_members m JOIN trunk_channels t ON t.trunk_id = m.trunk_id
                WHERE m.trunk_group_id = g.id
                  AND trunk_openings(t, v_now, v_now + p_horizon) > 0)
         ORDER BY head.share, head.last_claim_at
    LOOP
        PERFORM FROM trunk_groups g WHERE g.id = v_group FOR NO KEY UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            v_busy := coalesce(v_busy, v_group);
            CONTINUE;
        END IF;
        v_held := true;
        v_calls := claim_candidates(v_group, p_limit, v_now, v_now + p_horizon);
        EXIT WHEN v_calls IS NOT NULL;  -- NULL: all its accounts are locked at this moment; the next group's turn
    END LOOP;

    IF v_calls IS NULL AND v_busy IS NOT NULL AND NOT v_held THEN
        v_group := v_busy;
        PERFORM FROM trunk_groups g WHERE g.id = v_group FOR NO KEY UPDATE;
        v_now := clock_timestamp();
        v_calls := claim_candidates(v_group, p_limit, v_now, v_now + p_horizon);
    END IF;
    IF v_calls IS NULL THEN
        RETURN;
    END IF;

    PERFORM FROM trunk_channels t
      WHERE t.trunk_id IN (SELECT m.trunk_id FROM trunk_group_members m WHERE m.trunk_group_id = v_group)
      ORDER BY t.trunk_id
        FOR NO KEY UPDATE;
    v_now := clock_timestamp();         -- now() would be older than the waits

    RETURN QUERY
    WITH slot AS MATERIALIZED (         -- the dials that the trunks can take, in the order in which they are filled
        SELECT t.trunk_id,
               greatest(t.next_dial_at, v_now) + (k - 1) * t.dial_interval_us * interval '1 microsecond' AS dial_at,
               row_number() OVER (ORDER BY m.position, (t.channels + k) / m.weight, t.trunk_id) AS n
          FROM trunk_group_members m
          JOIN trunk_channels t ON t.trunk_id = m.trunk_id
         CROSS JOIN LATERAL generate_series(1, least(
               cardinality(v_calls), trunk_openings(t, v_now, v_now + p_horizon))) k
         WHERE m.trunk_group_id = v_group
         ORDER BY n
         LIMIT 100                      -- for the planner, as in claim_candidates
    ), claimed AS (
        UPDATE calls c
           SET state = 'claimed', epoch = c.epoch + 1, worker_id = p_worker_id, trunk_id = s.trunk_id, dial_at = s.dial_at,
               claimed_at = v_now
          FROM unnest(v_calls) WITH ORDINALITY AS chosen (id, n)
          JOIN slot s ON s.n = chosen.n
         WHERE c.id = chosen.id
     RETURNING c.id, c.account_id, c.trunk_id, c.epoch, c.dial_at
    ), account AS (
        UPDATE account_slots a
           SET inflight = a.inflight + u.n, last_claim_at = v_now
          FROM (SELECT account_id, count(*)::integer AS n FROM claimed GROUP BY account_id) u
         WHERE a.account_id = u.account_id
     RETURNING a.account_id, a.share, a.has_room, u.n
    ), lane AS (
        UPDATE lanes l
           SET ready = l.ready - CASE WHEN l.trunk_group_id = v_group THEN a.n ELSE 0 END,
               share = a.share, has_room = a.has_room, last_claim_at = v_now
          FROM account a
         WHERE l.account_id = a.account_id
           AND (l.trunk_group_id = v_group OR l.ready > 0)
    ), trunk AS (
        UPDATE trunk_channels t
           SET channels = t.channels + u.n,
               next_dial_at = u.last_dial_at + t.dial_interval_us * interval '1 microsecond'
          FROM (SELECT trunk_id, count(*)::integer AS n, max(dial_at) AS last_dial_at FROM claimed GROUP BY trunk_id) u
         WHERE t.trunk_id = u.trunk_id
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state)
        SELECT id, epoch, 'claimed' FROM claimed
    )
    SELECT c.id, c.account_id, v_group, c.trunk_id, c.epoch, c.dial_at,
           greatest(0, date_part('epoch', c.dial_at - clock_timestamp()) * 1000)
      FROM claimed c;
END $$;


-- add_ready: count calls that have become ready in their lanes, one array element a call; makes lanes that are missing.
-- Promises: `ready` and the lane's copies of the account are right together. Uses: account_slots_pkey, lanes_pkey.
-- Locks: lanes. The caller already holds the accounts, from an earlier statement of its transaction, so that this one's
--   snapshot shows the accounts as they are.
CREATE FUNCTION add_ready(p_account_ids bigint[], p_trunk_group_ids integer[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO lanes (account_id, trunk_group_id, ready, share, has_room, last_claim_at)
    SELECT r.account_id, r.trunk_group_id, r.n, a.share, a.has_room, a.last_claim_at
      FROM (SELECT account_id, trunk_group_id, count(*)::integer AS n
              FROM unnest(p_account_ids, p_trunk_group_ids) AS r (account_id, trunk_group_id)
             GROUP BY account_id, trunk_group_id) r
      JOIN account_slots a ON a.account_id = r.account_id
        ON CONFLICT (account_id, trunk_group_id) DO UPDATE
       SET ready = lanes.ready + excluded.ready, share = excluded.share,
           has_room = excluded.has_room, last_claim_at = excluded.last_claim_at
$$;


-- stage_due_calls: move calls whose time has come into the ready queue, and count them in their lanes.
-- Promises: a call moves once; each lane's `ready` equals the number of its ready calls; an account that is locked is left
--   for the next round; what has expired meanwhile is left to expire_calls. Returns how many moved. p_limit is at most 1,000;
--   repeat while it returns p_limit.
-- Uses: calls_scheduled_run_at, account_slots_pkey, calls_pkey, lanes_pkey.
-- Locks: accounts in id order, SKIP LOCKED; then calls; then lanes. Accounts before calls: the other way round it
--   deadlocks with cancel_calls.
CREATE FUNCTION stage_due_calls(p_limit integer) RETURNS integer
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_due      bigint[];
    v_accounts bigint[];
    v_groups   integer[];
BEGIN
    SELECT array_agg(d.id), array_agg(DISTINCT d.account_id)
      INTO v_due, v_accounts
      FROM (SELECT id, account_id
              FROM calls
             WHERE state = 'scheduled' AND run_at <= now() AND expires_at > now()
             ORDER BY run_at
             LIMIT p_limit) d;

    SELECT array_agg(a.account_id)
      INTO v_accounts
      FROM (SELECT account_id
              FROM account_slots
             WHERE account_id = ANY (v_accounts)
             ORDER BY account_id
               FOR NO KEY UPDATE SKIP LOCKED) a;

    WITH staged AS (
        UPDATE calls c
           SET state = 'ready'
          FROM unnest(v_due) AS due (id)
         WHERE c.id = due.id
           AND c.account_id = ANY (v_accounts)
           AND c.state IN ('scheduled', '')     -- two values, so that the planner does not see the predicate of
     RETURNING c.id, c.epoch, c.account_id, c.trunk_group_id        -- calls_scheduled_run_at and walk that index
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state)
        SELECT id, epoch, 'ready' FROM staged
    )
    SELECT array_agg(account_id), array_agg(trunk_group_id)
      INTO v_accounts, v_groups
      FROM staged;

    PERFORM add_ready(v_accounts, v_groups);
    RETURN coalesce(cardinality(v_accounts), 0);
END $$;


-- expire_calls: end waiting calls whose time has run out, with the reason that says what they waited for.
-- Promises: a call ends once, with its open attempt if it has one; each lane's `ready` equals the number of its ready calls; an
--   account that is locked is left for the next round. Nothing was dialled, or only dials that rang nowhere. p_limit is at most
--   1,000; repeat while as many come back.
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
    v_groups   integer[];
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
        SELECT c.id, c.state, s.paused, s.has_room,
               CASE c.waiting_for WHEN 'agent' THEN 'AGENT_NEVER_JOINED'
                                  WHEN 'media_server' THEN 'MEDIA_SERVER_UNAVAILABLE'
                                  WHEN 'trunk_capacity' THEN 'SIP_FAILED_CAPACITY'
                                  ELSE 'EXPIRED_IN_QUEUE' END AS reason
          FROM unnest(v_due) AS due (id)
          JOIN calls c ON c.id = due.id
          JOIN account_slots s ON s.account_id = c.account_id
         WHERE c.account_id = ANY (v_accounts)
           AND c.worker_id IS NULL AND c.state IN ('scheduled', 'ready')
    ), expired AS (
        UPDATE calls c
           SET state = 'not_connected', end_reason = w.reason, dialled = 'no', ended_at = clock_timestamp(),
               evidence = jsonb_build_object(
                   'waited_for', CASE WHEN c.waiting_for <> 'slot' THEN c.waiting_for
                                      WHEN w.state = 'scheduled' THEN 'its_time'
                                      WHEN w.paused THEN 'paused_account'
                                      WHEN NOT w.has_room THEN 'account_slot'
                                      ELSE 'trunk_channel_or_turn' END,
                   'waited_s', round(date_part('epoch', clock_timestamp() - c.created_at)::numeric, 3),
                   'deferrals', c.deferrals)
          FROM waiting w
         WHERE c.id = w.id
     RETURNING c.id, c.epoch, c.account_id, c.trunk_group_id, c.evidence, w.reason, w.state AS was
    ), attempt AS (
        UPDATE attempts t
           SET ended_at = clock_timestamp(), end_reason = e.reason
          FROM expired e
         WHERE t.call_id = e.id AND t.ended_at IS NULL
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state, detail)
        SELECT id, epoch, 'not_connected', jsonb_build_object('end_reason', reason) || evidence FROM expired
    )
    SELECT array_agg(id), array_agg(reason),
           array_agg(account_id) FILTER (WHERE was = 'ready'), array_agg(trunk_group_id) FILTER (WHERE was = 'ready')
      INTO v_calls, v_reasons, v_accounts, v_groups
      FROM expired;

    PERFORM remove_ready(v_accounts, v_groups);
    RETURN QUERY SELECT * FROM unnest(v_calls, v_reasons);
END $$;

-- remove_ready: take calls that are no longer ready off the counters of their lanes, one array element a call.
-- Promises: `ready` falls by what was given. Uses: lanes_pkey. Locks: lanes. The caller already holds the accounts.
CREATE FUNCTION remove_ready(p_account_ids bigint[], p_trunk_group_ids integer[]) RETURNS void
LANGUAGE sql AS $$
    UPDATE lanes l
       SET ready = l.ready - r.n
      FROM (SELECT account_id, trunk_group_id, count(*)::integer AS n
              FROM unnest(p_account_ids, p_trunk_group_ids) AS r (account_id, trunk_group_id)
             GROUP BY account_id, trunk_group_id) r
     WHERE l.account_id = r.account_id AND l.trunk_group_id = r.trunk_group_id
$$;
