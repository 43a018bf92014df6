-- 0008_circuits: when the failures of a trunk or the absence of an agent pool pause it, and what ends the pause; capacities of
-- agent pools; whose trunk groups are. Each function's comment says what it promises, which index it uses, and what it locks in
-- which order.

ALTER TABLE trunk_channels
    ADD COLUMN circuit_code     text,                            -- of a run of one number-class code; null: trunk-class failures
    ADD COLUMN circuit_changes  bigint NOT NULL DEFAULT 0;       -- times that the circuit opened, ever
ALTER TABLE agent_pools
    ADD COLUMN circuit_changes  bigint NOT NULL DEFAULT 0,
    ADD COLUMN absent_since     timestamptz;                     -- the first of `absences`

COMMENT ON COLUMN trunk_failures.at IS 'When the call was dialled, not when it failed: a dial says nothing of dials made later.';
COMMENT ON COLUMN trunk_health.good_at IS 'When the last good dial was made; news at most once a minute.';


-- circuit_pause: how long a circuit stays open that has opened p_openings times in a row: 30 s, doubled each time, 30 min at most.
CREATE FUNCTION circuit_pause(p_openings integer) RETURNS interval
LANGUAGE sql IMMUTABLE
RETURN least(interval '30 min', interval '30 s' * power(2, least(p_openings, 10) - 1));


