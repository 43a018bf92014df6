-- 0005_scheduling: what scheduling like a carrier needs: the system's switches, agent pools, routes, circuits, calling windows,
-- redial, spacing, caller ids, do-not-call, inbound calls.
--
-- The lock order becomes: trunk group, route (claim only), account_slots, calls, attempts, dials, lanes, agent_pools,
-- trunk_channels, caller_id_days, trunk_health, each in id order. An agent pool's advisory lock is taken just before its row. Who
-- makes agent pools or routes, or reads them to stage by them, takes the advisory lock (7303, 0) first of all, shared: prune_routes.

-- Two live calls to one number, which the last version allowed, cannot be had from here on (calls_one_for_a_number).
DO $$
DECLARE
    v_numbers bigint;
    v_calls   bigint;
BEGIN
    SELECT count(*), sum(n)
      INTO v_numbers, v_calls
      FROM (SELECT count(*) AS n FROM calls WHERE dialed_at IS NOT NULL AND ended_at IS NULL GROUP BY to_number HAVING count(*) > 1) s;
    IF v_numbers > 0 THEN
        RAISE EXCEPTION '% live calls are to numbers to which there is another live call (% numbers), and this version allows one: '
            'let workers of the last version run until these calls have ended, then migrate again', v_calls, v_numbers;
    END IF;
END $$;

-- The system's switches: one row. The claim and the last gate read it, operators write it.
CREATE TABLE switches (
    only_row           boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    stopped_at         timestamptz,             -- the kill switch: nothing is claimed or dialled while set; live calls go on
    stopped_why        text NOT NULL DEFAULT '',
    held_at            timestamptz,             -- a restore was noticed: nothing is dialled until an operator confirms
    held_why           text NOT NULL DEFAULT '',
    system_identifier  text,                    -- of the cluster and timeline on which dialling is confirmed; null: of the first start
    timeline           text,
    sweep_allowed_at   timestamptz,             -- an operator allowed a sweep that would end unusually many rooms
    CHECK ((stopped_at IS NULL) = (stopped_why = '')),
    CHECK ((held_at IS NULL) = (held_why = ''))
);
INSERT INTO switches DEFAULT VALUES;

-- A circuit is a pause with growing backoff: open until circuit_until, then one call at a time probes until one result closes
-- it or opens it again. Agent pools and trunks have one each, in these columns.

-- Agents by the name under which they register. Without a capacity nothing is limited and nothing is counted.
CREATE TABLE agent_pools (
    id                 integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               label NOT NULL UNIQUE,
    capacity           integer CHECK (capacity > 0),       -- calls at once; null: not limited, and inflight stays 0
    inflight           integer NOT NULL DEFAULT 0 CHECK (inflight >= 0),
    paused             boolean NOT NULL DEFAULT false,
    absences           integer NOT NULL DEFAULT 0 CHECK (absences >= 0),   -- agents that did not come, since one came
    circuit_until      timestamptz,                        -- null: closed
    circuit_opened_at  timestamptz,
    circuit_openings   integer NOT NULL DEFAULT 0 CHECK (circuit_openings >= 0),   -- in a row
    circuit_why        text NOT NULL DEFAULT '',
    probe_call_id      bigint,                             -- the one call that may try while the circuit is half open
    probe_until        timestamptz,                        -- afterwards another may
    CHECK (capacity IS NOT NULL OR inflight = 0),
    CHECK ((circuit_until IS NULL) = (circuit_opened_at IS NULL)),
    CHECK ((probe_call_id IS NULL) = (probe_until IS NULL))
) WITH (fillfactor = 10);

-- A route is a trunk group and an agent pool: what must both have room before a call can be claimed.
CREATE TABLE routes (
    id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trunk_group_id  integer NOT NULL REFERENCES trunk_groups,
    agent_pool_id   integer NOT NULL REFERENCES agent_pools,
    UNIQUE (trunk_group_id, agent_pool_id)
) WITH (fillfactor = 10);

ALTER TABLE trunks
    ADD COLUMN owner_account_id  bigint REFERENCES accounts,           -- null: shared by all accounts
    ADD COLUMN caller_id_cap     integer CHECK (caller_id_cap > 0);    -- dials a day (UTC) from each of its caller ids; null: no cap

