-- 0010_age: how what is over leaves, how a number is erased, and an index for asking what waits. Each function's comment says what
-- it promises, which index it uses, and what it locks in which order.

-- The rows of workers leave while dials and ended calls of theirs stay; with these keys none could, and each would cost a walk through
-- all of them. A live call whose worker has no row is a dead worker's (is_stranded, stranded_calls).
ALTER TABLE dials DROP CONSTRAINT dials_worker_id_fkey;
ALTER TABLE calls DROP CONSTRAINT calls_worker_id_fkey;

-- Calls that wait for something else than their turn: what `orchestrator queue` and the metrics count. Queueing, staging, claiming
-- and finishing never touch it; only putting a call back does.
CREATE INDEX calls_held ON calls (waiting_for, account_id, run_at) WHERE state = 'scheduled' AND waiting_for <> 'slot';


-- prune_calls: look at the next p_limit calls in the order of their ids, and remove those that ended more than p_days days ago,
-- with their attempts, dials and events.
-- Promises: never a call that has not ended, whose idempotency key is younger than 24 hours, or one of whose dials counts in its
--   account's spacing still (the gap, and the window of the most dials to a number). Removes a call whole or not at all.
--   `last_id`: where to go on; null when there are no more calls. `beyond`: all that it looked at were made too lately to be old
--   enough, and ids rise with time, so that nothing further on can be.
-- Uses: calls_pkey, accounts_pkey, the keys of attempts, dials and call_events. No index on ended_at, which every end of a call
--   would have to write: reading in the order of ids finds the oldest first, and costs one look at each call that was made before
--   the cutoff and must stay.
-- Locks: calls by SKIP LOCKED, in id order; attempts, dials and events of these alone. Touches no counter.
CREATE FUNCTION prune_calls(
    p_after bigint, p_days double precision, p_limit integer,
    OUT last_id bigint, OUT removed integer, OUT beyond boolean
)
LANGUAGE plpgsql AS $$
DECLARE
    c_key_stays CONSTANT interval := '24 hours';
    v_now       timestamptz := clock_timestamp();
    v_cutoff    timestamptz := v_now - p_days * interval '1 day';
    v_ids       bigint[];
BEGIN
    SELECT max(c.id), coalesce(min(c.created_at) >= v_cutoff, true),
           coalesce(array_agg(c.id) FILTER (
               WHERE c.ended_at < v_cutoff
                 AND (c.idempotency_key IS NULL OR c.created_at < v_now - c_key_stays)), '{}')
      INTO last_id, beyond, v_ids
      FROM (SELECT id, created_at, ended_at, idempotency_key FROM calls WHERE id > p_after ORDER BY id LIMIT p_limit) c;
    SELECT coalesce(array_agg(l.id), '{}')
      INTO v_ids
      FROM (SELECT c.id
              FROM calls c
              JOIN accounts a ON a.id = c.account_id
             WHERE c.id = ANY (v_ids)
               AND NOT EXISTS (SELECT FROM dials d
                                WHERE d.call_id = c.id AND d.spent IS DISTINCT FROM false
                                  AND d.intent_at > v_now - greatest(
                                      a.number_gap_s, CASE WHEN a.number_most_dials > 0 THEN a.number_window_s ELSE 0 END)
                                      * interval '1 s')
             ORDER BY c.id
               FOR UPDATE OF c SKIP LOCKED) l;
    DELETE FROM dials WHERE call_id = ANY (v_ids);
    DELETE FROM call_events WHERE call_id = ANY (v_ids);
    DELETE FROM attempts WHERE call_id = ANY (v_ids);
    DELETE FROM calls WHERE id = ANY (v_ids);
    removed := cardinality(v_ids);
END $$;


