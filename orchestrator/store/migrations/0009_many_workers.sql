-- 0009_many_workers: what many workers need of one database: to notice that it was restored, to have one leader, to take over the
-- calls of a dead worker, and to compare counters with counts.

-- cluster_identity: the system identifier of this cluster and its timeline; null where the server does not let us ask.
-- Promises: never raises. Locks nothing. Both are functions that a hosted server may withhold: a privilege is asked for before
--   each is named, since the planner checks whatever an expression holds, whether it is reached or not.
CREATE FUNCTION cluster_identity(OUT system_identifier text, OUT timeline text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF has_function_privilege('pg_control_system()', 'EXECUTE') THEN
        SELECT s.system_identifier::text INTO system_identifier FROM pg_control_system() s;
    END IF;
    IF NOT pg_is_in_recovery() AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE')
       AND has_function_privilege('pg_current_wal_lsn()', 'EXECUTE') THEN
        timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    END IF;
END $$;


-- same_cluster: whether this is the cluster and the timeline on which dialling is confirmed (DESIGN.md, I1). A backup that was
-- restored, and a standby that was promoted, may have lost committed intents: dialling again would call people twice.
-- Promises: true before the first start, which records them; what the server withholds is not compared. Some 15 microseconds.
-- Locks nothing.
CREATE FUNCTION same_cluster() RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_here record;
    v_known record;
BEGIN
    SELECT w.system_identifier, w.timeline INTO v_known FROM switches w;
    IF v_known.system_identifier IS NULL AND v_known.timeline IS NULL THEN
        RETURN true;
    END IF;
    v_here := cluster_identity();
    RETURN coalesce(v_known.system_identifier = v_here.system_identifier, true)
       AND coalesce(v_known.timeline = v_here.timeline, true);
END $$;


-- watch_cluster: record the cluster at the first start; hold dialling if it is another one by now. Returns why dialling is held,
-- '' if it is not.
-- Promises: whoever notices first sets held_at, once, with its line in system_events; only confirm_restore takes it away.
-- Locks: the switches' row, only when something changes.
CREATE FUNCTION watch_cluster() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_here  record := cluster_identity();
    v_known record;
    v_why   text;
BEGIN
    SELECT w.system_identifier, w.timeline, w.held_why INTO v_known FROM switches w;
    IF v_known.system_identifier IS NULL AND v_known.timeline IS NULL THEN
        UPDATE switches w
           SET system_identifier = v_here.system_identifier, timeline = v_here.timeline
         WHERE w.system_identifier IS NULL AND w.timeline IS NULL;
        RETURN v_known.held_why;
    END IF;
    IF v_known.held_why <> '' OR same_cluster() THEN
        RETURN v_known.held_why;
    END IF;
    v_why := format('the database is not the one on which calls were dialled: '
                    'system %s, timeline %s instead of system %s, timeline %s',
                    coalesce(v_here.system_identifier, '?'), coalesce(v_here.timeline, '?'),
                    coalesce(v_known.system_identifier, '?'), coalesce(v_known.timeline, '?'));
    UPDATE switches SET held_at = clock_timestamp(), held_why = v_why WHERE held_at IS NULL;
    IF FOUND THEN
        INSERT INTO system_events (kind, detail) VALUES ('restore_noticed', jsonb_build_object('why', v_why));
    END IF;
    RETURN v_why;
END $$;


-- confirm_restore: an operator has seen to it that nobody is called twice: dial on this cluster and timeline from now on.
-- Returns why dialling was held, '' if it was not. Locks: the switches' row.
CREATE FUNCTION confirm_restore() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_here record := cluster_identity();
    v_why  text;
BEGIN
    v_why := watch_cluster();       -- what nobody has noticed yet is confirmed, too
    UPDATE switches
       SET held_at = NULL, held_why = '', system_identifier = v_here.system_identifier, timeline = v_here.timeline;
    IF v_why <> '' THEN
        INSERT INTO system_events (kind, detail) VALUES ('restore_confirmed', jsonb_build_object('was', v_why));
    END IF;
    RETURN v_why;
END $$;


-- take_lease: take, or keep, the lease of this name for p_ttl_s. Returns its term, which rises with each holder; null: somebody
-- else holds it, or this worker has been deregistered.
-- Promises: one holder at any moment of the database's clock. A holder counts from before it asked, so that it steps down early.
-- Uses: leases_pkey, workers_pkey. Locks: the lease's row; waits.
CREATE FUNCTION take_lease(p_name text, p_worker_id uuid, p_ttl_s double precision) RETURNS bigint
LANGUAGE sql AS $$
    INSERT INTO leases AS l (name, worker_id, expires_at)
    SELECT p_name, w.id, clock_timestamp() + p_ttl_s * interval '1 s'
      FROM workers w
     WHERE w.id = p_worker_id AND w.stopped_at IS NULL
        ON CONFLICT (name) DO UPDATE
       SET worker_id = excluded.worker_id, expires_at = clock_timestamp() + p_ttl_s * interval '1 s',
           term = l.term + CASE WHEN l.worker_id = excluded.worker_id THEN 0 ELSE 1 END
     WHERE l.worker_id = excluded.worker_id OR l.expires_at <= clock_timestamp()
 RETURNING l.term
$$;


-- release_lease: give the lease back, so that another need not wait for its end. True if it was ours.
-- Uses: leases_pkey. Locks: the lease's row.
CREATE FUNCTION release_lease(p_name text, p_worker_id uuid) RETURNS boolean
LANGUAGE sql AS $$
    WITH released AS (
        UPDATE leases SET expires_at = clock_timestamp()
         WHERE name = p_name AND worker_id = p_worker_id AND expires_at > clock_timestamp()
     RETURNING 1)
    SELECT EXISTS (SELECT FROM released)
$$;


-- is_stranded: whether this worker's calls may be taken over by p_by: it has stopped, or given no sign of life for p_lease_s by the
-- database's clock, or has no row (its row left by age, or was deleted), or is p_by itself.
-- Promises: true until the caller's transaction ends: a beat of the heart waits for it, and its worker then looks which of its
--   claims are still its own.
-- Uses: workers_pkey. Locks: the worker's row, FOR SHARE; waits.
CREATE FUNCTION is_stranded(p_worker_id uuid, p_by uuid, p_lease_s double precision) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_worker record;
BEGIN
    IF p_worker_id = p_by THEN
        RETURN true;
    END IF;
    SELECT w.stopped_at, w.heartbeat_at INTO v_worker FROM workers w WHERE w.id = p_worker_id FOR SHARE;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    RETURN v_worker.stopped_at IS NOT NULL OR v_worker.heartbeat_at < clock_timestamp() - p_lease_s * interval '1 s';
END $$;


-- requeue_stranded: give a call back to the queue that its dead worker had claimed and not dialled.
-- Promises: only while it is still only claimed under this epoch and its worker is dead: a worker that comes to life at this
--   moment either has its intent written, and the call stays, or finds its claim gone at the last gate.
-- Uses and locks: as requeue_call, and the worker's row before the call's counters.
CREATE FUNCTION requeue_stranded(
    p_account_id bigint, p_call_id bigint, p_epoch integer, p_by uuid, p_lease_s double precision
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_worker_id uuid;
BEGIN
    PERFORM FROM account_slots WHERE account_id = p_account_id FOR NO KEY UPDATE;
    SELECT c.worker_id INTO v_worker_id
      FROM calls c
     WHERE c.id = p_call_id AND c.account_id = p_account_id AND c.epoch = p_epoch AND c.state = 'claimed'
       FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT is_stranded(v_worker_id, p_by, p_lease_s) THEN
        RETURN false;
    END IF;
    RETURN requeue_call(
        p_account_id => p_account_id, p_call_id => p_call_id, p_epoch => p_epoch, p_delay_s => 0, p_waiting_for => 'slot',
        p_detail => '{"why": "its worker is gone, nobody was dialled"}', p_trunk_verdict => 'nothing', p_trunk_code => '',
        p_agent_came => NULL);
END $$;


-- adopt_call: take over a call whose worker is dead and which was dialled. Returns the new epoch; null: there is nothing to adopt.
-- Promises: one adopter; the old worker's writes fail from here on; slot and channel stay with the call; the dial moves to the
--   new epoch with it, its room keeps its name.
-- Uses: calls_pkey, workers_pkey, dials (call_id, epoch). Locks: the call, the old worker's row, the dial; waits for each.
CREATE FUNCTION adopt_call(p_call_id bigint, p_epoch integer, p_worker_id uuid, p_lease_s double precision) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_call record;
BEGIN
    SELECT c.worker_id, c.state INTO v_call
      FROM calls c
     WHERE c.id = p_call_id AND c.epoch = p_epoch AND c.state IN ('dialing', 'ringing', 'active')
       FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT is_stranded(v_call.worker_id, p_worker_id, p_lease_s) THEN
        RETURN NULL;
    END IF;
    UPDATE calls SET epoch = p_epoch + 1, worker_id = p_worker_id WHERE id = p_call_id;
    UPDATE dials SET epoch = p_epoch + 1 WHERE call_id = p_call_id AND epoch = p_epoch;
    INSERT INTO call_events (call_id, epoch, kind, detail)
    VALUES (p_call_id, p_epoch + 1, 'adopted', jsonb_build_object(
                'state', v_call.state, 'from_worker', v_call.worker_id, 'by_worker', p_worker_id));
    RETURN p_epoch + 1;
END $$;


-- repair_counters: compare all counters with what they count, and put right those that are wrong (DESIGN.md, I5). Returns how many
-- were wrong, by kind; all zero unless there is a defect, or somebody changed rows by hand.
-- Promises: found in one snapshot, which is exact, since every writer changes counters and calls in one transaction; counted again
--   and put right under the locks of their writers; what was wrong is a line of system_events.
-- Uses: calls_live; with p_lanes calls_ready, the whole of it. Locks, of what is wrong only: accounts, lanes, agent pools (their
--   advisory locks first), trunks, each in id order; waits.
CREATE FUNCTION repair_counters(
    p_lanes boolean,
    OUT inflight integer, OUT inbound integer, OUT lanes integer, OUT agents integer, OUT channels integer
) RETURNS record
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_accounts bigint[];
    v_lanes    bigint[];
    v_pools    integer[];
    v_trunks   integer[];
    v_pool     integer;
    v_detail   jsonb := '{}';
    v_part     jsonb;
BEGIN
    inflight := 0; inbound := 0; lanes := 0; agents := 0; channels := 0;

    WITH live AS MATERIALIZED (
        SELECT c.account_id, c.trunk_id, c.route_id, c.direction
          FROM calls c
         WHERE c.worker_id IS NOT NULL AND c.ended_at IS NULL
    )
    SELECT (SELECT array_agg(a.account_id)
              FROM account_slots a
              LEFT JOIN (SELECT account_id, count(*) FILTER (WHERE direction = 'outbound') AS out,
                                count(*) FILTER (WHERE direction = 'inbound') AS inb
                           FROM live GROUP BY account_id) n ON n.account_id = a.account_id
             WHERE (a.inflight, a.inbound) <> (coalesce(n.out, 0), coalesce(n.inb, 0))),
           (SELECT array_agg(p.id)
              FROM agent_pools p
              LEFT JOIN (SELECT r.agent_pool_id, count(*) AS n
                           FROM live l JOIN routes r ON r.id = l.route_id
                          WHERE l.direction = 'outbound' GROUP BY r.agent_pool_id) n ON n.agent_pool_id = p.id
             WHERE p.inflight <> CASE WHEN p.capacity IS NULL THEN 0 ELSE coalesce(n.n, 0) END),
           (SELECT array_agg(t.trunk_id)
              FROM trunk_channels t
              LEFT JOIN (SELECT trunk_id, count(*) AS n FROM live WHERE direction = 'outbound' GROUP BY trunk_id) n
                     ON n.trunk_id = t.trunk_id
             WHERE t.channels <> coalesce(n.n, 0))
      INTO v_accounts, v_pools, v_trunks;
    IF p_lanes THEN
        SELECT array_agg(DISTINCT coalesce(l.account_id, n.account_id))
          INTO v_lanes
          FROM lanes l
          FULL JOIN (SELECT c.account_id, c.route_id, count(*) AS ready, count(*) FILTER (WHERE c.priority > 0) AS urgent
                       FROM calls c WHERE c.state = 'ready' GROUP BY c.account_id, c.route_id) n
                 ON n.account_id = l.account_id AND n.route_id = l.route_id
          JOIN account_slots a ON a.account_id = coalesce(l.account_id, n.account_id)
         WHERE (coalesce(l.ready, 0), coalesce(l.urgent, 0)) <> (coalesce(n.ready, 0), coalesce(n.urgent, 0))
            OR (l.ready > 0 AND (l.share, l.has_room, l.has_urgent_room, l.last_claim_at)
                                IS DISTINCT FROM (a.share, a.has_room, a.has_urgent_room, a.last_claim_at));
    END IF;
    IF v_accounts IS NULL AND v_lanes IS NULL AND v_pools IS NULL AND v_trunks IS NULL THEN
        RETURN;
    END IF;

    PERFORM FROM account_slots a
      WHERE a.account_id = ANY (coalesce(v_accounts, '{}') || coalesce(v_lanes, '{}'))
      ORDER BY a.account_id
        FOR NO KEY UPDATE;
    WITH counted AS (
        SELECT a.account_id, a.inflight AS had, a.inbound AS had_inbound, n.out, n.inb
          FROM account_slots a
         CROSS JOIN LATERAL (
               SELECT count(*) FILTER (WHERE c.direction = 'outbound')::integer AS out,
                      count(*) FILTER (WHERE c.direction = 'inbound')::integer AS inb
                 FROM calls c
                WHERE c.account_id = a.account_id AND c.worker_id IS NOT NULL AND c.ended_at IS NULL) n
         WHERE a.account_id = ANY (v_accounts) AND (a.inflight, a.inbound) <> (n.out, n.inb)
    ), repaired AS (
        UPDATE account_slots a SET inflight = c.out, inbound = c.inb FROM counted c WHERE a.account_id = c.account_id
    )
    SELECT count(*) FILTER (WHERE had <> out), count(*) FILTER (WHERE had_inbound <> inb),
           jsonb_agg(jsonb_build_object('account', account_id, 'inflight', had, 'counted', out, 'inbound', had_inbound,
                                        'counted_inbound', inb))
      INTO inflight, inbound, v_part
      FROM counted;
    v_detail := v_detail || jsonb_strip_nulls(jsonb_build_object('accounts', v_part));

    -- Whoever changes a lane holds its account; a statement of its own, so that it sees what they committed.
    WITH counted AS (
        SELECT c.account_id, c.route_id, count(*)::integer AS ready, count(*) FILTER (WHERE c.priority > 0)::integer AS urgent
          FROM calls c
         WHERE c.account_id = ANY (coalesce(v_accounts, '{}') || coalesce(v_lanes, '{}')) AND c.state = 'ready'
         GROUP BY c.account_id, c.route_id
    ), wanted AS (
        SELECT a.account_id, coalesce(l.route_id, c.route_id) AS route_id, coalesce(c.ready, 0) AS ready,
               coalesce(c.urgent, 0) AS urgent, a.share, a.has_room, a.has_urgent_room, a.last_claim_at, l.ready AS had
          FROM account_slots a
          LEFT JOIN (lanes l FULL JOIN counted c ON c.account_id = l.account_id AND c.route_id = l.route_id)
                 ON coalesce(l.account_id, c.account_id) = a.account_id
         WHERE a.account_id = ANY (coalesce(v_accounts, '{}') || coalesce(v_lanes, '{}'))
           AND coalesce(l.route_id, c.route_id) IS NOT NULL
           AND ((coalesce(l.ready, 0), coalesce(l.urgent, 0)) <> (coalesce(c.ready, 0), coalesce(c.urgent, 0))
                OR (coalesce(c.ready, 0) > 0 AND (l.share, l.has_room, l.has_urgent_room, l.last_claim_at)
                                    IS DISTINCT FROM (a.share, a.has_room, a.has_urgent_room, a.last_claim_at)))
    ), repaired AS (
        INSERT INTO lanes AS x (account_id, route_id, ready, urgent, share, has_room, has_urgent_room, last_claim_at)
        SELECT account_id, route_id, ready, urgent, share, has_room, has_urgent_room, last_claim_at FROM wanted
            ON CONFLICT (account_id, route_id) DO UPDATE
           SET ready = excluded.ready, urgent = excluded.urgent, share = excluded.share, has_room = excluded.has_room,
               has_urgent_room = excluded.has_urgent_room, last_claim_at = excluded.last_claim_at
    )
    -- An account whose own counters were wrong has lanes that copied them: those are not counted again.
    SELECT count(*) FILTER (WHERE account_id = ANY (v_lanes)), jsonb_agg(jsonb_build_object(
               'account', account_id, 'route', route_id, 'ready', had, 'counted', ready))
      INTO lanes, v_part
      FROM wanted;
    v_detail := v_detail || jsonb_strip_nulls(jsonb_build_object('lanes', v_part));

    FOREACH v_pool IN ARRAY coalesce((SELECT array_agg(p ORDER BY p) FROM unnest(v_pools) p), '{}') LOOP
        PERFORM pg_advisory_xact_lock(7301, v_pool);
    END LOOP;
    PERFORM FROM agent_pools p WHERE p.id = ANY (v_pools) ORDER BY p.id FOR NO KEY UPDATE;
    WITH counted AS (
        SELECT p.id, p.name, p.inflight AS had, CASE WHEN p.capacity IS NULL THEN 0 ELSE n.n END AS n
          FROM agent_pools p
         CROSS JOIN LATERAL (
               SELECT count(*)::integer AS n
                 FROM calls c JOIN routes r ON r.id = c.route_id
                WHERE r.agent_pool_id = p.id AND c.direction = 'outbound' AND c.worker_id IS NOT NULL AND c.ended_at IS NULL) n
         WHERE p.id = ANY (v_pools)
    ), repaired AS (
        UPDATE agent_pools p SET inflight = c.n FROM counted c WHERE p.id = c.id AND c.had <> c.n
    )
    SELECT count(*), jsonb_agg(jsonb_build_object('pool', name, 'inflight', had, 'counted', n))
      INTO agents, v_part
      FROM counted
     WHERE had <> n;
    v_detail := v_detail || jsonb_strip_nulls(jsonb_build_object('agent_pools', v_part));

    PERFORM FROM trunk_channels t WHERE t.trunk_id = ANY (v_trunks) ORDER BY t.trunk_id FOR NO KEY UPDATE;
    WITH counted AS (
        SELECT t.trunk_id, t.channels AS had, n.n
          FROM trunk_channels t
         CROSS JOIN LATERAL (
               SELECT count(*)::integer AS n
                 FROM calls c
                WHERE c.trunk_id = t.trunk_id AND c.direction = 'outbound' AND c.worker_id IS NOT NULL AND c.ended_at IS NULL) n
         WHERE t.trunk_id = ANY (v_trunks)
    ), repaired AS (
        UPDATE trunk_channels t SET channels = c.n FROM counted c WHERE t.trunk_id = c.trunk_id AND c.had <> c.n
    )
    SELECT count(*), jsonb_agg(jsonb_build_object('trunk', trunk_id, 'channels', had, 'counted', n))
      INTO channels, v_part
      FROM counted
     WHERE had <> n;
    v_detail := v_detail || jsonb_strip_nulls(jsonb_build_object('trunks', v_part));

    IF v_detail <> '{}' THEN
        INSERT INTO system_events (kind, detail) VALUES ('counters_repaired', v_detail);
    END IF;
END $$;
