-- 0013_detection: what accounts and calls want done about who answered, and the two doors that take it.
-- Compatible: yes
-- A program that does not know these columns listens to nobody, as before.

-- Only what was said; what is missing is the account's, then the default (orchestrator/detection.py). Accounts that were made before
-- go on as they are; new ones are listened to, which by default changes nothing for machines but a fax.
ALTER TABLE accounts
    ADD COLUMN detection jsonb NOT NULL DEFAULT '{"on": false}' CHECK (jsonb_typeof(detection) = 'object');
ALTER TABLE accounts
    ALTER COLUMN detection SET DEFAULT '{}';
ALTER TABLE calls
    ADD COLUMN detection jsonb CHECK (jsonb_typeof(detection) = 'object');       -- over the account's; null: the account's

-- What is wrong with a detection policy, as a sentence without its subject; null if nothing is. The rules are those of
-- orchestrator/detection.py; a test compares them. What fields contradict each other in, only that module says.
CREATE FUNCTION detection_fault(detection jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_rules CONSTANT jsonb := '{
        "on": true, "hold_first_words": true, "message": "",
        "on_voicemail": ["carry_on", "hang_up", "leave_message"], "on_machine": ["carry_on", "hang_up", "leave_message"],
        "on_mailbox_full": ["carry_on", "hang_up"], "on_menu": ["carry_on", "hang_up"], "on_screening": ["carry_on", "hang_up"],
        "on_announcement": ["carry_on", "hang_up"], "on_call_progress": ["carry_on", "hang_up"], "on_fax": ["carry_on", "hang_up"],
        "pace": ["careful", "fast"],
        "hang_up_probability": {"least": 0.9, "most": 1}, "sensitivity": {"least": 0, "most": 1},
        "no_beep_wait_s": {"least": 0, "most": 60}, "longest_message_s": {"least": 1, "most": 3600},
        "final_after_speech_s": {"least": 1, "most": 60}, "final_after_answer_s": {"least": 1, "most": 60},
        "beep_wait_s": {"least": 0, "most": 600},
        "silence_warning_s": {"least": 0, "most": 86400}, "silence_s": {"least": 0, "most": 86400},
        "idle_s": {"least": 0, "most": 86400}, "media_lost_s": {"least": 0, "most": 86400}}';
    v_name  text;
    v_given jsonb;
    v_rule  jsonb;
    v_must  text;
