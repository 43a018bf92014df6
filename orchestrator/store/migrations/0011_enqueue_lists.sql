-- 0011_enqueue_lists: the do-not-call lists, and the two doors through which calls are queued, which ask them.
--
-- Both doors only insert: they touch no counter, no lane and no route, and lock nothing that a claim, an end or staging waits
-- for, so that neither an import nor a user's open transaction delays anybody but those who queue the same keys.

-- A timeline is written by the statements that change its call, and leaves together with it, so that its foreign key guarded
-- nothing but cost each event a look-up and a lock on its call's row.
ALTER TABLE call_events DROP CONSTRAINT call_events_call_id_fkey;

-- Lists are read in pages, newest first.
CREATE INDEX do_not_call_created_at ON do_not_call (created_at);

-- is_listed: must this number not be called by this account?
-- Promises: true while the number stands on the list of all accounts or on the account's own, as do-not-call or as suppression.
-- Uses: do_not_call_pkey, one descent; also while a list of a million is being imported, when the planner's idea of the table is
--   that of the moment before. Locks: none.
CREATE FUNCTION is_listed(p_account_id bigint, p_number text) RETURNS boolean
LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM do_not_call d
         WHERE d.number_key = number_key(p_number)
           AND d.account_id IN (0, p_account_id)
           AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp()));
END $$;

-- As before, and most calls have no headers at all.
CREATE OR REPLACE FUNCTION headers_fault(headers jsonb) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN headers = '{}' THEN NULL
    WHEN jsonb_typeof(headers) <> 'object' THEN 'must be a JSON object, not ' || jsonb_typeof(headers)
    WHEN jsonb_path_exists(headers, 'strict $.* ? (@.type() != "string")') THEN 'must have strings as values'
    WHEN jsonb_path_exists(headers, '$.keyvalue().key ? (!(@ like_regex "^[-!#$%&''*+.^_`|~0-9A-Za-z]+$"))')
        THEN 'must have names made of letters, digits and -!#$%&''*+.^_`|~'
    WHEN headers::text ~ '\\(n|r|u00[01])' THEN 'must not contain line breaks or control characters'
    WHEN octet_length(headers::text) > 8192 THEN format('must be at most 8192 bytes, not %s', octet_length(headers::text))
END;

-- What is wrong with a call's own redial policy or calling hours, as a sentence without its subject; null if nothing is. Only
-- the shape of hours is looked at here: what cannot be read as hours never opens.
CREATE FUNCTION redial_fault(redial jsonb) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN jsonb_typeof(redial) <> 'object' THEN 'must be a JSON object, not ' || jsonb_typeof(redial)
    WHEN redial - '{max_attempts,delays,jitter}'::text[] <> '{}' THEN 'may have max_attempts, delays and jitter, and nothing else'
    WHEN redial ? 'max_attempts'
         AND NOT jsonb_path_exists(redial, 'strict $.max_attempts ? (@.type() == "number" && @ >= 1 && @ <= 50 && @ == @.floor())', '{}', true)
        THEN 'must have a whole number from 1 to 50 as max_attempts'
    WHEN redial ? 'jitter' AND NOT jsonb_path_exists(redial, 'strict $.jitter ? (@.type() == "number" && @ >= 0 && @ <= 1)', '{}', true)
        THEN 'must have a number from 0 to 1 as jitter'
    WHEN redial ? 'delays' AND jsonb_typeof(redial -> 'delays') <> 'object' THEN 'must have an object as delays, like {"soon": [300, 900]}'
    WHEN redial ? 'delays' AND (redial -> 'delays') - '{soon,later,cooldown}'::text[] <> '{}'
        THEN 'may have delays for soon, later and cooldown, and for no other class'
    WHEN jsonb_path_exists(redial, 'strict $.delays.* ? (@.type() != "array" || @.size() == 0 || @.size() > 50)', '{}', true)
         OR jsonb_path_exists(redial, 'lax $.delays.*[*] ? (@.type() != "number" || @ <= 0 || @ > 31622400)', '{}', true)
        THEN 'must have lists of 1 to 50 delays, each above 0 and at most 31622400 seconds'
END;

CREATE FUNCTION hours_fault(hours jsonb) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN jsonb_typeof(hours) <> 'array' OR jsonb_path_exists(hours, 'strict $[*] ? (@.type() != "string" || @ == "")')
        THEN 'must be an array of texts, not ' || left(hours::text, 100)
    WHEN jsonb_array_length(hours) > 200 OR octet_length(hours::text) > 40000 THEN 'must be at most 200 rules of 200 characters'
END;

