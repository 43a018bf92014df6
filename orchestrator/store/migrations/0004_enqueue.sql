-- 0004_enqueue: the two doors through which calls are queued. Both only insert: they never touch the rows of counters, so that
-- queueing neither waits for the claim nor holds it up.

-- enqueue_calls: queue many calls, one JSON object each, with the fields of enqueue_call.
-- Promises: one row for each object, in order. A call that is fine is inserted as `scheduled` with its event. The same account and
--   idempotency_key as an earlier call's is not inserted again: `created` is false and call_id the earlier one's if it asks for
--   the same (to, agent, metadata, caller id, headers, digits, times of ring and talk, trunk; not when), else it is refused as a
--   conflict. What cannot be taken has `refused` (bad_input, not_found, conflict) and `problem`, and changes nothing. One NOTIFY
--   a transaction. Ids follow the order given. At most 1,000 objects.
-- Uses: accounts_name_key, trunk_groups_name_key, calls_idempotency_key.
-- Locks: accounts, trunk_groups by foreign key (shared, no claim waits for them); inserts in order of account and key, so that two
--   batches with the same keys wait for each other and do not deadlock.
CREATE FUNCTION enqueue_calls(
    p_calls jsonb, p_expires_after_s double precision DEFAULT 86400, p_past_tolerance_s double precision DEFAULT 300,
    OUT n integer, OUT call_id bigint, OUT created boolean, OUT refused text, OUT problem text
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 100 AS $$
#variable_conflict use_column
DECLARE
    v_now      timestamptz := clock_timestamp();
    v_numbers  integer[];
    v_ids      bigint[];
    v_created  boolean[];
    v_accounts bigint[];
    v_keys     text[];
    v_digests  bytea[];
    v_problems text[];
BEGIN
    WITH asked AS MATERIALIZED (
        SELECT e.n::integer AS n, r.account, r.to_number, coalesce(nullif(r.agent_name, ''), a.agent_name) AS agent_name,
               CASE WHEN jsonb_typeof(r.metadata) = 'string' THEN (r.metadata #>> '{}')::jsonb
                    ELSE coalesce(r.metadata, '{}') END AS metadata,
               r.caller_id, r.display_name, coalesce(r.headers, '{}') AS headers, coalesce(r.dtmf, '') AS dtmf,
               r.ring_timeout_s, r.max_duration_s, coalesce(r.priority, 0) AS priority, coalesce(r.run_at, v_now) AS run_at,
               coalesce(r.expires_at, coalesce(r.run_at, v_now) + p_expires_after_s * interval '1 s') AS expires_at,
               r.idempotency_key, r.batch, r.trunk, r.agent_name AS agent_asked,
               a.id AS account_id, a.caller_ids, CASE WHEN r.trunk IS NULL THEN a.trunk_group_id ELSE g.id END AS trunk_group_id
          FROM jsonb_array_elements(p_calls) WITH ORDINALITY AS e (call, n)
         CROSS JOIN LATERAL jsonb_to_record(e.call) AS r (
               account text, to_number text, agent_name text, metadata jsonb, caller_id text, display_name text, headers jsonb,
               dtmf text, ring_timeout_s double precision, max_duration_s double precision, priority numeric, run_at timestamptz,
               expires_at timestamptz, idempotency_key text, batch text, trunk text)
          LEFT JOIN accounts a ON a.name = r.account
          LEFT JOIN trunk_groups g ON g.name = r.trunk
    ), checked AS MATERIALIZED (        -- a problem is its kind, a colon and its text
        SELECT q.*, CASE
            WHEN account_id IS NULL
                THEN format('not_found:there is no account %L: make it first, or correct the name', account)
            WHEN to_number IS NULL OR to_number !~ '^\+[1-9][0-9]{6,14}$'
                THEN format('bad_input:%L is not an E.164 number: write + and 7 to 15 digits, beginning with the country code', to_number)
            WHEN agent_name = ''
                THEN format('bad_input:the call names no agent and account %s has no default agent: name one', account)
            WHEN length(agent_name) > 255
                THEN 'bad_input:agent_name must be at most 255 characters'
            WHEN trunk_group_id IS NULL AND trunk IS NOT NULL
                THEN format('not_found:there is no trunk %L: make it first, or correct the name', trunk)
            WHEN trunk_group_id IS NULL
                THEN format('bad_input:the call names no trunk and account %s has no default trunk: give it one', account)
            WHEN caller_id IS NOT NULL AND caller_id <> ALL (caller_ids) AND NOT EXISTS (
                 SELECT FROM trunk_group_members m JOIN trunks t ON t.id = m.trunk_id
                  WHERE m.trunk_group_id = q.trunk_group_id AND caller_id = ANY (t.caller_ids))
                THEN format('not_found:caller id %L is none of account %s''s nor of its trunks'': add it there, or use one of them', caller_id, account)
            WHEN metadata_fault(metadata) IS NOT NULL
                THEN 'bad_input:metadata ' || metadata_fault(metadata)
            WHEN headers_fault(headers) IS NOT NULL
                THEN 'bad_input:headers ' || headers_fault(headers)
            WHEN length(display_name) > 128
                THEN 'bad_input:display_name must be at most 128 characters'
            WHEN length(dtmf) > 255 OR dtmf !~ '^[0-9A-Da-d*#wW]*$'
                THEN 'bad_input:dtmf must be at most 255 of the characters 0-9 A-D * # and w'
            WHEN NOT coalesce(ring_timeout_s, 30) BETWEEN 5 AND 60
                THEN format('bad_input:ring_timeout_s must be from 5 to 60, not %s', ring_timeout_s)
            WHEN NOT coalesce(max_duration_s, 60) BETWEEN 1 AND 86400
                THEN format('bad_input:max_duration_s must be from 1 to 86400, not %s', max_duration_s)
            WHEN NOT (priority BETWEEN -100 AND 100 AND priority = trunc(priority))
                THEN format('bad_input:priority must be a whole number from -100 to 100, not %s', priority)
            WHEN NOT coalesce(length(idempotency_key), 1) BETWEEN 1 AND 255
                THEN 'bad_input:idempotency_key must be of 1 to 255 characters'
            WHEN NOT coalesce(length(batch), 1) BETWEEN 1 AND 255
                THEN 'bad_input:batch must be of 1 to 255 characters'
            WHEN NOT (isfinite(run_at) AND isfinite(expires_at))
                THEN 'bad_input:run_at and expires_at must be points in time'
            WHEN run_at < v_now - p_past_tolerance_s * interval '1 s'
                THEN format('bad_input:run_at %s is more than %s s in the past: leave it out to call now', run_at, p_past_tolerance_s)
            WHEN expires_at <= run_at
                THEN format('bad_input:expires_at %s is not after run_at %s', expires_at, run_at)
            WHEN expires_at <= v_now
                THEN format('bad_input:expires_at %s is in the past', expires_at)
            END AS problem,
            sha256(convert_to(jsonb_build_array(to_number, coalesce(agent_asked, ''), metadata, caller_id, display_name, headers, dtmf,
                                                ring_timeout_s, max_duration_s, trunk)::text, 'UTF8')) AS digest
          FROM asked q
    ), numbered AS MATERIALIZED (
        SELECT nextval('calls_id_seq') AS id, k.*
          FROM (SELECT * FROM checked WHERE problem IS NULL ORDER BY n) k
    ), inserted AS (
        INSERT INTO calls (id, account_id, trunk_group_id, batch, idempotency_key, request_digest, to_number, caller_id, display_name,
                           headers, dtmf, agent_name, metadata, ring_timeout_s, max_duration_s, priority, run_at, expires_at)
        OVERRIDING SYSTEM VALUE
        SELECT id, account_id, trunk_group_id, batch, idempotency_key, digest, to_number, caller_id, display_name,
               headers, dtmf, agent_name, metadata, ring_timeout_s, max_duration_s, priority, run_at, expires_at
          FROM numbered
         ORDER BY account_id, idempotency_key, n
            ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
     RETURNING id
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state)
        SELECT id, 0, 'scheduled' FROM inserted
    )
    SELECT array_agg(c.n), array_agg(i.id), array_agg(i.id IS NOT NULL), array_agg(c.account_id), array_agg(c.idempotency_key),
           array_agg(c.digest), array_agg(c.problem)
      INTO v_numbers, v_ids, v_created, v_accounts, v_keys, v_digests, v_problems
      FROM checked c
      LEFT JOIN numbered k ON k.n = c.n
      LEFT JOIN inserted i ON i.id = k.id;

    IF true = ANY (v_created) THEN
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;

    -- The earlier call of the same key may have been committed while the insert waited for it: only a new statement sees it.
    RETURN QUERY
    SELECT r.n, coalesce(r.id, e.id), r.created,
           CASE WHEN r.problem IS NOT NULL THEN split_part(r.problem, ':', 1)
                WHEN NOT r.created AND e.request_digest <> r.digest THEN 'conflict' END,
           CASE WHEN r.problem IS NOT NULL THEN substr(r.problem, strpos(r.problem, ':') + 1)
                WHEN NOT r.created AND e.request_digest <> r.digest
                THEN format('idempotency key %L already stands for call %s, which asks for something else: use another key', r.key, e.id) END
      FROM unnest(v_numbers, v_ids, v_created, v_accounts, v_keys, v_digests, v_problems)
           AS r (n, id, created, account_id, key, digest, problem)
      LEFT JOIN calls e ON NOT r.created AND r.problem IS NULL AND e.account_id = r.account_id AND e.idempotency_key = r.key
     ORDER BY r.n;
END $$;

-- enqueue_call: the SQL door. Its comment is its documentation.
CREATE FUNCTION enqueue_call(
    account text, to_number text, agent_name text DEFAULT NULL, metadata jsonb DEFAULT '{}', run_at timestamptz DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL, batch text DEFAULT NULL, priority integer DEFAULT 0,
    caller_id text DEFAULT NULL, display_name text DEFAULT NULL, headers jsonb DEFAULT '{}', dtmf text DEFAULT '',
    ring_timeout_s double precision DEFAULT NULL, max_duration_s double precision DEFAULT NULL, trunk text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_result record;
BEGIN
    SELECT *
      INTO v_result
      FROM enqueue_calls(jsonb_build_array(jsonb_build_object(
               'account', account, 'to_number', to_number, 'agent_name', agent_name, 'metadata', metadata, 'run_at', run_at,
               'expires_at', expires_at, 'idempotency_key', idempotency_key, 'batch', batch, 'priority', priority,
               'caller_id', caller_id, 'display_name', display_name, 'headers', headers, 'dtmf', dtmf,
               'ring_timeout_s', ring_timeout_s, 'max_duration_s', max_duration_s, 'trunk', trunk)));
    IF v_result.refused = 'conflict' THEN
        RAISE EXCEPTION '%', v_result.problem USING ERRCODE = 'unique_violation';
    ELSIF v_result.refused IS NOT NULL THEN
        RAISE EXCEPTION '%', v_result.problem USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_result.call_id;
END $$;

COMMENT ON FUNCTION enqueue_call IS
'Queues one call and returns its id; only inserts, dials nothing. Use names for what you give:

    SELECT enqueue_call(account => ''acme'', to_number => ''+12125550100'', metadata => ''{"order": 7}'', idempotency_key => ''order-7'');

account          the account''s name
to_number        E.164: + and 7 to 15 digits. Its shape is checked here; whether it is a number that exists and that the account may
                 call is checked before the dial (INVALID_NUMBER, BLOCKED_DO_NOT_CALL)
agent_name       the agent that takes the call; null: the account''s
metadata         JSON object for the agent, at most 64 KiB
run_at           not before; null: now. At most 300 s in the past
expires_at       not after; null: 24 h after run_at
idempotency_key  the same key of the same account queues one call: asked again it returns that call''s id, and raises
                 unique_violation if what is asked differs
batch            a name for calls that were queued together
priority         higher goes first within the account, -100 to 100
caller_id        one of the account''s or its trunk''s; null: the first of them
display_name     shown to the callee where networks carry it
headers          JSON object of extra SIP headers
dtmf             digits sent after the answer, w waits half a second
ring_timeout_s   5 to 60; null: the account''s
max_duration_s   1 to 86400; null: the account''s
trunk            a trunk or trunk group; null: the account''s

Raises invalid_parameter_value, saying what is wrong. The call is visible to workers when your transaction commits.';
