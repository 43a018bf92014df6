-- 0001_schema: all tables.
--
-- Policy and counters of accounts and of trunks are in tables of their own: foreign keys point at the policy rows, which change
-- seldom, so that queueing a call never waits for the rows of counters, which every claim writes.
--
-- One lock order for every statement: trunk group (claim only), account_slots, calls, attempts, dials, lanes, trunk_channels,
-- each in id order. Whoever writes a lane, a counter of an account, or a call that is scheduled or ready holds that account's
-- row in account_slots; only inserts of scheduled calls do not.

-- Shapes of single values are domains: they are checked when a value comes in, not at each change of its row.

CREATE DOMAIN e164 AS text
    CONSTRAINT e164_shape CHECK (VALUE ~ '^\+[1-9][0-9]{6,14}$');

CREATE DOMAIN label AS text
    CONSTRAINT label_length CHECK (length(VALUE) BETWEEN 1 AND 255);

-- What is wrong with metadata or headers, as a sentence without its subject; null if nothing is.
CREATE FUNCTION metadata_fault(metadata jsonb) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN jsonb_typeof(metadata) <> 'object' THEN 'must be a JSON object, not ' || jsonb_typeof(metadata)
    WHEN octet_length(metadata::text) > 65536 THEN format('must be at most 65536 bytes, not %s', octet_length(metadata::text))
END;

CREATE FUNCTION headers_fault(headers jsonb) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE
    WHEN jsonb_typeof(headers) <> 'object' THEN 'must be a JSON object, not ' || jsonb_typeof(headers)
    WHEN jsonb_path_exists(headers, 'strict $.* ? (@.type() != "string")') THEN 'must have strings as values'
    WHEN jsonb_path_exists(headers, '$.keyvalue().key ? (!(@ like_regex "^[-!#$%&''*+.^_`|~0-9A-Za-z]+$"))')
        THEN 'must have names made of letters, digits and -!#$%&''*+.^_`|~'
    WHEN headers::text ~ '\\(n|r|u00[01])' THEN 'must not contain line breaks or control characters'
    WHEN octet_length(headers::text) > 8192 THEN format('must be at most 8192 bytes, not %s', octet_length(headers::text))
END;

CREATE DOMAIN call_metadata AS jsonb
    CONSTRAINT metadata_rule CHECK (metadata_fault(VALUE) IS NULL);

CREATE DOMAIN sip_headers AS jsonb
    CONSTRAINT headers_rule CHECK (headers_fault(VALUE) IS NULL);

CREATE DOMAIN dialled AS text
    CONSTRAINT dialled_vocabulary CHECK (VALUE IN ('no', 'yes', 'unknown'));

CREATE DOMAIN end_reason AS text        -- orchestrator/outcomes.py; a test compares them
    CONSTRAINT end_reason_vocabulary CHECK (VALUE IN (
        'USER_HUNG_UP_IN_CALL', 'USER_DID_NOT_PICK_UP', 'USER_HUNG_UP_RINGING', 'AGENT_HUNG_UP_SILENCE_DETECTED',
        'AGENT_HUNG_UP_VOICEMAIL_DETECTED', 'VOICEMAIL_DETECTED_PRECONNECT', 'MAX_DURATION_REACHED', 'IDLE_TIMEOUT',
        'SIP_FAILED_WRONG_NUMBER', 'SIP_FAILED_NUMBER_BLOCKED', 'USER_BUSY', 'AGENT_HUNG_UP', 'AGENT_LEFT_VOICEMAIL_MESSAGE',
        'AGENT_HUNG_UP_BY_POLICY', 'FAX_DETECTED', 'AGENT_NEVER_JOINED', 'AGENT_LOST', 'OPERATOR_HUNG_UP', 'CANCELED_BY_REQUEST',
        'EXPIRED_IN_QUEUE', 'BLOCKED_DO_NOT_CALL', 'INVALID_NUMBER', 'CALL_TRANSFERRED', 'HANDOVER_FAILED',
        'SIP_FAILED_UNREACHABLE', 'SIP_FAILED_SPAM_REJECTED', 'SIP_FAILED_CAPACITY', 'SIP_FAILED_TRUNK_AUTH',
        'SIP_FAILED_TRUNK_CONFIG', 'SIP_FAILED_TRUNK_UNREACHABLE', 'SIP_FAILED_SERVER_ERROR', 'SIP_FAILED_UNKNOWN',
        'MEDIA_SERVER_UNAVAILABLE', 'MEDIA_LOST', 'LEG_LOST', 'WORKER_LOST', 'WORKER_SHUT_DOWN', 'INTERNAL_ERROR'));

