"""What is asked less often than a claim reads no more than it needs either, however much was called: see test_plans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.db.office import Office
from tests.db.test_plans import LIMIT, SEED, Counted, worker_of

OVER = 4_000
"""Calls that ended long ago, each with three attempts, three dials and twelve events."""
FAILURES = 3_000
LISTED = 4_000
RUN = 200
"""Failures that one trunk has here, at most; each new one looks for old ones and for a run."""

PAST = (
    """
SET session_replication_role = replica;
INSERT INTO calls (id, account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, state, run_at, expires_at,
                   epoch, attempt, dialed_at, answered_at, ended_at, end_reason, dialled, answered_by, idempotency_key)
OVERRIDING SYSTEM VALUE
SELECT 1000000 + g, 1 + mod(g, 50), 1, 1, '', '+1415' || (5550000 + mod(g, 100)), 'agent 1', 'ended', now() - interval '2 d',
       now() - interval '1 d', 3, 3, now() - interval '2 d', now() - interval '2 d', now() - interval '2 d',
       'USER_HUNG_UP_IN_CALL', 'yes', 'human', 'past ' || g
  FROM generate_series(1, :over) g;
INSERT INTO attempts (call_id, number, ended_at, end_reason)
SELECT 1000000 + g, n, now() - interval '2 d', 'USER_BUSY' FROM generate_series(1, :over) g, generate_series(1, 3) n;
INSERT INTO dials (call_id, attempt, number, epoch, worker_id, trunk_id, account_id, to_number, room, dial_at, intent_at,
                   ended_at, spent, dialled)
SELECT 1000000 + g, n, 1, n, (SELECT id FROM workers LIMIT 1), 1, 1 + mod(g, 50), '+1415' || (5550000 + mod(g, 100)), 'room',
       now(), now() - interval '2 d', now() - interval '2 d', true, 'yes'
  FROM generate_series(1, :over) g, generate_series(1, 3) n;
INSERT INTO call_events (call_id, epoch, state)
SELECT 1000000 + g, n, s
  FROM generate_series(1, :over) g, generate_series(1, 3) n, unnest('{ready,claimed,dialing,ringing}'::text[]) s;
INSERT INTO trunk_failures (trunk_id, at, call_id, to_number, kind, code)
SELECT 1 + mod(g, 20), now() - mod(g, 300) * interval '1 s', g,
       '+1212' || (5550000 + mod(g, 4)), 'trunk', '503'
  FROM generate_series(1, :failures) g;
INSERT INTO do_not_call (account_id, number_key, to_number, kind, source)
SELECT 0, number_key('+1312' || (5550000 + g)), '+1312' || (5550000 + g), 'do_not_call', 'import'
  FROM generate_series(1, :listed) g;