BEGIN
    IF jsonb_typeof(detection) <> 'object' THEN
        RETURN 'must be a JSON object, not ' || jsonb_typeof(detection);
    END IF;
    FOR v_name, v_given IN SELECT e.key, e.value FROM jsonb_each(detection) e WHERE e.value <> 'null' LOOP
        v_rule := v_rules -> v_name;
        IF v_rule IS NULL THEN
            RETURN format('has no %L', left(v_name, 100));
        END IF;
        v_must := CASE jsonb_typeof(v_rule)
            WHEN 'boolean' THEN CASE WHEN jsonb_typeof(v_given) <> 'boolean' THEN 'be true or false' END
            WHEN 'array' THEN CASE WHEN NOT v_rule @> v_given OR jsonb_typeof(v_given) <> 'string'
                THEN 'be one of ' || array_to_string(ARRAY(SELECT jsonb_array_elements_text(v_rule)), ', ') END
            WHEN 'object' THEN CASE
                WHEN jsonb_typeof(v_given) <> 'number' OR v_given < v_rule -> 'least' OR v_given > v_rule -> 'most'
                THEN format('be a number from %s to %s', v_rule ->> 'least', v_rule ->> 'most') END
            ELSE CASE
                WHEN jsonb_typeof(v_given) <> 'string' OR length(v_given #>> '{}') > 1000
                     OR v_given #>> '{}' !~ '^(/[^[:cntrl:]]*)?$'
                THEN 'be the absolute path of an audio file, at most 1000 characters, or empty' END
        END;
        IF v_must IS NOT NULL THEN
            RETURN format('%s must %s, not %s', v_name, v_must, left(v_given::text, 100));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- enqueue_calls: queue many calls, one JSON object each, with the fields of enqueue_call.
-- Promises: one row for each object, in order. A call that is fine is inserted as `scheduled` with its event. The same account and
--   idempotency_key as an earlier call's is not inserted again, for as long as that call's row is kept: `created` is false and
--   call_id the earlier one's if it asks for the same (to, agent, metadata, caller id, headers, digits, times of ring and talk,
--   trunk, hours, redial, detection; not when), whatever has become of its time, its lists and its trunk meanwhile; else it is refused as a
--   conflict. What cannot be taken has `refused` (bad_input, not_found, conflict, blocked: on a do-not-call or suppression list)
--   and `problem`, and changes nothing. One NOTIFY a transaction. Ids follow the order given. At most 1,000 objects.
-- Uses: accounts_name_key, trunk_groups_name_key, trunk_group_members_pkey, do_not_call_pkey, calls_idempotency_key.
-- Locks: accounts, trunk_groups by foreign key (shared, no claim waits for them); inserts in order of account and key, so that two
--   batches with the same keys wait for each other and do not deadlock.
CREATE OR REPLACE FUNCTION enqueue_calls(
    p_calls jsonb, p_expires_after_s double precision DEFAULT 86400, p_past_tolerance_s double precision DEFAULT 300,
    OUT n integer, OUT call_id bigint, OUT created boolean, OUT refused text, OUT problem text
) RETURNS SETOF record
LANGUAGE plpgsql ROWS 100 SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    v_now      timestamptz := clock_timestamp();
    v_salt     text := (SELECT id::text FROM deployment);      -- of number_key
    v_no_headers sip_headers := '{}';      -- needs no check
    v_numbers  integer[];
    v_ids      bigint[];
    v_accounts bigint[];
    v_keys     text[];
    v_digests  bytea[];
    v_problems text[];
    v_inserted bigint[];