-- This deployment: its id is in the name of every room, so that no other deployment's rooms are ever touched.
CREATE TABLE deployment (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id          uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO deployment DEFAULT VALUES;

-- Trunks: what a request needs, and how the trunk's answers are read.
CREATE TABLE trunks (
    id                          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                        text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9._-]{1,64}$'),
    sip_trunk_id                label NOT NULL,
    caller_ids                  e164[] NOT NULL DEFAULT '{}' CHECK (array_position(caller_ids, NULL) IS NULL),
    preconnect_voicemail        boolean NOT NULL DEFAULT true,
    preconnect_voicemail_codes  integer[] NOT NULL DEFAULT '{480}'
                                CHECK (array_position(preconnect_voicemail_codes, NULL) IS NULL
                                       AND 300 <= ALL (preconnect_voicemail_codes) AND 699 >= ALL (preconnect_voicemail_codes)),
    min_ring_s                  double precision NOT NULL DEFAULT 1.0 CHECK (min_ring_s >= 0),
    max_ring_s                  double precision NOT NULL DEFAULT 18.0,
    busy_means_declined         boolean NOT NULL DEFAULT false,
    patterns                    jsonb NOT NULL DEFAULT '[]'         -- [[regular expression, cause], ...]
                                CHECK (jsonb_typeof(patterns) = 'array'
                                       AND NOT jsonb_path_exists(patterns, 'strict $[*] ? (@.type() != "array" || @.size() != 2)')
                                       AND NOT jsonb_path_exists(patterns, 'strict $[*][*] ? (@.type() != "string")', '{}', true)),
    created_at                  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT trunks_max_ring_s_above_min_ring_s CHECK (max_ring_s > min_ring_s AND max_ring_s < 'infinity')
);

-- A trunk's limits, and the counters that are compared with them.
CREATE TABLE trunk_channels (
    trunk_id         integer PRIMARY KEY REFERENCES trunks,
    enabled          boolean NOT NULL DEFAULT true,
    max_channels     integer NOT NULL CHECK (max_channels > 0),
    max_cps          numeric NOT NULL CHECK (max_cps >= 0.01 AND max_cps <= 10000),
    dial_slack_ms    integer NOT NULL DEFAULT 50 CHECK (dial_slack_ms BETWEEN 0 AND 1000),  -- how late an INVITE may leave
    channels         integer NOT NULL DEFAULT 0 CHECK (channels >= 0),         -- calls holding one of its channels
    next_dial_at     timestamptz NOT NULL DEFAULT '-infinity',   -- first dial time that no claim has reserved
    next_invite_at   timestamptz NOT NULL DEFAULT '-infinity',   -- first INVITE time that no intent has taken
    -- Whole microseconds rounded up, whole calls per second rounded down, and the slack on top: then no window of one
    -- second holds more than max_cps INVITEs, although each may leave up to dial_slack_ms after its dial_at.
    dial_interval_us bigint GENERATED ALWAYS AS (
        ceil((1000000 + 1000 * dial_slack_ms) / CASE WHEN max_cps >= 1 THEN floor(max_cps) ELSE max_cps END)::bigint
    ) STORED
) WITH (fillfactor = 10);      -- few rows, each rewritten all the time: room on the page keeps the updates HOT

-- Each trunk has a group of its own name.
CREATE TABLE trunk_groups (
    id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9._-]{1,64}$')
) WITH (fillfactor = 10);      -- claimers of a group queue for its row; nobody else locks it against them