ANALYZE;
SET session_replication_role = origin
""".replace(":over", str(OVER))
    .replace(":failures", str(FAILURES))
    .replace(":listed", str(LISTED))
)

GROWING = ("calls", "attempts", "dials", "call_events", "trunk_failures", "do_not_call")
"""Tables whose rows rise with what is queued, called and listed."""

NOTHING = dict.fromkeys(GROWING, 0)


@pytest.fixture
async def long_past(office: Office) -> AsyncIterator[asyncpg.Connection]:
    connection = await office.database.connect()
    await connection.execute(SEED)
    await connection.execute(PAST)
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


class Claims:
    """Claims of one worker, and what statements about them read of the tables that grow."""

    def __init__(self, connection: asyncpg.Connection, worker_id: Any, claims: list[asyncpg.Record]) -> None:
        self._connection = connection
        self._counted = Counted(connection)
        self.worker_id = worker_id
        self.claims = claims

    @classmethod
    async def take(cls, connection: asyncpg.Connection) -> Claims:
        claims = cls(connection, await worker_of(connection), [])
        claims.claims, _ = await claims._counted.run("claim_calls", LIMIT, claims.worker_id)
        assert len(claims.claims) == LIMIT
        return claims

    async def dial(self) -> None:
        for claim in self.claims:
            rows = await self.run(
                "begin_dial", claim["call_id"], claim["epoch"], "room", [], "fixed", calls=6, attempts=2, dials=2
            )
            assert rows[0]["refused"] is None

    async def run(self, statement: str, *arguments: object, **most: int) -> list[asyncpg.Record]:
        """The rows; asserts that no table that grows was read as a whole, and from each no more rows than `most` says."""
        rows, read = await self._counted.run(statement, *arguments)
        for table, limit in (NOTHING | most).items():
            assert read[table]["seq_scan"] == 0, (statement, table, read[table])
            assert read[table]["idx_tup_fetch"] <= limit, (statement, table, read[table])
        return rows

    def ends(self, *, verdict: str, code: str, redial_s: float | None, suppress_s: float | None) -> list[list[object]]:
        """The arguments of finish_calls: every claim ends, of itself or for its next attempt."""
        one: list[object] = [
            "not_connected", "SIP_FAILED_WRONG_NUMBER", "yes", None, 404, "", None, "", "", "", None, None, None, None,
            "", "", "", "{}", verdict, code, redial_s, suppress_s,
        ]  # fmt: skip
        keys: list[list[object]] = [[claim[name] for claim in self.claims] for name in ("account_id", "call_id", "epoch")]
        return keys + [[value] * len(self.claims) for value in one]


async def test_notes_of_a_call_read_that_call(long_past: asyncpg.Connection):
    claims = await Claims.take(long_past)
    await claims.dial()
    claim = claims.claims[0]
    key = (claim["call_id"], claim["epoch"])
    (row,) = await claims.run("describe_adopted", *key, calls=2, dials=2, call_events=8)
    assert row["dial_id"] is not None
    await claims.run("record_opt_out", *key, "agent", "enough", calls=3, do_not_call=2, call_events=8)
    for answered in claims.claims[:5]:
        await claims.run("record_answer", answered["call_id"], answered["epoch"], 1, 0, "", "", "", "{}", calls=5, dials=2)


async def test_an_answer_on_a_trunk_that_was_failing_reads_no_failure_but_those_it_ends(long_past: asyncpg.Connection):
    await long_past.execute("UPDATE trunk_health SET failing = true WHERE trunk_id = 1")
    claims = await Claims.take(long_past)
    await claims.dial()
    arguments = [claims.claims[0]["call_id"], claims.claims[0]["epoch"], 1, 0, "", "", "", "{}"]
    of_the_trunk = await long_past.fetchval("SELECT count(*) FROM trunk_failures WHERE trunk_id = 1")
    await claims.run("record_answer", *arguments, calls=5, dials=2, trunk_failures=of_the_trunk + 1)
    assert await long_past.fetchval("SELECT count(*) FROM trunk_failures WHERE trunk_id = 1") == 0


@pytest.mark.parametrize("redial_s", [None, 60.0])
@pytest.mark.parametrize(("verdict", "code"), [("good", ""), ("trunk", "503"), ("number", "404")])
async def test_ends_with_redial_suppression_and_a_verdict_read_the_calls_that_end(
    long_past: asyncpg.Connection, redial_s: float | None, verdict: str, code: str
):
    await long_past.execute("UPDATE trunk_health SET answered_at = now(), good_at = now() - interval '10 min', failing = true")
    claims = await Claims.take(long_past)
    await claims.dial()
    # Each failure looks at those of its trunk and, should there be a run, at the calls that are being dialled.
    judged = RUN if verdict == "good" else RUN * LIMIT // 2
    rows = await claims.run(
        "finish_calls",
        *claims.ends(verdict=verdict, code=code, redial_s=redial_s, suppress_s=3600.0),
        calls=6 * LIMIT,
        attempts=3 * LIMIT,
        dials=3 * LIMIT,
        call_events=LIMIT,
        do_not_call=3 * LIMIT,
        trunk_failures=judged,
    )
    assert {row["state"] for row in rows} == {"not_connected" if redial_s is None else "scheduled"}
    rows = await claims.run(  # as when the answer was lost
        "finish_calls",
        *claims.ends(verdict=verdict, code=code, redial_s=redial_s, suppress_s=3600.0),
        calls=5 * LIMIT,
        call_events=8 * LIMIT,
        do_not_call=3 * LIMIT,
    )
    assert all(row["ours"] for row in rows)


@pytest.mark.parametrize(("waiting_for", "verdict"), [("trunk_unreachable", "trunk"), ("slot", "nothing"), ("paused", "good")])
async def test_a_call_that_is_put_back_reads_itself(long_past: asyncpg.Connection, waiting_for: str, verdict: str):
    claims = await Claims.take(long_past)
    await claims.dial()
    for claim in claims.claims[:5]:
        key = [claim["account_id"], claim["call_id"], claim["epoch"]]
        for _ in range(2):  # once more as when the answer was lost
            rows = await claims.run(
                "requeue_call", *key, 5.0, waiting_for, "{}", verdict, "503", True, calls=4 + LIMIT, attempts=2, dials=3,
                call_events=6, trunk_failures=RUN,
            )  # fmt: skip
            assert rows[0]["ours"]


async def test_a_call_of_a_dead_worker_that_is_given_back_reads_itself(long_past: asyncpg.Connection):
    claims = await Claims.take(long_past)
    for claim in claims.claims[:5]:
        key = [claim["account_id"], claim["call_id"], claim["epoch"]]
        (row,) = await claims.run("requeue_stranded", *key, claims.worker_id, 60.0, calls=5)
        assert row["moved"]


async def test_what_is_asked_every_few_seconds_reads_live_calls_at_most(long_past: asyncpg.Connection):
    claims = await Claims.take(long_past)
    await claims.dial()
    await claims.run("beat_heart", claims.worker_id, LIMIT, 100, False)
    (row,) = await claims.run("take_lease", "leader", claims.worker_id, 10.0)
    assert row["term"] == 1
    await claims.run("free_seats_elsewhere", claims.worker_id, 10.0)
    await claims.run("watch_cluster")
    await claims.run("occupancy")
    await claims.run("bottlenecks", 100)
    rows = await claims.run("count_live_calls", calls=LIMIT)
    assert [(row["state"], row["n"]) for row in rows] == [("dialing", LIMIT)]


async def test_counters_are_compared_with_live_calls_alone_and_with_ready_ones_only_when_asked(long_past: asyncpg.Connection):
    claims = await Claims.take(long_past)
    for lanes, most_ready in ((False, 0), (True, 1000)):
        (row,) = await claims.run("repair_counters", lanes, most_ready, calls=LIMIT + 5)
        assert set(row.values()) == {0}
    rows = await long_past.fetch("SELECT * FROM repair_counters(true)")
    assert set(rows[0].values()) == {0}


async def test_listing_a_number_reads_that_number_and_what_it_stops_is_found_among_live_calls(long_past: asyncpg.Connection):
    claims = await Claims.take(long_past)
    await claims.dial()
    number = await long_past.fetchval("SELECT to_number FROM calls WHERE id = $1", claims.claims[0]["call_id"])
    arguments = [[0], [number], ["asked"], [None], "do_not_call", "test"]
    for added in (1, 0):
        (row,) = await claims.run("list_numbers", *arguments, do_not_call=3)
        assert (row["added"], row["changed"]) == (added, 0)
    (row,) = await claims.run("cancel_listed", number, calls=LIMIT + 5, do_not_call=2)
    assert row["cancel_listed"] == 1
    await claims.run("cancel_listed", None, calls=LIMIT + 5, do_not_call=LIMIT)


async def test_an_inbound_call_is_written_down_once_without_a_look_at_the_queue(long_past: asyncpg.Connection):
    claims = Claims(long_past, await worker_of(long_past), [])
    arguments: list[object] = [
        "acme", claims.worker_id, "key", "ringing", "+12125550199", "+14155550100", "agent", "{}", "", "", "", "{}",
    ]  # fmt: skip
    first = await claims.run("begin_inbound_call", *arguments, calls=4)
    again = await claims.run("begin_inbound_call", *arguments, calls=4)
    assert first[0]["call_id"] == again[0]["call_id"]


async def test_staging_and_closing_windows_read_calls_alone(long_past: asyncpg.Connection):
    await long_past.execute("UPDATE calls SET run_at = now() - interval '2 h' WHERE state = 'scheduled'")
    await long_past.execute("UPDATE calls SET window_until = now() WHERE state = 'ready' AND id % 4 = 2")
    claims = Claims(long_past, await worker_of(long_past), [])
    due = await claims.run("due_calls", LIMIT, None, None, calls=LIMIT + 1)
    ids, now, hour = [row["id"] for row in due], due[0]["asked_at"], timedelta(hours=1)
    assert isinstance(now, datetime)
    rest = [[1] * LIMIT, ["UTC"] * LIMIT, [""] * LIMIT]
    (row,) = await claims.run("stage_calls", ids, [now - hour] * LIMIT, [now + hour] * LIMIT, *rest, calls=4 * LIMIT)
    assert row["staged"] == LIMIT
    (row,) = await claims.run("close_windows", LIMIT, calls=3 * LIMIT)
    assert row["closed"] == LIMIT


async def test_the_test_of_ends_notices_when_the_index_is_gone(long_past: asyncpg.Connection):
    await long_past.execute("DROP INDEX trunk_failures_at")
    claims = await Claims.take(long_past)
    await claims.dial()
    ends = claims.ends(verdict="trunk", code="503", redial_s=None, suppress_s=None)
    _, read = await Counted(long_past).run("finish_calls", *ends)
    assert read["trunk_failures"]["seq_tup_read"] >= FAILURES