-- prune_routes: remove up to p_limit rows that names of agents have left behind: lanes that are empty and whose last call was claimed
-- more than p_days days ago; routes without lanes and live calls; agent pools without routes that nobody has configured.
-- Promises: never what a call that is ready or live needs, nor a capacity, a pause, or what a circuit remembers. Returns how many;
--   repeat while it returns p_limit. An account that is locked is left for the next round. What is needed again is made again.
-- Uses: account_slots_pkey, lanes_pkey, calls_ready, calls_live; reads lanes, routes and agent_pools whole, which it keeps small.
-- Locks: advisory (7303, 0): nobody stages and nobody makes routes meanwhile, some milliseconds; accounts in id order, SKIP LOCKED; lanes;
--   routes; agent_pools, SKIP LOCKED. No foreign key leads to routes: who makes a call ready again holds it live until then, and a
--   claim takes its call from a lane that was not empty, so that one snapshot shows the one or the other.
CREATE FUNCTION prune_routes(p_days double precision, p_limit integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_idle     timestamptz := clock_timestamp() - p_days * interval '1 day';
    v_accounts bigint[];
    v_removed  integer;
    v_more     integer;
BEGIN
    PERFORM pg_advisory_xact_lock(7303, 0);

    SELECT array_agg(a.account_id)
      INTO v_accounts
      FROM (SELECT s.account_id
              FROM account_slots s
             WHERE s.account_id IN (SELECT l.account_id FROM lanes l WHERE l.ready = 0 AND l.last_claim_at < v_idle LIMIT p_limit)
             ORDER BY s.account_id
               FOR NO KEY UPDATE SKIP LOCKED) a;
    DELETE FROM lanes d
     USING (SELECT l.account_id, l.route_id
              FROM lanes l
             WHERE l.account_id = ANY (v_accounts) AND l.ready = 0 AND l.last_claim_at < v_idle
               AND NOT EXISTS (SELECT FROM calls c
                                WHERE c.account_id = l.account_id AND c.route_id = l.route_id AND c.state = 'ready')
             LIMIT p_limit) l
     WHERE d.account_id = l.account_id AND d.route_id = l.route_id;
    GET DIAGNOSTICS v_removed = ROW_COUNT;

    DELETE FROM routes d
     WHERE d.id IN (SELECT r.id
                      FROM routes r
                     WHERE NOT EXISTS (SELECT FROM lanes l WHERE l.route_id = r.id)
                       AND NOT EXISTS (SELECT FROM calls c
                                        WHERE c.route_id = r.id AND c.worker_id IS NOT NULL AND c.ended_at IS NULL)
                     LIMIT p_limit - v_removed);
    GET DIAGNOSTICS v_more = ROW_COUNT;
    v_removed := v_removed + v_more;

    DELETE FROM agent_pools d
     WHERE d.id IN (SELECT p.id
                      FROM agent_pools p
                     WHERE p.capacity IS NULL AND NOT p.paused AND p.circuit_until IS NULL AND p.absences = 0
                       AND NOT EXISTS (SELECT FROM routes r WHERE r.agent_pool_id = p.id)
                     LIMIT p_limit - v_removed
                       FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_more = ROW_COUNT;
    RETURN v_removed + v_more;
END $$;


-- erased_number: what stands where an erased number stood. Country code 999 is not assigned by the ITU: no phone has this number.
CREATE FUNCTION erased_number() RETURNS e164 LANGUAGE sql IMMUTABLE RETURN '+9990000000'::e164;


-- erase_in_calls: erase a number in the next p_limit calls in the order of their ids.
-- Promises: of each ended call to the number, or that showed it as its caller id, or that holds it in a text: the number, the caller
--   id, what the enqueuer gave (metadata, headers, name, DTMF, keys that hold the number), texts and ids of the far end, evidence,
--   and the details of its events. What stays is what happened: account, times, states, end reason, codes, durations. An
--   idempotency key that holds the number and is younger than 24 hours stays, so that a repeated request cannot queue the call
--   again (it conflicts, since the digest is gone); `kept` counts these. `open` counts calls that have not ended, left alone.
--   Asked twice it changes nothing more. `last_id` null: there are no more calls.
-- Uses: calls_pkey, the keys of dials and call_events. Reads the calls whole, a batch each time: it is for the rare request of a person.
-- Locks: calls, dials, call_events, in id order; waits.
CREATE FUNCTION erase_in_calls(
    p_number e164, p_after bigint, p_limit integer,
    OUT last_id bigint, OUT erased integer, OUT kept integer, OUT open integer
)
LANGUAGE plpgsql AS $$
DECLARE
    c_key_stays CONSTANT interval := '24 hours';
    v_digits    text := substr(p_number, 2);
    v_ids       bigint[];
BEGIN
    SELECT max(c.id), count(*) FILTER (WHERE c.hit AND NOT c.over),
           coalesce(array_agg(c.id) FILTER (WHERE c.hit AND c.over), '{}')
      INTO last_id, open, v_ids
      FROM (SELECT id, ended_at IS NOT NULL AS over,
                   coalesce(p_number IN (to_number, caller_id), false) OR coalesce(strpos(idempotency_key, v_digits) > 0, false)
                   OR coalesce(strpos(batch, v_digits) > 0, false) OR strpos(metadata::text, v_digits) > 0 OR strpos(headers::text, v_digits) > 0
                   OR strpos(evidence::text, v_digits) > 0 OR strpos(error_message, v_digits) > 0 AS hit
              FROM calls
             WHERE id > p_after
             ORDER BY id
             LIMIT p_limit) c;
    erased := cardinality(v_ids);
    kept := 0;
    IF erased = 0 THEN
        RETURN;
    END IF;
    PERFORM FROM calls WHERE id = ANY (v_ids) ORDER BY id FOR UPDATE;
    UPDATE calls
       SET to_number = CASE WHEN to_number = p_number THEN erased_number() ELSE to_number END,
           caller_id = nullif(caller_id, p_number), request_digest = '',
           batch = CASE WHEN strpos(batch, v_digits) > 0 THEN NULL ELSE batch END,
           idempotency_key = CASE WHEN strpos(idempotency_key, v_digits) > 0 AND created_at < clock_timestamp() - c_key_stays
                                  THEN NULL ELSE idempotency_key END,
           display_name = NULL, headers = '{}', dtmf = '', metadata = '{}', evidence = '{}',
           sip_reason = '', error_message = '', sip_call_id = '', livekit_sip_call_id = '', participant_sid = ''
     WHERE id = ANY (v_ids);
    SELECT count(*) INTO kept FROM calls WHERE id = ANY (v_ids) AND strpos(idempotency_key, v_digits) > 0;
    UPDATE dials
       SET to_number = CASE WHEN to_number = p_number THEN erased_number() ELSE to_number END,
           caller_id = nullif(caller_id, p_number),
           sip_reason = '', sip_call_id = '', livekit_sip_call_id = '', participant_sid = ''
     WHERE call_id = ANY (v_ids);
    UPDATE call_events SET detail = '{}' WHERE call_id = ANY (v_ids) AND detail <> '{}';
END $$;


-- erase_elsewhere: erase a number in all but calls and their dials: failures of trunks, counts of caller ids, the system's events; with
-- p_keep_hash also in the do-not-call lists, where it stays listed by its hash alone.
-- Promises: how many rows of each kind were changed. Who is listed stays listed. Asked twice it finds nothing.
-- Uses: do_not_call's key; reads trunk_failures, caller_id_days and system_events whole, which retention keeps small.
-- Locks: caller_id_days, trunk_failures, do_not_call, system_events; waits.
CREATE FUNCTION erase_elsewhere(
    p_number e164, p_keep_hash boolean,
    OUT trunk_failures integer, OUT caller_ids integer, OUT listed integer, OUT events integer
)
LANGUAGE plpgsql AS $$
DECLARE
    v_digits text := substr(p_number, 2);
BEGIN
    DELETE FROM caller_id_days d WHERE d.caller_id = p_number;
    GET DIAGNOSTICS caller_ids = ROW_COUNT;
    DELETE FROM trunk_failures f WHERE f.to_number = p_number;
    GET DIAGNOSTICS trunk_failures = ROW_COUNT;
    listed := 0;
    IF p_keep_hash THEN
        UPDATE do_not_call n
           SET to_number = NULL, reason = CASE WHEN strpos(n.reason, v_digits) > 0 THEN '' ELSE n.reason END
         WHERE n.number_key = number_key(p_number) AND n.to_number IS NOT NULL;
        GET DIAGNOSTICS listed = ROW_COUNT;
    END IF;
    UPDATE system_events e
       SET detail = '{"erased": true}', subject = CASE WHEN strpos(e.subject, v_digits) > 0 THEN '' ELSE e.subject END
     WHERE strpos(e.detail::text, v_digits) > 0 OR strpos(e.subject, v_digits) > 0;
    GET DIAGNOSTICS events = ROW_COUNT;
END $$;