ALTER TABLE trunk_channels
    ADD COLUMN circuit_until      timestamptz,
    ADD COLUMN circuit_opened_at  timestamptz,
    ADD COLUMN circuit_openings   integer NOT NULL DEFAULT 0 CHECK (circuit_openings >= 0),
    ADD COLUMN circuit_why        text NOT NULL DEFAULT '',
    ADD COLUMN probe_call_id      bigint,
    ADD COLUMN probe_until        timestamptz,
    ADD CHECK ((circuit_until IS NULL) = (circuit_opened_at IS NULL)),
    ADD CHECK ((probe_call_id IS NULL) = (probe_until IS NULL));

-- What a trunk did lately, apart from its counters: written only when a dial failed by the trunk or its numbers, or when a
-- success is news.
CREATE TABLE trunk_health (
    trunk_id     integer PRIMARY KEY REFERENCES trunks,
    good_at      timestamptz,             -- last dial that neither the trunk nor a number-class code failed; news at most once a minute
    answered_at  timestamptz,             -- last answered call; the same
    failing      boolean NOT NULL DEFAULT false          -- failures below are newer than good_at
) WITH (fillfactor = 10);
INSERT INTO trunk_health (trunk_id) SELECT id FROM trunks;

CREATE TABLE trunk_failures (
    trunk_id   integer NOT NULL REFERENCES trunks,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    call_id    bigint NOT NULL,
    to_number  e164 NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('trunk', 'number')),
    code       text NOT NULL              -- SIP code or cause, one word
);
CREATE INDEX trunk_failures_at ON trunk_failures (trunk_id, at);

ALTER TABLE accounts
    ADD COLUMN calling_hours      text[] NOT NULL DEFAULT '{}' CHECK (array_position(calling_hours, NULL) IS NULL),
                                                        -- rules of orchestrator.scheduling.windows; empty: 8:00 to 21:00 every day
    ADD COLUMN closed_on_holidays boolean NOT NULL DEFAULT false,
    ADD COLUMN dial_unknown_zone  boolean NOT NULL DEFAULT false,      -- dial although the callee's time zone is not known
    ADD COLUMN hours_version      integer NOT NULL DEFAULT 1,          -- rises when one of these three changes
    ADD COLUMN max_attempts       smallint NOT NULL DEFAULT 1 CHECK (max_attempts BETWEEN 1 AND 50),
    ADD COLUMN redial_delays      jsonb NOT NULL DEFAULT '{}'          -- {"soon": [300, 900], ...}: seconds, by redial class
                                  CHECK (jsonb_typeof(redial_delays) = 'object'),
    ADD COLUMN redial_jitter      double precision NOT NULL DEFAULT 0.1 CHECK (redial_jitter BETWEEN 0 AND 1),
    ADD COLUMN number_gap_s       double precision NOT NULL DEFAULT 0 CHECK (number_gap_s BETWEEN 0 AND 31622400),
    ADD COLUMN number_most_dials  integer CHECK (number_most_dials > 0),                          -- null: no cap
    ADD COLUMN number_window_s    double precision NOT NULL DEFAULT 604800 CHECK (number_window_s BETWEEN 60 AND 31622400),
    ADD COLUMN caller_id_choice   text NOT NULL DEFAULT 'fixed' CHECK (caller_id_choice IN ('fixed', 'rotating', 'nearest')),
    ADD COLUMN caller_id_cap      integer CHECK (caller_id_cap > 0);   -- dials a day (UTC) from each of its caller ids

CREATE FUNCTION count_hours_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.hours_version := OLD.hours_version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER accounts_hours_changed
    BEFORE UPDATE OF calling_hours, closed_on_holidays, dial_unknown_zone ON accounts
    FOR EACH ROW
    WHEN ((OLD.calling_hours, OLD.closed_on_holidays, OLD.dial_unknown_zone)
          IS DISTINCT FROM (NEW.calling_hours, NEW.closed_on_holidays, NEW.dial_unknown_zone))
    EXECUTE FUNCTION count_hours_version();

ALTER TABLE account_slots
    ADD COLUMN inbound          integer NOT NULL DEFAULT 0 CHECK (inbound >= 0),       -- live inbound calls: nothing limits them
    ADD COLUMN has_urgent_room  boolean GENERATED ALWAYS AS (NOT paused AND inflight < max_concurrent) STORED;
COMMENT ON COLUMN account_slots.reserved IS 'Slots of max_concurrent that only urgent calls (priority above 0) may take.';