CREATE TABLE trunk_group_members (
    trunk_group_id  integer NOT NULL REFERENCES trunk_groups,
    trunk_id        integer NOT NULL REFERENCES trunks,
    position        smallint NOT NULL DEFAULT 1,                              -- lower first, the rest is overflow
    weight          double precision NOT NULL DEFAULT 1 CHECK (weight > 0 AND weight < 'infinity'),   -- spread within a position
    PRIMARY KEY (trunk_group_id, trunk_id)
);

-- Accounts: their policy.
CREATE TABLE accounts (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9._-]{1,64}$'),
    country            text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),          -- ISO 3166-1 alpha-2
    allowed_countries  text[] NOT NULL DEFAULT '{}'                           -- empty: its own only
                       CHECK (array_to_string(allowed_countries, ',', '?') ~ '^([A-Z]{2}(,[A-Z]{2})*)?$'),
    allowed_specials   text[] NOT NULL DEFAULT '{}'
                       CHECK (array_to_string(allowed_specials, ',', '?') ~ '^([a-z0-9_]+(,[a-z0-9_]+)*)?$'),
    caller_ids         e164[] NOT NULL DEFAULT '{}' CHECK (array_position(caller_ids, NULL) IS NULL),
    agent_name         text NOT NULL DEFAULT '' CHECK (length(agent_name) <= 255),      -- of calls that name none
    ring_timeout_s     double precision NOT NULL DEFAULT 30 CHECK (ring_timeout_s BETWEEN 5 AND 60),
    max_duration_s     double precision NOT NULL DEFAULT 3600 CHECK (max_duration_s BETWEEN 1 AND 86400),
    trust_agent_leave  boolean NOT NULL DEFAULT false,
    trunk_group_id     integer REFERENCES trunk_groups,                       -- of calls that name none
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- An account's limits, and the counters that are compared with them.
CREATE TABLE account_slots (
    account_id      bigint PRIMARY KEY REFERENCES accounts,
    max_concurrent  integer NOT NULL CHECK (max_concurrent > 0),
    reserved        integer NOT NULL DEFAULT 0 CHECK (reserved >= 0),   -- slots that the queue leaves free for calls
                                                                        -- that do not queue (inbound, immediate)
    weight          double precision NOT NULL DEFAULT 1 CHECK (weight >= 0.001 AND weight <= 1000000),
    paused          boolean NOT NULL DEFAULT false,
    inflight        integer NOT NULL DEFAULT 0 CHECK (inflight >= 0),   -- calls claimed, dialing, ringing or active
    last_claim_at   timestamptz NOT NULL DEFAULT '-infinity',
    share           double precision GENERATED ALWAYS AS (inflight / weight) STORED,
    has_room        boolean GENERATED ALWAYS AS (NOT paused AND inflight < max_concurrent - reserved) STORED
) WITH (fillfactor = 50);      -- no index but the key, so every update of a counter is HOT

-- An account's ready calls over one trunk group.
CREATE TABLE lanes (
    account_id      bigint NOT NULL REFERENCES account_slots,
    trunk_group_id  integer NOT NULL REFERENCES trunk_groups,
    ready           integer NOT NULL DEFAULT 0 CHECK (ready >= 0),
    share           double precision NOT NULL,      -- These three are the account's, true whenever ready > 0. They are
    has_room        boolean NOT NULL,               -- copied so that one index can lead with the trunk group and
    last_claim_at   timestamptz NOT NULL,           -- still be in order of need.
    claimable       boolean GENERATED ALWAYS AS (ready > 0 AND has_room) STORED,
    PRIMARY KEY (account_id, trunk_group_id)
) WITH (fillfactor = 50);      -- rows are never deleted
CREATE INDEX lanes_claimable ON lanes (trunk_group_id, share, last_claim_at, account_id) WHERE claimable;