-- enqueue_calls: queue many calls, one JSON object each, with the fields of enqueue_call.
-- Promises: one row for each object, in order. A call that is fine is inserted as `scheduled` with its event. The same account and
--   idempotency_key as an earlier call's is not inserted again, for as long as that call's row is kept: `created` is false and
--   call_id the earlier one's if it asks for the same (to, agent, metadata, caller id, headers, digits, times of ring and talk,
--   trunk, hours, redial; not when), whatever has become of its time, its lists and its trunk meanwhile; else it is refused as a
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
               nullif(r.calling_hours, 'null') AS calling_hours, nullif(r.redial, 'null') AS redial
          FROM jsonb_array_elements(p_calls) WITH ORDINALITY AS e (call, n)
         CROSS JOIN LATERAL jsonb_to_record(e.call) AS r (
               account text, to_number text, agent_name text, metadata jsonb, caller_id text, display_name text, headers jsonb,
               dtmf text, ring_timeout_s double precision, max_duration_s double precision, priority numeric, run_at timestamptz,
               expires_at timestamptz, idempotency_key text, batch text, trunk text, calling_hours jsonb, redial jsonb)
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
            -- What was queued by a version that knew no hours and no redial keeps its digest.
            sha256(convert_to(jsonb_build_array(to_number, agent_asked, metadata, caller_id, display_name, headers, dtmf,
                                                ring_timeout_s, max_duration_s, trunk)::text
                              || CASE WHEN calling_hours IS NULL AND redial IS NULL THEN ''
                                      ELSE jsonb_build_array(calling_hours, redial)::text END, 'UTF8')) AS digest
          FROM asked q
          LEFT JOIN routing r ON r.account = q.account AND r.trunk_asked = q.trunk_asked
    ), numbered AS MATERIALIZED (
        SELECT CASE WHEN problem IS NULL THEN nextval('calls_id_seq') END AS id, k.*
          FROM (SELECT * FROM checked ORDER BY n) k
    ), inserted AS (
        INSERT INTO calls (id, account_id, trunk_group_id, batch, idempotency_key, request_digest, to_number, caller_id, display_name,
                           headers, dtmf, agent_name, metadata, ring_timeout_s, max_duration_s, priority, run_at, expires_at,
                           expires_after_s, calling_hours, redial)
        OVERRIDING SYSTEM VALUE
        SELECT id, account_id, trunk_group_id, batch, idempotency_key, digest, to_number, caller_id, display_name,
               CASE WHEN headers = '{}' THEN v_no_headers ELSE headers::sip_headers END, dtmf, agent_name, metadata,
               ring_timeout_s, max_duration_s, priority, run_at, expires_at, expires_after_s,
               CASE WHEN calling_hours IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(calling_hours)) END, redial
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
                           double precision, double precision, text);
CREATE FUNCTION enqueue_call(
    account text, to_number text, agent_name text DEFAULT NULL, metadata jsonb DEFAULT '{}', run_at timestamptz DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL, batch text DEFAULT NULL, priority integer DEFAULT 0,
    caller_id text DEFAULT NULL, display_name text DEFAULT NULL, headers jsonb DEFAULT '{}', dtmf text DEFAULT '',
    ring_timeout_s double precision DEFAULT NULL, max_duration_s double precision DEFAULT NULL, trunk text DEFAULT NULL,
    calling_hours text[] DEFAULT NULL, redial jsonb DEFAULT NULL
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
               'calling_hours', calling_hours, 'redial', redial)));
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

Raises invalid_parameter_value, saying what is wrong, and SQLSTATE ORDNC if the number is on a do-not-call or suppression list.
For many calls, enqueue_calls takes a JSON array of up to 1,000 objects with these names as keys, and answers for each of them.
The call is visible to workers when your transaction commits. Until then you hold nobody up, except who queues the same key.';