ALTER TABLE calls
    ADD COLUMN direction        text NOT NULL DEFAULT 'outbound' CHECK (direction IN ('outbound', 'inbound')),
    ADD COLUMN route_id         integer,                             -- set by staging; routes stay while calls that are ready or
                                                                     -- live need them (prune_routes), and then go
    ADD COLUMN avoid_trunk_id   integer REFERENCES trunks,           -- the trunk that failed this attempt last; another is tried first
    ADD COLUMN expires_after_s  double precision CHECK (expires_after_s > 0),   -- expires_at is this long after run_at, for each
                                                                     -- attempt; null: expires_at is for the call as a whole
    ADD COLUMN calling_hours    text[],                              -- null: the account's
    ADD COLUMN redial           jsonb CHECK (jsonb_typeof(redial) = 'object'),  -- {"max_attempts", "delays", "jitter"}; null: the account's
    ADD COLUMN window_from      timestamptz,                         -- the calling window that was found last; null: not looked for
    ADD COLUMN window_until     timestamptz,
    ADD COLUMN hours_version    integer,                             -- the account's when it was found
    ADD COLUMN time_zone        text,                                -- the callee's, as found; several are joined by a comma
    DROP CONSTRAINT calls_waiting_for_check,
    ADD CONSTRAINT calls_waiting_for_check CHECK (waiting_for IN (
        'slot', 'agent', 'media_server', 'trunk_capacity', 'trunk_auth', 'trunk_config', 'trunk_unreachable',
        'calling_window', 'time_zone', 'spacing', 'caller_id', 'paused', 'redial')),
    DROP CONSTRAINT calls_expire_after_their_time,
    ADD CONSTRAINT calls_expire_after_their_time CHECK (
        expires_at > run_at OR deferrals > 0 OR attempt > 0 OR waiting_for <> 'slot'),
    ADD CONSTRAINT calls_window_in_order CHECK (window_from <= window_until),
    ADD CONSTRAINT calls_ready_have_a_route CHECK (state NOT IN ('ready', 'claimed') OR route_id IS NOT NULL) NOT VALID;

ALTER TABLE dials
    ADD COLUMN account_id  bigint REFERENCES accounts,
    ADD COLUMN to_number   e164,
    ADD COLUMN end_reason  end_reason;                               -- of the attempt that it was, if the dial was spent
UPDATE dials d
   SET account_id = c.account_id, to_number = c.to_number
  FROM calls c
 WHERE c.id = d.call_id;

-- Lanes are of routes now.
INSERT INTO agent_pools (name)
SELECT DISTINCT agent_name FROM calls WHERE ended_at IS NULL;
INSERT INTO routes (trunk_group_id, agent_pool_id)
SELECT DISTINCT c.trunk_group_id, p.id FROM calls c JOIN agent_pools p ON p.name = c.agent_name WHERE c.ended_at IS NULL;
UPDATE calls c
   SET route_id = r.id
  FROM routes r
  JOIN agent_pools p ON p.id = r.agent_pool_id
 WHERE c.ended_at IS NULL AND r.trunk_group_id = c.trunk_group_id AND p.name = c.agent_name;
ALTER TABLE calls VALIDATE CONSTRAINT calls_ready_have_a_route;
-- No calling window has been found for calls that are ready already: theirs has just closed, and they go back to have one found.
UPDATE calls
   SET window_from = clock_timestamp(), window_until = clock_timestamp()
 WHERE state = 'ready';

DROP TABLE lanes;
DROP INDEX calls_ready;
CREATE INDEX calls_ready ON calls (account_id, route_id, priority DESC, run_at, id) WHERE state = 'ready';

-- An account's ready calls over one route.
CREATE TABLE lanes (
    account_id       bigint NOT NULL REFERENCES account_slots,
    route_id         integer NOT NULL,               -- a route stays while it has lanes (prune_routes)
    ready            integer NOT NULL DEFAULT 0 CHECK (ready >= 0),
    urgent           integer NOT NULL DEFAULT 0 CHECK (urgent BETWEEN 0 AND ready),     -- of these, with priority above 0
    share            double precision NOT NULL,      -- These four are the account's, true whenever ready > 0. They are
    has_room         boolean NOT NULL,               -- copied so that one index can lead with the route and
    has_urgent_room  boolean NOT NULL,               -- still be in order of need.
    last_claim_at    timestamptz NOT NULL,
    claimable        boolean GENERATED ALWAYS AS (ready > 0 AND (has_room OR (urgent > 0 AND has_urgent_room))) STORED,
    PRIMARY KEY (account_id, route_id)
) WITH (fillfactor = 50);
CREATE INDEX lanes_claimable ON lanes (route_id, share, last_claim_at, account_id) WHERE claimable;
INSERT INTO lanes (account_id, route_id, ready, urgent, share, has_room, has_urgent_room, last_claim_at)
SELECT c.account_id, c.route_id, count(*), count(*) FILTER (WHERE c.priority > 0), a.share, a.has_room, a.has_urgent_room, a.last_claim_at
  FROM calls c
  JOIN account_slots a ON a.account_id = c.account_id
 WHERE c.state = 'ready'
 GROUP BY c.account_id, c.route_id, a.share, a.has_room, a.has_urgent_room, a.last_claim_at;