BEGIN
    WITH asked AS MATERIALIZED (
        SELECT e.n::integer AS n, r.account, r.to_number, coalesce(r.agent_name, '') AS agent_asked,
               CASE WHEN jsonb_typeof(r.metadata) = 'string' THEN (r.metadata #>> '{}')::jsonb
                    ELSE coalesce(r.metadata, '{}') END AS metadata,
               r.caller_id, r.display_name, coalesce(r.headers, '{}') AS headers, coalesce(r.dtmf, '') AS dtmf,
               r.ring_timeout_s, r.max_duration_s, coalesce(r.priority, 0) AS priority, coalesce(r.run_at, v_now) AS run_at,
               coalesce(r.expires_at, coalesce(r.run_at, v_now) + p_expires_after_s * interval '1 s') AS expires_at,
               CASE WHEN r.expires_at IS NULL THEN p_expires_after_s END AS expires_after_s,
               r.idempotency_key, r.batch, r.trunk, coalesce('=' || r.trunk, '') AS trunk_asked,
               nullif(r.calling_hours, 'null') AS calling_hours, nullif(r.redial, 'null') AS redial,
               nullif(r.detection, 'null') AS detection
          FROM jsonb_array_elements(p_calls) WITH ORDINALITY AS e (call, n)
         CROSS JOIN LATERAL jsonb_to_record(e.call) AS r (
               account text, to_number text, agent_name text, metadata jsonb, caller_id text, display_name text, headers jsonb,
               dtmf text, ring_timeout_s double precision, max_duration_s double precision, priority numeric, run_at timestamptz,
               expires_at timestamptz, idempotency_key text, batch text, trunk text, calling_hours jsonb, redial jsonb,
               detection jsonb)
    ), routing AS MATERIALIZED (        -- what an account may use of a trunk group; most batches have one or a few of these
        SELECT w.account, w.trunk_asked, a.id AS account_id, a.agent_name, g.id AS trunk_group_id, g.name AS trunk_group,
               m.trunks, m.usable, a.caller_ids::text[] || m.caller_ids AS caller_ids
          FROM (SELECT DISTINCT account, trunk, trunk_asked FROM asked) w
          LEFT JOIN LATERAL (SELECT * FROM accounts WHERE name = w.account LIMIT 1) a ON true
          LEFT JOIN LATERAL (SELECT id FROM trunk_groups WHERE name = w.trunk LIMIT 1) named ON true
          LEFT JOIN LATERAL (SELECT * FROM trunk_groups
                              WHERE id = CASE WHEN w.trunk IS NULL THEN a.trunk_group_id ELSE named.id END LIMIT 1) g ON true
          LEFT JOIN LATERAL (
               SELECT count(DISTINCT t.id) AS trunks,
                      count(DISTINCT t.id) FILTER (WHERE t.owner_account_id IS NULL OR t.owner_account_id = a.id) AS usable,
                      array_agg(number) FILTER (WHERE number IS NOT NULL AND (t.owner_account_id IS NULL OR t.owner_account_id = a.id))
                      AS caller_ids
                 FROM trunk_group_members gm
                 JOIN trunks t ON t.id = gm.trunk_id
                 LEFT JOIN LATERAL unnest(t.caller_ids::text[]) AS number ON true
                WHERE gm.trunk_group_id = g.id) m ON true
    ), checked AS MATERIALIZED (        -- a problem is its kind, a colon and its text
        SELECT q.*, coalesce(nullif(q.agent_asked, ''), r.agent_name) AS agent_name, r.account_id, r.trunk_group_id, CASE
            WHEN r.account_id IS NULL
                THEN format('not_found:there is no account %L: make it first, or correct the name', q.account)
            WHEN to_number IS NULL OR to_number !~ '^\+[1-9][0-9]{6,14}$'
                THEN format('bad_input:%L is not an E.164 number: write + and 7 to 15 digits, beginning with the country code', to_number)
            WHEN coalesce(nullif(q.agent_asked, ''), r.agent_name) = ''
                THEN format('bad_input:the call names no agent and account %s has no default agent: name one', q.account)
            WHEN length(agent_asked) > 255
                THEN 'bad_input:agent_name must be at most 255 characters'
            WHEN trunk_group_id IS NULL AND trunk IS NOT NULL
                THEN format('not_found:there is no trunk %L: make it first, or correct the name', trunk)
            WHEN trunk_group_id IS NULL
                THEN format('bad_input:the call names no trunk and account %s has no default trunk: give it one', q.account)
            WHEN trunks = 0
                THEN format('bad_input:trunk group %s has no trunks: give it one', trunk_group)
            WHEN usable < trunks
                THEN format('bad_input:trunk %s belongs to another account: use one that is shared or account %s''s own',
                            trunk_group, q.account)
            WHEN caller_id IS NOT NULL AND (caller_id = ANY (caller_ids)) IS NOT true
                THEN format('not_found:caller id %L is none of account %s''s nor of its trunks'': add it there, or use one of them', caller_id, q.account)
            WHEN metadata <> '{}' AND metadata_fault(metadata) IS NOT NULL
                THEN 'bad_input:metadata ' || metadata_fault(metadata)
            WHEN headers <> '{}' AND headers_fault(headers) IS NOT NULL
                THEN 'bad_input:headers ' || headers_fault(headers)
            WHEN length(display_name) > 128
                THEN 'bad_input:display_name must be at most 128 characters'
            WHEN dtmf <> '' AND (length(dtmf) > 255 OR dtmf !~ '^[0-9A-Da-d*#wW]*$')
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
            WHEN calling_hours IS NOT NULL AND hours_fault(calling_hours) IS NOT NULL
                THEN 'bad_input:calling_hours ' || hours_fault(calling_hours)
            WHEN redial IS NOT NULL AND redial_fault(redial) IS NOT NULL
                THEN 'bad_input:redial ' || redial_fault(redial)
            WHEN detection IS NOT NULL AND detection_fault(detection) IS NOT NULL
                THEN 'bad_input:detection ' || detection_fault(detection)
            WHEN NOT (isfinite(run_at) AND isfinite(expires_at))
                THEN 'bad_input:run_at and expires_at must be points in time'
            WHEN run_at < v_now - p_past_tolerance_s * interval '1 s'
                THEN format('bad_input:run_at %s is more than %s s in the past: leave it out to call now', run_at, p_past_tolerance_s)
            WHEN expires_at <= run_at
                THEN format('bad_input:expires_at %s is not after run_at %s', expires_at, run_at)
            WHEN expires_at <= v_now
                THEN format('bad_input:expires_at %s is in the past', expires_at)
            ELSE (SELECT format('blocked:%s is on the %s list of %s%s%s', q.to_number,
                                CASE d.kind WHEN 'suppression' THEN 'suppression' ELSE 'do-not-call' END,
                                CASE d.account_id WHEN 0 THEN 'all accounts' ELSE 'account ' || q.account END,
                                CASE WHEN d.reason <> '' THEN ' (' || d.reason || ')' END,
                                ' until ' || to_char(d.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI"Z"'))
                    FROM do_not_call d
                   WHERE d.number_key = sha256(convert_to(v_salt || q.to_number, 'UTF8'))
                     AND d.account_id IN (0, r.account_id)
                     AND (d.expires_at IS NULL OR d.expires_at > v_now)
                   ORDER BY d.account_id
                   LIMIT 1)
            END AS problem,
            -- What was queued by a version that knew no hours, no redial and no detection keeps its digest.
            sha256(convert_to(jsonb_build_array(to_number, agent_asked, metadata, caller_id, display_name, headers, dtmf,
                                                ring_timeout_s, max_duration_s, trunk)::text
                              || CASE WHEN calling_hours IS NULL AND redial IS NULL THEN ''
                                      ELSE jsonb_build_array(calling_hours, redial)::text END
                              || CASE WHEN detection IS NULL THEN '' ELSE detection::text END, 'UTF8')) AS digest
          FROM asked q
          LEFT JOIN routing r ON r.account = q.account AND r.trunk_asked = q.trunk_asked
    ), numbered AS MATERIALIZED (
        SELECT CASE WHEN problem IS NULL THEN nextval('calls_id_seq') END AS id, k.*
          FROM (SELECT * FROM checked ORDER BY n) k
    ), inserted AS (
        INSERT INTO calls (id, account_id, trunk_group_id, batch, idempotency_key, request_digest, to_number, caller_id, display_name,
                           headers, dtmf, agent_name, metadata, ring_timeout_s, max_duration_s, priority, run_at, expires_at,
                           expires_after_s, calling_hours, redial, detection)
        OVERRIDING SYSTEM VALUE
        SELECT id, account_id, trunk_group_id, batch, idempotency_key, digest, to_number, caller_id, display_name,
               CASE WHEN headers = '{}' THEN v_no_headers ELSE headers::sip_headers END, dtmf, agent_name, metadata,
               ring_timeout_s, max_duration_s, priority, run_at, expires_at, expires_after_s,
               CASE WHEN calling_hours IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(calling_hours)) END, redial, detection
          FROM numbered
         WHERE id IS NOT NULL
         ORDER BY account_id, idempotency_key, n
            ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
     RETURNING id
    ), event AS (
        INSERT INTO call_events (call_id, epoch, state)
        SELECT id, 0, 'scheduled' FROM inserted
    )
    SELECT array_agg(n), array_agg(id), array_agg(account_id), array_agg(idempotency_key), array_agg(digest), array_agg(problem),
           (SELECT array_agg(id) FROM inserted)
      INTO v_numbers, v_ids, v_accounts, v_keys, v_digests, v_problems, v_inserted
      FROM numbered;

    IF v_inserted IS NOT NULL THEN
        PERFORM pg_notify('orchestrator_queue', '');
    END IF;

    IF cardinality(v_inserted) = cardinality(v_numbers) THEN
        RETURN QUERY
        SELECT r.n, r.id, true, NULL::text, NULL::text FROM unnest(v_numbers, v_ids) AS r (n, id);
        RETURN;
    END IF;

    -- The earlier call of the same key may have been committed while the insert waited for it: only a new statement sees it.
    RETURN QUERY
    SELECT r.n, coalesce(i.id, CASE WHEN e.request_digest = r.digest THEN e.id END), i.id IS NOT NULL,
           CASE WHEN i.id IS NOT NULL OR e.request_digest = r.digest THEN NULL
                WHEN r.problem IS NOT NULL THEN split_part(r.problem, ':', 1)
                ELSE 'conflict' END,
           CASE WHEN i.id IS NOT NULL OR e.request_digest = r.digest THEN NULL
                WHEN r.problem IS NOT NULL THEN substr(r.problem, strpos(r.problem, ':') + 1)
                ELSE format('idempotency key %L already stands for call %s, which asks for something else: use another key', r.key, e.id) END
      FROM unnest(v_numbers, v_ids, v_accounts, v_keys, v_digests, v_problems) AS r (n, id, account_id, key, digest, problem)
      LEFT JOIN unnest(v_inserted) AS i (id) ON i.id = r.id
      LEFT JOIN LATERAL (SELECT id, request_digest
                           FROM calls
                          WHERE i.id IS NULL AND account_id = r.account_id AND idempotency_key = r.key
                          LIMIT 1) e ON true
     ORDER BY r.n;
END $$;

-- enqueue_call: the SQL door. Its comment is its documentation.
DROP FUNCTION enqueue_call(text, text, text, jsonb, timestamptz, timestamptz, text, text, integer, text, text, jsonb, text,
                           double precision, double precision, text, text[], jsonb);
CREATE FUNCTION enqueue_call(
    account text, to_number text, agent_name text DEFAULT NULL, metadata jsonb DEFAULT '{}', run_at timestamptz DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL, batch text DEFAULT NULL, priority integer DEFAULT 0,
    caller_id text DEFAULT NULL, display_name text DEFAULT NULL, headers jsonb DEFAULT '{}', dtmf text DEFAULT '',
    ring_timeout_s double precision DEFAULT NULL, max_duration_s double precision DEFAULT NULL, trunk text DEFAULT NULL,
    calling_hours text[] DEFAULT NULL, redial jsonb DEFAULT NULL, detection jsonb DEFAULT NULL
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
               'ring_timeout_s', ring_timeout_s, 'max_duration_s', max_duration_s, 'trunk', trunk,
               'calling_hours', calling_hours, 'redial', redial, 'detection', detection)));
    IF v_result.refused = 'conflict' THEN
        RAISE EXCEPTION '%', v_result.problem USING ERRCODE = 'unique_violation';
    ELSIF v_result.refused = 'blocked' THEN
        RAISE EXCEPTION '%', v_result.problem USING ERRCODE = 'ORDNC';
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
expires_at       not after, whatever is tried until then; null: 24 h after run_at, for each attempt anew
idempotency_key  the same key of the same account queues one call, for as long as that call is kept: asked again it returns that
                 call''s id, and raises unique_violation if what is asked differs
