"""`orchestrator queue`: what runs and waits, and why one call is not running."""

from __future__ import annotations

import asyncio
import os
from uuid import uuid4

import asyncpg
import pytest

from orchestrator.ids import WorkerId
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from tests.db.office import AlwaysOpen


@pytest.fixture
def sql(settings):
    """Statements that no command offers."""

    def run(*statements: str) -> list[asyncpg.Record]:
        async def work() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(os.environ["ORCHESTRATOR_DATABASE__URL"])
            try:
                rows: list[asyncpg.Record] = []
                for statement in statements:
                    rows = await connection.fetch(statement)
                return rows
            finally:
                await connection.close()

        return asyncio.run(work())

    return run


def enqueue(office, n: int = 1, **options: str) -> list[int]:
    ids = []
    for i in range(n):
        flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        said = office("enqueue", "--account", "acme", "--to", f"+1212555{100 + i:04}", "--json", *flags)
        assert said.code == 0, said.err
        ids.append(said.document["call_id"])
    return ids


def stage() -> None:
    """Move what is due into the lanes, whatever the hour."""

    async def work() -> None:
        database = Database(os.environ["ORCHESTRATOR_DATABASE__URL"], min_size=1, max_size=1)
        await database.open()
        queue = QueueStore(database=database, worker_id=WorkerId(uuid4()))
        due = await queue.due_calls(100)
        assert (await queue.stage(due, AlwaysOpen().place(due))).ready == len(due)
        await database.close()

    asyncio.run(work())


def why(office, call_id: int) -> str:
    said = office("queue", str(call_id))
    assert said.code == 0, said.err
    return said.out


def test_an_empty_queue_says_that_nobody_works_and_nothing_waits(office):
    said = office("queue")
    assert said.code == 0, said.err
    assert "NO WORKER is running" in said.out
    assert "no account has a call that runs or waits" in said.out
    assert "main" in said.out


def test_accounts_trunks_and_agents_show_what_runs_is_ready_and_waits_for_what(office, sql):
    enqueue(office, 3)
    stage()
    enqueue(office, 2, run_at="2099-01-01T00:00:00Z")
    sql(
        "UPDATE calls SET waiting_for = 'calling_window', time_zone = 'America/Chicago' WHERE id IN"
        " (SELECT max(id) FROM calls)",
        "UPDATE account_slots SET inflight = 5",
        "INSERT INTO workers (name, version, capacity, live_calls) VALUES ('w', '1', 100, 5)",
    )
    said = office("queue")
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert lines["1"].startswith("1 worker with 100 seats; 5 calls live, 2 scheduled")
    assert lines["acme"].split()[:7] == ["acme", "5", "5", "3", "1", "full", "calling"]
    assert "calling hours 1 until 2099-01-01 00:00:00Z; later: first at 2099-01-01 00:00:00Z" in lines["acme"]
    assert lines["main"].split()[:4] == ["main", "0", "10", "3"]
    assert lines["ann"].split()[:4] == ["ann", "0", "-", "3"]
    document = office("queue", "--json").document
    assert document["accounts"][0]["ready"] == 3
    assert document["accounts"][0]["held"] == [
        {"waiting_for": "calling_window", "count": {"calls": 1, "more": False}, "until": "2099-01-01T00:00:00Z"}
    ]
    assert office("queue", "--account", "nobody").code == 4


def test_a_full_account_is_named_with_its_slots_and_the_calls_position(office, sql):
    calls = enqueue(office, 3)
    stage()
    sql("UPDATE account_slots SET inflight = 5")
    assert "account acme: 5 of 5 slots in use; position 3" in why(office, calls[2])
    document = office("queue", str(calls[1]), "--json").document
    assert document["position"] == 2
    assert document["reasons"][0]["holds"] == "account"
    sql("UPDATE account_slots SET inflight = 3, reserved = 2")
    assert "3 of 5 slots in use, the other 2 are kept for urgent calls" in why(office, calls[0])