CREATE OR REPLACE FUNCTION copy_account_to_lanes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lanes
       SET share = NEW.share, has_room = NEW.has_room, has_urgent_room = NEW.has_urgent_room
     WHERE account_id = NEW.account_id;
    RETURN NULL;
END $$;

-- Never two calls to one number at once, whosever they are: a call that was dialled and has not ended has the number.
-- (A call that goes back to the queue has its dialed_at cleared.)
CREATE UNIQUE INDEX calls_one_for_a_number ON calls (to_number) WHERE dialed_at IS NOT NULL AND ended_at IS NULL AND direction = 'outbound';
-- Spacing: an account's dials to one number, newest first.
CREATE INDEX dials_to_a_number ON dials (account_id, to_number, intent_at);
-- Calls that are held by hours, so that a change of the account's hours reaches them.
CREATE INDEX calls_held_by_hours ON calls (account_id) WHERE state = 'scheduled' AND waiting_for IN ('calling_window', 'time_zone');
-- Ready calls whose window closes go back.
CREATE INDEX calls_ready_until ON calls (window_until) WHERE state = 'ready';

-- Dials of a caller id on one day (UTC), counted only where a cap or the rotation needs it.
CREATE TABLE caller_id_days (
    caller_id  e164 NOT NULL,
    day        date NOT NULL,
    dials      integer NOT NULL DEFAULT 0 CHECK (dials >= 0),
    PRIMARY KEY (caller_id, day)
) WITH (fillfactor = 50);

-- A number under which it is listed, without being it: erased numbers stay listed. The deployment's id is the salt.
CREATE FUNCTION number_key(number text) RETURNS bytea LANGUAGE sql STABLE
RETURN sha256(convert_to((SELECT id::text FROM deployment) || number, 'UTF8'));

-- Who must not be called: by everybody (account_id 0) or by one account.
CREATE TABLE do_not_call (
    account_id  bigint NOT NULL,                   -- 0: for all accounts
    number_key  bytea NOT NULL,
    to_number   e164,                              -- null: erased
    kind        text NOT NULL CHECK (kind IN ('do_not_call', 'suppression')),   -- a suppression: the number does not exist
    reason      text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
    source      text NOT NULL CHECK (length(source) BETWEEN 1 AND 100),         -- operator, import, agent, call 4711 ...
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz,                       -- null: never
    PRIMARY KEY (number_key, account_id)
);
CREATE INDEX do_not_call_expires_at ON do_not_call (expires_at) WHERE expires_at IS NOT NULL;

-- What must not run twice has one holder, as long as its lease lasts by the database's clock.
CREATE TABLE leases (
    name        text PRIMARY KEY CHECK (name ~ '^[a-z_]{1,40}$'),
    worker_id   uuid NOT NULL REFERENCES workers,
    term        bigint NOT NULL DEFAULT 1,         -- rises with each holder
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 10);

ALTER TABLE workers
    ADD COLUMN draining boolean NOT NULL DEFAULT false;

-- The system's own events: circuits, switches, sweeps, repairs. call_events has those of calls.
CREATE TABLE system_events (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind    text NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_.]{0,63}$'),
    subject text NOT NULL DEFAULT '',              -- a trunk, an agent pool, an account, a worker, by name
    detail  jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object')
);
CREATE INDEX system_events_at ON system_events (at);

-- An answered attempt may be followed by another when a machine answered (OUTCOMES.md, class `later`).
DROP TRIGGER calls_transition ON calls;
CREATE TRIGGER calls_transition
    BEFORE UPDATE OF state ON calls
    FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND OLD.state || ' > ' || NEW.state NOT IN (
        'scheduled > ready', 'scheduled > not_connected', 'scheduled > canceled',
        'ready > claimed', 'ready > scheduled', 'ready > not_connected', 'ready > canceled',
        'claimed > dialing', 'claimed > ready', 'claimed > scheduled', 'claimed > not_connected', 'claimed > canceled',
        'dialing > ringing', 'dialing > active', 'dialing > scheduled', 'dialing > not_connected', 'dialing > canceled',
        'ringing > active', 'ringing > scheduled', 'ringing > not_connected', 'ringing > canceled',
        'active > ended', 'active > scheduled'))
    EXECUTE FUNCTION refuse_transition();