-- One row for each start of a worker process, whatever its name.
CREATE TABLE workers (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          label NOT NULL,
    version       text NOT NULL,
    capacity      integer NOT NULL CHECK (capacity > 0),
    live_calls    integer NOT NULL DEFAULT 0 CHECK (live_calls >= 0),
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    stopped_at    timestamptz
) WITH (fillfactor = 50);

CREATE TABLE calls (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,

    -- what was asked for; never changes, except run_at when the call goes back to the queue
    account_id           bigint NOT NULL REFERENCES accounts,
    trunk_group_id       integer NOT NULL REFERENCES trunk_groups,
    batch                label,
    idempotency_key      label,
    request_digest       bytea NOT NULL,            -- of what is dialled and said; the same key with another digest is a conflict
    to_number            e164 NOT NULL,
    caller_id            e164,                      -- null: the account's first, else the trunk's
    display_name         text CHECK (length(display_name) <= 128),
    headers              sip_headers NOT NULL DEFAULT '{}',
    dtmf                 text NOT NULL DEFAULT '' CHECK (length(dtmf) <= 255 AND dtmf ~ '^[0-9A-Da-d*#wW]*$'),
    agent_name           label NOT NULL,
    metadata             call_metadata NOT NULL DEFAULT '{}',
    ring_timeout_s       double precision CHECK (ring_timeout_s BETWEEN 5 AND 60),          -- null: the account's
    max_duration_s       double precision CHECK (max_duration_s BETWEEN 1 AND 86400),       -- null: the account's
    priority             smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_at               timestamptz NOT NULL,
    expires_at           timestamptz NOT NULL,

    -- where it stands
    state                text NOT NULL DEFAULT 'scheduled' CHECK (state IN (
                             'scheduled', 'ready', 'claimed', 'dialing', 'ringing', 'active', 'ended', 'not_connected', 'canceled')),
    epoch                integer NOT NULL DEFAULT 0 CHECK (epoch >= 0),         -- number of the claim; guards every later write
    attempt              smallint NOT NULL DEFAULT 0 CHECK (attempt >= 0),      -- attempts begun
    deferrals            integer NOT NULL DEFAULT 0 CHECK (deferrals >= 0),     -- times put back unspent in a row
    waiting_for          text NOT NULL DEFAULT 'slot' CHECK (waiting_for IN ('slot', 'agent', 'media_server', 'trunk_capacity')),
    worker_id            uuid REFERENCES workers,
    trunk_id             integer REFERENCES trunks,
    claimed_at           timestamptz,
    dial_at              timestamptz,               -- planned by the claim, then granted by the intent
    dialed_at            timestamptz,               -- the intent's commit
    ringing_at           timestamptz,
    answered_at          timestamptz,
    cancel_requested_at  timestamptz,
    ordered_end          text,                      -- what we did to end it, written before we did it

    -- how it ended
    ended_at             timestamptz,
    end_reason           end_reason,
    dialled              dialled,
    answered_by          text CHECK (answered_by IN ('human', 'machine', 'fax', 'ivr', 'screening', 'unknown')),
    sip_code             integer CHECK (sip_code BETWEEN 100 AND 699),
    sip_reason           text NOT NULL DEFAULT '',
    q850_cause           integer CHECK (q850_cause BETWEEN 0 AND 127),
    hangup_cause         text NOT NULL DEFAULT '',
    error_code           text NOT NULL DEFAULT '',
    error_message        text NOT NULL DEFAULT '',
    pdd_ms               integer CHECK (pdd_ms >= 0),
    ring_ms              integer CHECK (ring_ms >= 0),
    ring_error_ms        integer CHECK (ring_error_ms >= 0),
    talk_ms              integer CHECK (talk_ms >= 0),
    sip_call_id          text NOT NULL DEFAULT '',
    livekit_sip_call_id  text NOT NULL DEFAULT '',
    participant_sid      text NOT NULL DEFAULT '',
    evidence             jsonb NOT NULL DEFAULT '{}',

    CONSTRAINT calls_expire_after_their_time CHECK (expires_at > run_at OR deferrals > 0),
    CONSTRAINT calls_waiting_hold_nothing CHECK (
        state NOT IN ('scheduled', 'ready') OR (worker_id IS NULL AND trunk_id IS NULL AND claimed_at IS NULL AND dial_at IS NULL)),
    CONSTRAINT calls_live_hold_everything CHECK (
        state NOT IN ('claimed', 'dialing', 'ringing', 'active')
        OR (epoch > 0 AND worker_id IS NOT NULL AND trunk_id IS NOT NULL AND claimed_at IS NOT NULL AND dial_at IS NOT NULL)),
    CONSTRAINT calls_dialing_have_an_attempt CHECK (
        state NOT IN ('dialing', 'ringing', 'active', 'ended') OR (attempt > 0 AND dialed_at IS NOT NULL)),
    CONSTRAINT calls_ringing_since CHECK (state <> 'ringing' OR ringing_at IS NOT NULL),
    CONSTRAINT calls_answered_if_active CHECK ((answered_at IS NOT NULL) = (state IN ('active', 'ended'))),
    CONSTRAINT calls_reason_if_terminal CHECK ((end_reason IS NOT NULL) = (state IN ('ended', 'not_connected', 'canceled'))),
    CONSTRAINT calls_ended_if_terminal CHECK ((ended_at IS NOT NULL) = (state IN ('ended', 'not_connected', 'canceled'))),
    CONSTRAINT calls_dialled_if_terminal CHECK ((dialled IS NOT NULL) = (state IN ('ended', 'not_connected', 'canceled'))),
    CONSTRAINT calls_canceled_by_request CHECK (end_reason IS NULL OR (end_reason = 'CANCELED_BY_REQUEST') = (state = 'canceled')),
    CONSTRAINT calls_answered_by_if_answered CHECK (answered_by IS NULL OR state IN ('active', 'ended')),
    CONSTRAINT calls_evidence_object CHECK (jsonb_typeof(evidence) = 'object')
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX calls_ready ON calls (account_id, trunk_group_id, priority DESC, run_at, id) WHERE state = 'ready';
CREATE INDEX calls_scheduled_run_at ON calls (run_at) WHERE state = 'scheduled';
-- Not "WHERE state IN (...)" in these three: a guard by id, epoch and state would imply that predicate, and whenever the
-- statistics say that few calls match, the planner walks this whole index instead of the primary key.
CREATE INDEX calls_live ON calls (worker_id) WHERE worker_id IS NOT NULL AND ended_at IS NULL;
CREATE INDEX calls_cancel_requested ON calls (worker_id) WHERE cancel_requested_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX calls_waiting_expires_at ON calls (expires_at) WHERE worker_id IS NULL AND ended_at IS NULL;
CREATE UNIQUE INDEX calls_idempotency_key ON calls (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX calls_batch ON calls (batch, id) WHERE batch IS NOT NULL;

-- The lifecycle (orchestrator/lifecycle.py; a test compares them). The list is in the trigger's condition, so that an allowed
-- change costs no call of a function.
CREATE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'call % cannot go from % to %', OLD.id, OLD.state, NEW.state
          USING ERRCODE = 'check_violation', CONSTRAINT = 'calls_transition', DETAIL = OLD.state || ' > ' || NEW.state;
END $$;
CREATE TRIGGER calls_transition
    BEFORE UPDATE OF state ON calls
    FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND OLD.state || ' > ' || NEW.state NOT IN (
        'scheduled > ready', 'scheduled > not_connected', 'scheduled > canceled',
        'ready > claimed', 'ready > scheduled', 'ready > not_connected', 'ready > canceled',
        'claimed > dialing', 'claimed > ready', 'claimed > scheduled', 'claimed > not_connected', 'claimed > canceled',
        'dialing > ringing', 'dialing > active', 'dialing > scheduled', 'dialing > not_connected', 'dialing > canceled',
        'ringing > active', 'ringing > scheduled', 'ringing > not_connected', 'ringing > canceled',
        'active > ended'))
    EXECUTE FUNCTION refuse_transition();

-- A call has attempts, which redial policy spends; an attempt has dials.
CREATE TABLE attempts (
    call_id     bigint NOT NULL REFERENCES calls,
    number      smallint NOT NULL CHECK (number > 0),
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    end_reason  end_reason,
    PRIMARY KEY (call_id, number),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE UNIQUE INDEX attempts_one_open ON attempts (call_id) WHERE ended_at IS NULL;

-- A dial is one create request to the carrier, or the intent of one. At most one for each claim (I1).
CREATE TABLE dials (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    call_id              bigint NOT NULL,
    attempt              smallint NOT NULL,
    number               smallint NOT NULL CHECK (number > 0),
    epoch                integer NOT NULL CHECK (epoch > 0),
    worker_id            uuid NOT NULL REFERENCES workers,
    trunk_id             integer NOT NULL REFERENCES trunks,
    caller_id            e164,                      -- null: the trunk's own default
    room                 label NOT NULL,
    intent_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    dial_at              timestamptz NOT NULL,
    ended_at             timestamptz,
    spent                boolean,                   -- false: no phone rang, and the call went back to the queue
    dialled              dialled,
    sip_code             integer CHECK (sip_code BETWEEN 100 AND 699),
    sip_reason           text NOT NULL DEFAULT '',
    sip_call_id          text NOT NULL DEFAULT '',
    livekit_sip_call_id  text NOT NULL DEFAULT '',
    participant_sid      text NOT NULL DEFAULT '',
    FOREIGN KEY (call_id, attempt) REFERENCES attempts,
    UNIQUE (call_id, epoch),
    UNIQUE (call_id, attempt, number),
    CHECK ((ended_at IS NULL) = (spent IS NULL) AND (ended_at IS NULL) = (dialled IS NULL))
);

-- The timeline. A change of state and its row here are written by one transaction (I4).
CREATE TABLE call_events (
    id       bigint GENERATED ALWAYS AS IDENTITY,
    call_id  bigint NOT NULL REFERENCES calls,
    epoch    integer NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind     text NOT NULL DEFAULT 'state' CHECK (kind ~ '^[a-z][a-z0-9_.]{0,63}$'),
    state    text,                                  -- the new state
    detail   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object'),
    PRIMARY KEY (call_id, id),
    CHECK ((kind = 'state') = (state IS NOT NULL))
);

-- A call as people and programs look at it: names instead of ids, and the caller id that was shown.
CREATE VIEW call_overview AS
SELECT c.id, a.name AS account, c.to_number, c.state, c.end_reason, c.batch, c.idempotency_key, c.agent_name, c.metadata, c.priority,
       c.created_at, c.run_at, c.expires_at, c.waiting_for, c.deferrals, c.epoch, c.attempt, t.name AS trunk,
       coalesce(d.caller_id, c.caller_id) AS caller_id, c.cancel_requested_at, c.claimed_at, c.dialed_at, c.ringing_at, c.answered_at,
       c.ended_at, c.dialled, c.answered_by, c.sip_code, c.sip_reason, c.q850_cause, c.hangup_cause, c.error_code, c.error_message,
       c.pdd_ms, c.ring_ms, c.ring_error_ms, c.talk_ms, c.sip_call_id, c.livekit_sip_call_id, c.participant_sid, c.evidence
  FROM calls c
  JOIN accounts a ON a.id = c.account_id
  LEFT JOIN trunks t ON t.id = c.trunk_id
  LEFT JOIN LATERAL (SELECT caller_id FROM dials WHERE call_id = c.id ORDER BY epoch DESC LIMIT 1) d ON true;

-- A limit, a weight or a pause changed by an operator reaches the lanes. Claim and finish do not fire it, because their SET
-- lists do not name these columns.
CREATE FUNCTION copy_account_to_lanes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lanes
       SET share = NEW.share, has_room = NEW.has_room
     WHERE account_id = NEW.account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER account_slots_limits_changed
    AFTER UPDATE OF max_concurrent, reserved, weight, paused ON account_slots
    FOR EACH ROW EXECUTE FUNCTION copy_account_to_lanes();