def test_an_urgent_call_is_ahead_of_those_that_came_before_it(office, sql):
    calls = enqueue(office, 3)
    (urgent,) = enqueue(office, 1, priority="5")
    stage()
    assert "position 1" in why(office, urgent)
    assert "position 4" in why(office, calls[2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE account_slots SET paused = true", "account acme is paused: `orchestrator accounts set acme --no-paused`"),
        ("UPDATE trunk_channels SET enabled = false", "trunk main: disabled"),
        ("UPDATE trunk_channels SET channels = 10", "trunk main: 10 of 10 channels in use"),
        ("UPDATE trunk_channels SET next_dial_at = now() + interval '1 min'", "trunk main: paced at 50 dials a second"),
        (
            "UPDATE trunk_channels SET circuit_until = '2099-01-01', circuit_opened_at = now(), circuit_why = '503s'",
            "trunk main: circuit open until 2099-01-01 00:00:00Z (503s)",
        ),
        (
            "UPDATE trunk_channels SET circuit_until = now(), circuit_opened_at = now(), circuit_why = '503'",
            "trunk main: circuit half open (503): the next call tries",
        ),
        ("UPDATE agent_pools SET capacity = 2, inflight = 2", "agent pool ann: 2 of 2 agents in use; position 1"),
        ("UPDATE agent_pools SET paused = true", "agent pool ann is paused: `orchestrator agents resume ann`"),
        (
            "UPDATE agent_pools SET circuit_until = '2099-01-01', circuit_opened_at = now(), circuit_why = '5 absent'",
            "agent pool ann: circuit open until 2099-01-01 00:00:00Z (5 absent)",
        ),
        ("UPDATE switches SET stopped_at = '2026-01-01', stopped_why = 'fire'", "stopped since 2026-01-01 00:00:00Z (fire)"),
        ("UPDATE switches SET held_at = '2026-01-01', held_why = 'restored'", "`orchestrator confirm-restore`"),
        (
            "INSERT INTO do_not_call SELECT 0, number_key(to_number), to_number, 'do_not_call', '', 't' FROM calls",
            "its number is on a do-not-call list",
        ),
        ("DELETE FROM trunk_group_members", "trunk group main has no trunk"),
        ("SELECT 1", "no worker takes calls"),
        (
            "INSERT INTO workers (name, version, capacity, live_calls) VALUES ('w', '1', 3, 3)",
            "the workers are full: 3 of 3 seats taken",
        ),
        (
            "INSERT INTO workers (name, version, capacity) VALUES ('w', '1', 3)",
            "it is its account's turn as soon as a worker claims: position 1",
        ),
    ],
)
def test_a_ready_call_says_what_holds_it_up(office, sql, change, said):
    (call,) = enqueue(office)
    stage()
    sql(change)
    assert said in why(office, call)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("run_at = '2099-01-01', expires_at = '2099-01-02'", "not due before 2099-01-01 00:00:00Z"),
        (
            "waiting_for = 'calling_window', time_zone = 'America/Chicago', run_at = '2099-01-02 14:00Z'",
            "outside calling hours in America/Chicago until 08:00 on Friday, 2099-01-02",
        ),
        ("waiting_for = 'time_zone', run_at = expires_at", "the time zone of its number is not known"),
        ("waiting_for = 'agent', run_at = '2099-01-01'", "no agent ann came; tried again at 2099-01-01 00:00:00Z"),
        ("waiting_for = 'trunk_auth', run_at = '2099-01-01'", "the trunk refused our credentials; tried again at 2099"),
        ("waiting_for = 'spacing', run_at = '2099-01-01'", "its number was called too often or too lately"),
        ("waiting_for = 'caller_id', run_at = '2099-01-01'", "every caller id that it may show has been used"),
        ("waiting_for = 'redial', attempt = 1, run_at = '2099-01-01'", "attempt 2 of 1 follows attempt 1; tried again at 2099"),
        ("waiting_for = 'paused', run_at = '2099-01-01'", "it was put back because something was paused"),
        ("waiting_for = 'media_server', run_at = '2099-01-01'", "the media server could not take it"),
    ],
)
def test_a_scheduled_call_says_what_it_waits_for_and_until_when(office, sql, change, said):
    (call,) = enqueue(office)
    sql(f"UPDATE calls SET {change}")  # noqa: S608
    assert said in why(office, call)


def test_opening_hours_within_a_day_are_told_by_the_clock_of_the_callee(office, sql):
    (call,) = enqueue(office)
    sql("UPDATE calls SET waiting_for = 'calling_window', time_zone = 'Etc/GMT+5', run_at = now() + interval '3 hours'")
    ((hour,),) = sql("SELECT to_char(run_at AT TIME ZONE 'Etc/GMT+5', 'HH24:MI') FROM calls")
    assert f"outside calling hours in Etc/GMT+5 until {hour}\n" in why(office, call)


def test_a_call_that_has_ended_or_does_not_exist_says_so(office, sql):
    (call,) = enqueue(office)
    assert office("calls", "cancel", str(call)).code == 0
    assert "it has ended: CANCELED_BY_REQUEST" in why(office, call)
    assert office("queue", "999").code == 4
    assert office("queue", "1", "--account", "acme").code == 2