-- list_numbers: put numbers on lists, one array element each; account 0 is the list of all accounts.
-- Promises: afterwards each number is listed at least as strictly as asked: an entry that stands there already is replaced when it
--   has run out, and else keeps what is stricter of the two, do-not-call before suppression and the later expiry. Returns how
--   many are new and how many were changed; the others stood there as strictly already. Does not touch calls: see cancel_listed.
--   Of up to 1,000 numbers none is granted a dial once it is on the list. Of more, a call that asked the gate before the commit may be
--   granted its dial after it: cancel_listed, run afterwards, waits for it and stops it.
-- Uses: do_not_call_pkey. Locks: up to 1,000 numbers (as begin_dial does), in order; do_not_call, in order of key; waits.
CREATE FUNCTION list_numbers(
    p_account_ids bigint[], p_numbers text[], p_reasons text[], p_expires timestamptz[], p_kind text, p_source text,
    OUT added integer, OUT changed integer
)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_salt text := (SELECT id::text FROM deployment);      -- of number_key
BEGIN
    IF cardinality(p_numbers) <= 1000 THEN
        PERFORM pg_advisory_xact_lock(7302, n.key)
           FROM (SELECT DISTINCT hashtext(number) AS key FROM unnest(p_numbers) AS number ORDER BY key) n;
    END IF;
    WITH listed AS (
        INSERT INTO do_not_call AS d (account_id, number_key, to_number, kind, reason, source, expires_at)
        SELECT k.account_id, k.number_key, k.number, p_kind, k.reason, p_source, k.expires_at
          FROM (SELECT DISTINCT ON (g.number_key, account_id) *
                  FROM (SELECT sha256(convert_to(v_salt || number, 'UTF8')) AS number_key, account_id, number, reason, expires_at
                          FROM unnest(p_account_ids, p_numbers, p_reasons, p_expires) AS g (account_id, number, reason, expires_at)
                        OFFSET 0) g
                 ORDER BY g.number_key, account_id, expires_at DESC NULLS FIRST) k
         ORDER BY k.number_key, k.account_id
            ON CONFLICT (number_key, account_id) DO UPDATE
           SET to_number = excluded.to_number, created_at = clock_timestamp(),
               reason = CASE WHEN d.kind < excluded.kind AND d.expires_at > clock_timestamp() THEN d.reason ELSE excluded.reason END,
               source = CASE WHEN d.kind < excluded.kind AND d.expires_at > clock_timestamp() THEN d.source ELSE excluded.source END,
               kind = CASE WHEN d.expires_at <= clock_timestamp() THEN excluded.kind
                           ELSE least(d.kind, excluded.kind) END,              -- do_not_call < suppression
               expires_at = CASE WHEN d.expires_at <= clock_timestamp() THEN excluded.expires_at
                                 WHEN d.expires_at IS NOT NULL AND excluded.expires_at IS NOT NULL
                                 THEN greatest(d.expires_at, excluded.expires_at) END
         WHERE d.expires_at <= clock_timestamp()
            OR d.kind > excluded.kind
            OR d.expires_at < coalesce(excluded.expires_at, 'infinity')
     RETURNING xmax = 0 AS is_new                              -- a row that was there before has been locked by this update
    )
    SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new)
      INTO added, changed
      FROM listed;
END $$;

-- cancel_listed: ask for the cancel of calls that are being dialled although their number is on a do-not-call list by now.
-- Promises: run after the list was committed, it asks once for each call to p_number (null: to any number) whose intent came before
--   the list and that has not been answered; returns how many. A call that is claimed and not dialled is left to the last gate,
--   and one that waits to its turn there: both read the list after this. An answered call goes on.
-- Uses: calls_live, do_not_call_pkey. Locks: calls in id order; waits, so that an intent that is being written is seen.
CREATE FUNCTION cancel_listed(p_number text) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_calls bigint[];
BEGIN
    SELECT array_agg(c.id)
      INTO v_calls
      FROM calls c
     WHERE c.worker_id IS NOT NULL AND c.ended_at IS NULL AND c.answered_at IS NULL AND c.direction = 'outbound'
       AND (p_number IS NULL OR c.to_number = p_number)
       AND (SELECT true
              FROM do_not_call d
             WHERE d.number_key = number_key(c.to_number)
               AND d.account_id IN (0, c.account_id)
               AND d.kind = 'do_not_call'
               AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp())
             LIMIT 1);
    PERFORM FROM calls WHERE id = ANY (v_calls) ORDER BY id FOR NO KEY UPDATE;

    WITH asked AS (
        UPDATE calls
           SET cancel_requested_at = clock_timestamp()
         WHERE id = ANY (v_calls) AND state IN ('dialing', 'ringing') AND cancel_requested_at IS NULL
     RETURNING id, epoch
    ), event AS (
        INSERT INTO call_events (call_id, epoch, kind, detail)
        SELECT id, epoch, 'cancel_requested', '{"why": "do_not_call"}' FROM asked
    )
    SELECT array_agg(id) INTO v_calls FROM asked;
    PERFORM pg_notify('orchestrator_cancel', id::text) FROM unnest(v_calls) AS asked (id);
    RETURN coalesce(cardinality(v_calls), 0);
END $$;

-- record_opt_out: put the number of a call on its account's list, because its agent says so, and note it in the timeline.
-- Promises: once it has returned no call of the account to the number passes the last gate; the same again changes nothing. Whoever
--   holds the call's claim: what the callee asked for stands. True always.
-- Uses: calls_pkey, do_not_call_pkey. Locks: do_not_call; waits.
CREATE FUNCTION record_opt_out(p_call_id bigint, p_epoch integer, p_identity text, p_reason text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_call record;
BEGIN
    SELECT account_id, to_number INTO v_call FROM calls WHERE id = p_call_id;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    PERFORM list_numbers(ARRAY[v_call.account_id], ARRAY[v_call.to_number::text], ARRAY[left(p_reason, 500)], ARRAY[NULL::timestamptz],
                         'do_not_call', 'agent, call ' || p_call_id);
    INSERT INTO call_events (call_id, epoch, kind, detail)
    SELECT p_call_id, p_epoch, 'do_not_call', jsonb_build_object('agent', p_identity, 'reason', p_reason)
     WHERE NOT EXISTS (SELECT FROM call_events WHERE call_id = p_call_id AND kind = 'do_not_call');
    RETURN true;
END $$;
