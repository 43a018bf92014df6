"""A database that version 0.1 has filled comes through the migrations with all that waits in it and all that is held."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg
import pytest

from orchestrator.errors import MigrationRefused
from orchestrator.store.migrations import MIGRATIONS_DIRECTORY, migrate
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.workers import WorkerStore
from tests.db.office import AlwaysOpen

LAST_OF_0_1 = 4

FILL = """
INSERT INTO trunks (name, sip_trunk_id) VALUES ('main', 'ST_main');
INSERT INTO trunk_channels (trunk_id, max_channels, max_cps) VALUES (1, 100, 100);
INSERT INTO trunk_groups (name) VALUES ('main');
INSERT INTO trunk_group_members (trunk_group_id, trunk_id) VALUES (1, 1);
INSERT INTO accounts (name, country, agent_name, trunk_group_id) VALUES ('acme', 'US', 'greeter', 1);
INSERT INTO account_slots (account_id, max_concurrent) VALUES (1, 5);
INSERT INTO workers (name, version, capacity) VALUES ('old', '0.1.0', 100);
"""


@pytest.fixture
async def old(empty_database_url: str, tmp_path: Path) -> asyncpg.Connection:
    """Two calls claimed, one of them dialled; three ready, one of them urgent; two not due; one ended."""
    directory = tmp_path / "migrations"
    directory.mkdir()
    for path in sorted(MIGRATIONS_DIRECTORY.glob("*.sql"))[:LAST_OF_0_1]:
        shutil.copy(path, directory)
    await migrate(Database(empty_database_url), directory=directory)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(FILL)
    for number in range(9):
        await connection.execute(
            """SELECT enqueue_call('acme', $1, priority => $2, run_at => now() + $3 * interval '1 h',
                                   agent_name => CASE WHEN $1 LIKE '%5' THEN 'closer' END)""",
            f"+1212555010{number}",
            5 if number in {0, 1, 4} else 0,
            1 if number >= 7 else 0,
        )
    await connection.execute("SELECT stage_due_calls(100)")
    await connection.execute("SELECT * FROM claim_calls(2, (SELECT id FROM workers))")
    await connection.execute("SELECT * FROM begin_dial((SELECT min(id) FROM calls WHERE state = 'claimed'), 1, 'room', NULL)")
    await connection.execute("SELECT request_cancel((SELECT max(id) FROM calls WHERE state = 'ready'))")
    return connection


async def test_what_waits_and_what_is_held_comes_through(old: asyncpg.Connection, empty_database_url: str):
    before = {row["state"]: row["n"] for row in await old.fetch("SELECT state, count(*) AS n FROM calls GROUP BY state")}
    assert before == {"dialing": 1, "claimed": 1, "ready": 4, "scheduled": 2, "canceled": 1}
    await old.close()

    database = Database(empty_database_url, min_size=1, max_size=2)
    await migrate(database)
    await database.open()
    try:
        worker_id = await WorkerStore(database=database).register(name="new", version="0.2.0", capacity=100)
        queue = QueueStore(database=database, worker_id=worker_id)
        assert (await queue.counter_drift()).total == 0
        assert sum((await queue.live_calls_by_state()).values()) == 2

        # Ready calls of 0.1 have no calling window yet: they are never dialled before one is found.
        await queue.close_windows(100)
        due = await queue.due_calls(100)
        assert (await queue.stage(due, AlwaysOpen().place(due))).ready == 4
        claimed = []
        while calls := await queue.claim_calls(10):
            claimed += calls
        assert len(claimed) == 3, "two of five slots were held already"
        assert {call.agent_name for call in claimed} <= {"greeter", "closer"}
        assert claimed[0].to == "+12125550104" or claimed[0].agent_name == "closer"
        assert (await queue.counter_drift()).total == 0
    finally:
        await database.close()


async def test_two_live_calls_to_one_number_are_waited_for(old: asyncpg.Connection, empty_database_url: str):
    await old.execute("UPDATE calls SET to_number = '+12125550100' WHERE state IN ('claimed', 'dialing')")
    await old.execute("SELECT * FROM begin_dial((SELECT id FROM calls WHERE state = 'claimed'), 1, 'room', NULL)")
    with pytest.raises(MigrationRefused, match=r"0005.*2 live calls .*1 numbers.*until these calls have ended"):
        await migrate(Database(empty_database_url))
    assert await old.fetchval("SELECT max(version) FROM schema_migrations") == LAST_OF_0_1
    await old.execute(
        "UPDATE calls SET state = 'canceled', end_reason = 'CANCELED_BY_REQUEST', ended_at = now(), dialled = 'unknown'"
        " WHERE id = (SELECT max(id) FROM calls WHERE state = 'dialing')"
    )
    await migrate(Database(empty_database_url))
    await old.close()


async def test_no_function_of_0_1_is_left_that_its_workers_would_find(old: asyncpg.Connection, empty_database_url: str):
    await migrate(Database(empty_database_url))
    found = await old.fetch(
        "SELECT proname, pronargs - pronargdefaults AS n FROM pg_proc WHERE proname = ANY ($1) ORDER BY proname, n",
        ["stage_due_calls", "begin_dial", "finish_call", "requeue_call", "claim_calls"],
    )
    await old.close()
    assert [tuple(row) for row in found] == [("begin_dial", 5), ("claim_calls", 2), ("requeue_call", 9)]