batch            a name for calls that were queued together
priority         higher goes first within the account, -100 to 100
caller_id        one of the account''s or its trunk''s; null: the account''s choice
display_name     shown to the callee where networks carry it
headers          JSON object of extra SIP headers
dtmf             digits sent after the answer, w waits half a second
ring_timeout_s   5 to 60; null: the account''s
max_duration_s   1 to 86400; null: the account''s
trunk            a trunk or trunk group that the account may use; null: the account''s
calling_hours    rules for this call alone, like ''{mon-fri 09:00-17:30}''; null: the account''s. Only their shape is checked here: a
                 rule that cannot be read never opens
redial           JSON object for this call alone: max_attempts 1 to 50, delays as lists of seconds for soon, later and cooldown,
                 jitter 0 to 1, like ''{"max_attempts": 3, "delays": {"soon": [300, 900]}}''; what is missing is the account''s
detection        JSON object for this call alone: whether who answered is listened for, and what is done about it, like
                 ''{"on_voicemail": "hang_up"}''; what is missing is the account''s. OPERATIONS.md says what it may hold

Raises invalid_parameter_value, saying what is wrong, and SQLSTATE ORDNC if the number is on a do-not-call or suppression list.
For many calls, enqueue_calls takes a JSON array of up to 1,000 objects with these names as keys, and answers for each of them.
The call is visible to workers when your transaction commits. Until then you hold nobody up, except who queues the same key.';