-- judge_trunk: what the ring, the answer or the end of a dial says of the trunk that carried it (TrunkVerdict in records.py).
-- Promises:
--   * 5 different numbers that fail by the trunk, dialled within 5 min, open its circuit, and so do 8 different numbers dialled
--     within 10 min that all end with one number-class code, with no other failure between. In both cases nothing dialled since
--     the first of them is known to have gone well, and nothing dialled between them is undecided;
--   * what opens for a run of one code also takes back the suppressions that the calls of the run wrote, and so does each
--     further call with that code that was dialled before the circuit opened;
--   * while the circuit is open only a dial that was made after its opening counts: a probe. A good one closes the circuit, a
--     failure like those that opened it opens it again for longer, anything else lets the next call probe;
--   * every opening and closing has its row in system_events and wakes the workers.
--   It is the time of the dial that puts dials in order, not that of their ends: of a trunk that fails now, the end of an hour's
--   conversation says nothing. Asked twice it changes nothing (a failure of one number counts once). Of dials that end together the
--   good ones are to be judged first: only dials that are not over speak for themselves.
-- Uses: trunk_channels_pkey, trunk_health_pkey, trunk_failures_at, dials' key, do_not_call's key; calls_one_for_a_number, the whole
--   of which is the calls that are being dialled or talk, only when a circuit is about to open.
-- Locks: trunk_channels if there is a failure or a circuit to close (a caller that ends a call holds it anyway), then trunk_health,
--   then do_not_call; waits for each. Nothing for a good dial that is no news.
CREATE FUNCTION judge_trunk(p_trunk_id integer, p_call_id bigint, p_to text, p_verdict text, p_code text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c_news   CONSTANT interval := '1 min';
    v_bad    boolean := p_verdict IN ('trunk', 'number');
    v_good   boolean := p_verdict IN ('good', 'answered');
    v_at     timestamptz;
    v_trunk  record;
    v_health record;
    v_why    text;
BEGIN
    SELECT c.circuit_until, h.trunk_id IS NOT NULL AS known, coalesce(h.good_at, '-infinity') AS good_at,
           coalesce(h.answered_at, '-infinity') AS answered_at, coalesce(h.failing, false) AS failing
      INTO v_health
      FROM trunk_channels c
      LEFT JOIN trunk_health h ON h.trunk_id = c.trunk_id
     WHERE c.trunk_id = p_trunk_id;
    IF NOT FOUND OR NOT v_bad AND v_health.circuit_until IS NULL AND (NOT v_good OR (
           NOT v_health.failing AND v_health.good_at >= clock_timestamp() - c_news
           AND (p_verdict = 'good' OR v_health.answered_at >= clock_timestamp() - c_news))) THEN
        RETURN;
    END IF;
    SELECT d.intent_at INTO v_at FROM dials d WHERE d.call_id = p_call_id ORDER BY d.epoch DESC LIMIT 1;
    v_at := coalesce(v_at, clock_timestamp());

    IF v_bad OR v_health.circuit_until IS NOT NULL THEN
        SELECT circuit_until, circuit_opened_at, circuit_code
          INTO v_trunk
          FROM trunk_channels
         WHERE trunk_id = p_trunk_id
           FOR NO KEY UPDATE;
        UPDATE trunk_channels
           SET probe_call_id = NULL, probe_until = NULL
         WHERE trunk_id = p_trunk_id AND probe_call_id = p_call_id;
        IF v_good AND v_trunk.circuit_until IS NOT NULL AND v_at > v_trunk.circuit_opened_at THEN
            PERFORM close_trunk_circuit(p_trunk_id, jsonb_build_object('call_id', p_call_id));
        END IF;
    END IF;
    IF NOT v_bad AND NOT v_good THEN
        RETURN;
    END IF;

    IF v_good THEN
        UPDATE trunk_health h
           SET good_at = greatest(h.good_at, v_at),
               answered_at = CASE WHEN p_verdict = 'answered' THEN clock_timestamp() ELSE h.answered_at END,
               failing = h.failing AND EXISTS (SELECT FROM trunk_failures f
                                                WHERE f.trunk_id = p_trunk_id AND f.at > greatest(h.good_at, v_at))
         WHERE h.trunk_id = p_trunk_id
           AND (h.failing AND v_at > coalesce(h.good_at, '-infinity')
                OR v_at > coalesce(h.good_at, '-infinity') + c_news
                OR p_verdict = 'answered' AND coalesce(h.answered_at, '-infinity') < clock_timestamp() - c_news);
        IF v_health.failing THEN
            DELETE FROM trunk_failures f
             USING trunk_health h
             WHERE h.trunk_id = p_trunk_id AND f.trunk_id = p_trunk_id AND f.at <= h.good_at;
        ELSIF NOT v_health.known THEN
            INSERT INTO trunk_health (trunk_id, good_at, answered_at)
            VALUES (p_trunk_id, v_at, CASE WHEN p_verdict = 'answered' THEN clock_timestamp() END)
                ON CONFLICT (trunk_id) DO NOTHING;
        END IF;
        RETURN;
    END IF;

    INSERT INTO trunk_health (trunk_id, failing)
    VALUES (p_trunk_id, true)
        ON CONFLICT (trunk_id) DO UPDATE
       SET failing = true
     WHERE NOT trunk_health.failing AND coalesce(trunk_health.good_at, '-infinity') < v_at;
    SELECT coalesce(good_at, '-infinity') AS good_at
      INTO v_health
      FROM trunk_health
     WHERE trunk_id = p_trunk_id
       FOR NO KEY UPDATE;
    DELETE FROM trunk_failures
     WHERE trunk_id = p_trunk_id AND at < now() - interval '1 h';
    INSERT INTO trunk_failures (trunk_id, at, call_id, to_number, kind, code)
    VALUES (p_trunk_id, v_at, p_call_id, p_to, p_verdict, coalesce(nullif(p_code, ''), 'unknown'));

    IF v_trunk.circuit_until IS NOT NULL THEN
        IF p_verdict = 'number' AND v_trunk.circuit_code = p_code THEN
            PERFORM take_back_suppressions(ARRAY[p_call_id], ARRAY[p_to]);
        END IF;
        IF v_at <= v_trunk.circuit_opened_at THEN
            RETURN;
        END IF;
        v_health.good_at := greatest(v_health.good_at, v_trunk.circuit_opened_at);
        IF p_verdict = 'trunk' THEN
            v_why := format('a probe failed: %s', p_code);
        ELSIF v_trunk.circuit_code = p_code THEN
            v_why := format('a probe failed: %s again', p_code);
        END IF;
    END IF;
    IF v_why IS NULL THEN
        v_why := CASE p_verdict WHEN 'trunk' THEN run_of_trunk_failures(p_trunk_id, v_health.good_at)
                                ELSE run_of_one_code(p_trunk_id, v_health.good_at, p_code) END;
    END IF;
    IF v_why IS NOT NULL THEN
        PERFORM open_trunk_circuit(p_trunk_id, v_why, CASE WHEN p_verdict = 'number' THEN p_code END, v_health.good_at);
    END IF;
END $$;


-- run_of_trunk_failures: why the failures of a trunk since p_since are to open its circuit; null if they are not.
-- Uses: trunk_failures_at. Locks nothing.
CREATE FUNCTION run_of_trunk_failures(p_trunk_id integer, p_since timestamptz) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    c_numbers CONSTANT integer := 5;
    c_within  CONSTANT interval := '5 min';
    v_run     record;
BEGIN
    SELECT count(*) AS numbers, min(n.at) AS first, max(n.at) AS last, (array_agg(n.code ORDER BY n.at DESC))[1] AS code
      INTO v_run
      FROM (SELECT f.to_number, max(f.at) AS at, max(f.code) AS code
              FROM (SELECT to_number, at, code
                      FROM trunk_failures
                     WHERE trunk_id = p_trunk_id AND at > greatest(p_since, now() - c_within) AND kind = 'trunk'
                     ORDER BY at DESC
                     LIMIT 200) f
             GROUP BY f.to_number
             ORDER BY at DESC
             LIMIT c_numbers) n;
    IF v_run.numbers < c_numbers OR other_dials_speak_for(p_trunk_id, v_run.first, v_run.last) THEN
        RETURN NULL;
    END IF;
    RETURN format('%s numbers in a row failed by the trunk, the last with %s', c_numbers, v_run.code);
END $$;

-- run_of_one_code: why the failures of a trunk since p_since with one number-class code are to open its circuit; null if they are
-- not. Uses: trunk_failures_at. Locks nothing.
CREATE FUNCTION run_of_one_code(p_trunk_id integer, p_since timestamptz, p_code text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    c_numbers CONSTANT integer := 8;
    c_within  CONSTANT interval := '10 min';
    v_run     record;
BEGIN
    WITH recent AS MATERIALIZED (
        SELECT to_number, at, kind, code
          FROM trunk_failures
         WHERE trunk_id = p_trunk_id AND at > greatest(p_since, now() - c_within)
         ORDER BY at DESC
         LIMIT 200
    )
    SELECT count(*) AS numbers, min(n.at) AS first, max(n.at) AS last
      INTO v_run
      FROM (SELECT f.to_number, max(f.at) AS at
              FROM recent f
             WHERE f.kind = 'number' AND f.code = p_code
               AND f.at > coalesce((SELECT max(o.at) FROM recent o WHERE NOT (o.kind = 'number' AND o.code = p_code)), '-infinity')
             GROUP BY f.to_number
             ORDER BY at DESC
             LIMIT c_numbers) n;
    IF v_run.numbers < c_numbers OR other_dials_speak_for(p_trunk_id, v_run.first, v_run.last) THEN
        RETURN NULL;
    END IF;
    RETURN format('%s numbers in a row ended with %s', c_numbers, p_code);
END $$;

-- other_dials_speak_for: whether a call that was dialled on a trunk since p_first rings or talks, or one that was dialled by p_last
-- is undecided. Uses: calls_one_for_a_number (all calls that are being dialled or talk). Locks nothing.
CREATE FUNCTION other_dials_speak_for(p_trunk_id integer, p_first timestamptz, p_last timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (SELECT FROM calls
                    WHERE dialed_at IS NOT NULL AND ended_at IS NULL AND direction = 'outbound'
                      AND trunk_id = p_trunk_id AND dialed_at >= p_first
                      AND (state IN ('ringing', 'active') OR state = 'dialing' AND dialed_at <= p_last));
END $$;


-- open_trunk_circuit: pause a trunk, longer with each opening in a row; a run of one code (p_code) since p_since suppressed nobody.
-- Promises: counters, event and wake-up together. Uses: trunk_channels_pkey, trunk_failures_at, do_not_call's key.
-- Locks: do_not_call. The caller holds the trunk's rows.
CREATE FUNCTION open_trunk_circuit(p_trunk_id integer, p_why text, p_code text, p_since timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_trunk   record;
    v_taken   integer := 0;
BEGIN
    UPDATE trunk_channels
       SET circuit_opened_at = clock_timestamp(), circuit_openings = circuit_openings + 1, circuit_changes = circuit_changes + 1,
           circuit_until = clock_timestamp() + circuit_pause(circuit_openings + 1), circuit_why = p_why, circuit_code = p_code,
           probe_call_id = NULL, probe_until = NULL
     WHERE trunk_id = p_trunk_id
 RETURNING circuit_until, circuit_openings INTO v_trunk;

    IF p_code IS NOT NULL THEN
        SELECT take_back_suppressions(array_agg(f.call_id), array_agg(f.to_number::text))
          INTO v_taken
          FROM trunk_failures f
         WHERE f.trunk_id = p_trunk_id AND f.at > p_since AND f.kind = 'number' AND f.code = p_code;
    END IF;
    INSERT INTO system_events (kind, subject, detail)
    SELECT 'trunk.circuit_opened', t.name, jsonb_build_object(
               'why', p_why, 'until', v_trunk.circuit_until, 'openings', v_trunk.circuit_openings,
               'suppressions_taken_back', v_taken)
      FROM trunks t
     WHERE t.id = p_trunk_id;
    PERFORM pg_notify('orchestrator_queue', '');
END $$;

-- close_trunk_circuit: end the pause of a trunk, if it has one. Promises: counters, event and wake-up together.
-- Uses: trunk_channels_pkey. Locks: trunk_channels, waits.
CREATE FUNCTION close_trunk_circuit(p_trunk_id integer, p_detail jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE trunk_channels
       SET circuit_until = NULL, circuit_opened_at = NULL, circuit_openings = 0, circuit_why = '', circuit_code = NULL,
           probe_call_id = NULL, probe_until = NULL
     WHERE trunk_id = p_trunk_id AND circuit_until IS NOT NULL;
    IF FOUND THEN
        INSERT INTO system_events (kind, subject, detail)
        SELECT 'trunk.circuit_closed', t.name, p_detail FROM trunks t WHERE t.id = p_trunk_id;
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;
END $$;

-- reset_trunk_circuit: close a trunk's circuit by an operator's order, and forget the failures that would open it again.
-- Promises: as close_trunk_circuit; a closed circuit only forgets. Uses: as close_trunk_circuit, trunk_failures_at.
-- Locks: trunk_channels, trunk_health; waits.
CREATE FUNCTION reset_trunk_circuit(p_trunk_id integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM close_trunk_circuit(p_trunk_id, '{"by": "operator"}');
    UPDATE trunk_health SET failing = false WHERE trunk_id = p_trunk_id;
    DELETE FROM trunk_failures WHERE trunk_id = p_trunk_id;
END $$;

-- take_back_suppressions: remove the suppressions that these calls wrote, one array element a call; returns how many. What other
-- calls or people wrote stays. Uses: do_not_call's key. Locks: do_not_call, waits.
CREATE FUNCTION take_back_suppressions(p_call_ids bigint[], p_numbers text[]) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_n integer;
BEGIN
    DELETE FROM do_not_call d
     USING (SELECT DISTINCT number_key(c.to_number) AS key, 'call ' || c.id AS source
              FROM unnest(p_call_ids, p_numbers) AS c (id, to_number)) c
     WHERE d.number_key = c.key AND d.kind = 'suppression' AND d.source = c.source;
    GET DIAGNOSTICS v_n = ROW_COUNT;
    RETURN v_n;
END $$;

-- may_suppress: whether a trunk's word that a number does not exist is to be believed: it completed a call within a day, and its
-- circuit is closed. Ask after judge_trunk, which may just have opened it. Uses: the keys of trunk_health and trunk_channels.
-- Locks nothing.
CREATE FUNCTION may_suppress(p_trunk_id integer) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM trunk_health h
                     JOIN trunk_channels c ON c.trunk_id = h.trunk_id
                    WHERE h.trunk_id = p_trunk_id AND h.answered_at > now() - interval '1 day' AND c.circuit_until IS NULL);
END $$;


-- judge_pool: whether the agent that call p_call_id asked for came.
-- Promises: 3 absences in a row open the pool's circuit, one more while only probes are let through opens it again for longer; an
--   agent that came closes it and ends the row. Of an agent that came, it is the time of the dial that counts: it says nothing of
--   absences since. Every opening and closing has its row in system_events and wakes the workers. Nearly free while agents come:
--   nothing is written, nothing locked.
-- Uses: agent_pools_pkey, and for news calls_pkey and dials' key. Locks: the pool's row, waits; only if there is something to
--   write.
CREATE FUNCTION judge_pool(p_agent_pool_id integer, p_call_id bigint, p_came boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c_absences CONSTANT integer := 3;
    v_pool     record;
    v_at       timestamptz;
BEGIN
    IF p_came IS NULL OR p_came AND NOT EXISTS (
           SELECT FROM agent_pools WHERE id = p_agent_pool_id AND (absences > 0 OR circuit_until IS NOT NULL)) THEN
        RETURN;
    END IF;
    SELECT d.intent_at INTO v_at FROM calls c JOIN dials d ON d.call_id = c.id AND d.epoch = c.epoch WHERE c.id = p_call_id;
    v_at := coalesce(v_at, clock_timestamp());      -- an agent that came to a call that was not dialled has just come
    SELECT * INTO v_pool FROM agent_pools WHERE id = p_agent_pool_id FOR NO KEY UPDATE;

    IF p_came THEN
        UPDATE agent_pools
           SET probe_call_id = NULL, probe_until = NULL
         WHERE id = p_agent_pool_id AND probe_call_id = p_call_id;
        IF v_at > coalesce(v_pool.absent_since, '-infinity') THEN
            PERFORM close_pool_circuit(p_agent_pool_id, jsonb_build_object('call_id', p_call_id));
        END IF;
        RETURN;
    END IF;

    UPDATE agent_pools
       SET absences = absences + 1, absent_since = coalesce(absent_since, clock_timestamp()),
           probe_call_id = nullif(probe_call_id, p_call_id),
           probe_until = CASE WHEN probe_call_id IS DISTINCT FROM p_call_id THEN probe_until END
     WHERE id = p_agent_pool_id;
    IF v_pool.circuit_until IS NULL AND v_pool.absences + 1 >= c_absences OR v_pool.circuit_until <= clock_timestamp() THEN
        UPDATE agent_pools
           SET circuit_opened_at = clock_timestamp(), circuit_openings = circuit_openings + 1, circuit_changes = circuit_changes + 1,
               circuit_until = clock_timestamp() + circuit_pause(circuit_openings + 1),
               circuit_why = format('no agent came %s times in a row', absences), probe_call_id = NULL, probe_until = NULL
         WHERE id = p_agent_pool_id
     RETURNING circuit_until, circuit_openings, circuit_why, name INTO v_pool;
        INSERT INTO system_events (kind, subject, detail)
        VALUES ('agents.circuit_opened', v_pool.name, jsonb_build_object(
                    'why', v_pool.circuit_why, 'until', v_pool.circuit_until, 'openings', v_pool.circuit_openings));
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;
END $$;

-- close_pool_circuit: agents come again: end the pause of a pool, if it has one, and the row of absences. Promises: counters, event and
-- wake-up together. Uses: agent_pools_pkey. Locks: the pool's row, waits.
CREATE FUNCTION close_pool_circuit(p_agent_pool_id integer, p_detail jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_pool record;
BEGIN
    SELECT name, circuit_until INTO v_pool FROM agent_pools WHERE id = p_agent_pool_id FOR NO KEY UPDATE;
    UPDATE agent_pools
       SET absences = 0, absent_since = NULL, circuit_until = NULL, circuit_opened_at = NULL, circuit_openings = 0, circuit_why = '',
           probe_call_id = NULL, probe_until = NULL
     WHERE id = p_agent_pool_id;
    IF v_pool.circuit_until IS NOT NULL THEN
        INSERT INTO system_events (kind, subject, detail) VALUES ('agents.circuit_closed', v_pool.name, p_detail);
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;
END $$;

-- set_agent_capacity: how many calls an agent pool takes at once; null: not limited, and not counted.
-- Promises: `inflight` is exact from this commit on: claims and ends that read the pool's capacity hold its advisory lock shared until
--   they commit, so that none counts by the old capacity what this has counted already, or has not.
-- Uses: agent_pools_pkey, routes' key, calls_live. Locks: the pool's advisory lock, then its row; waits for each.
CREATE FUNCTION set_agent_capacity(p_agent_pool_id integer, p_capacity integer) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7301, p_agent_pool_id);
    UPDATE agent_pools
       SET capacity = p_capacity,
           inflight = CASE WHEN p_capacity IS NULL THEN 0 ELSE (
               SELECT count(*)
                 FROM calls c
                 JOIN routes r ON r.id = c.route_id
                WHERE c.worker_id IS NOT NULL AND c.ended_at IS NULL AND c.direction = 'outbound'
                  AND r.agent_pool_id = p_agent_pool_id) END
     WHERE id = p_agent_pool_id;
    PERFORM pg_notify('orchestrator_queue', '');
END $$;


-- trunk_group_owner: the account that alone may use a trunk group, since one of its trunks is that account's; null: all may.
-- Uses: trunk_group_members_pkey, trunks_pkey. Locks nothing.
CREATE FUNCTION trunk_group_owner(p_trunk_group_id integer) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT min(t.owner_account_id)
              FROM trunk_group_members m
              JOIN trunks t ON t.id = m.trunk_id
             WHERE m.trunk_group_id = p_trunk_group_id);
END $$;
