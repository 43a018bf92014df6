"""The hot operations read what they need and no more, whatever waits: proved by what the server counts, and by its plans."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from orchestrator.store.pool import Statements
from tests.db.office import Office

ACCOUNTS = 3_000
CALLS = 15_000
POOLS = 4
LIMIT = 20
HOUR = timedelta(hours=1)

SEED = (
    """
SET session_replication_role = replica;
INSERT INTO accounts (name, country, trunk_group_id) SELECT 'a' || a, 'US', 1 FROM generate_series(2, :accounts) a;
INSERT INTO account_slots (account_id, max_concurrent) SELECT id, 5 FROM accounts WHERE id > 1;
INSERT INTO agent_pools (name) SELECT 'agent ' || p FROM generate_series(1, :pools) p;
INSERT INTO routes (trunk_group_id, agent_pool_id) SELECT 1, id FROM agent_pools ORDER BY id;
INSERT INTO calls (account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, state, run_at, expires_at,
                   batch, idempotency_key, priority, window_from, window_until, hours_version)
SELECT 1 + mod(g, :accounts), 1, 1 + mod(g, :pools), '', '+1212' || (5550000 + g), 'agent ' || 1 + mod(g, :pools),
       CASE WHEN mod(g, 4) = 0 THEN 'scheduled' ELSE 'ready' END,
       now() + (mod(g, 4) = 0)::integer * interval '1 h' - mod(g, 977) * interval '1 s', now() + interval '1 day',
       'batch ' || mod(g, 100), 'key ' || g, (mod(g, 10) = 0)::integer, now() - interval '1 h',
       now() + interval '1 h' + mod(g, 977) * interval '1 s', 1
  FROM generate_series(1, :calls) g;
INSERT INTO lanes (account_id, route_id, ready, urgent, share, has_room, has_urgent_room, last_claim_at)
SELECT account_id, route_id, count(*), count(*) FILTER (WHERE priority > 0), 0, true, true, '-infinity'
  FROM calls WHERE state = 'ready' GROUP BY account_id, route_id;
ANALYZE
""".replace(":accounts", str(ACCOUNTS))
    .replace(":calls", str(CALLS))
    .replace(":pools", str(POOLS))
)


class Counted:
    """One session in one transaction, and what its statements read."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._statements = Statements()

    async def run(self, statement: str, *arguments: object) -> tuple[list[asyncpg.Record], dict[str, dict[str, int]]]:
        """The rows, and by table: sequential scans, rows that these read, index scans, rows that these fetched."""
        before = await self._read()
        rows = await self._connection.fetch(self._statements.text(statement), *arguments)
        after = await self._read()
        return rows, {table: {name: counts[name] - before[table][name] for name in counts} for table, counts in after.items()}

    async def _read(self) -> dict[str, dict[str, int]]:
        rows = await self._connection.fetch(
            "SELECT relname, seq_scan, seq_tup_read, idx_scan, idx_tup_fetch FROM pg_stat_xact_user_tables"
        )
        return {row["relname"]: {name: row[name] or 0 for name in row.keys() if name != "relname"} for row in rows}  # noqa: SIM118


@pytest.fixture
async def long_queue(office: Office) -> AsyncIterator[asyncpg.Connection]:
    connection = await office.database.connect()
    await connection.execute(SEED)
    await connection.execute("SET session_replication_role = origin")
    # As in a daemon that has run for a while: the plans that suit any argument.
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def worker_of(connection: asyncpg.Connection) -> Any:
    return await connection.fetchval("SELECT id FROM workers LIMIT 1")


async def test_a_claim_reads_as_many_calls_as_it_returns_and_no_queue(long_queue: asyncpg.Connection):
    counted = Counted(long_queue)
    worker_id = await worker_of(long_queue)
    for _ in range(3):
        rows, read = await counted.run("claim_calls", LIMIT, worker_id)
        assert len(rows) == LIMIT
        assert read["calls"]["seq_scan"] == 0
        # Found in the lanes, changed, checked by a foreign key, shown: each call a few times, and no other.
        assert read["calls"]["idx_tup_fetch"] <= 6 * LIMIT
        assert read["lanes"]["seq_scan"] == 0
        # The neediest of each route, to choose from; then those that are changed.
        assert read["lanes"]["idx_tup_fetch"] <= (POOLS + 3) * (LIMIT + 3)
        assert read["account_slots"]["seq_scan"] == 0
        assert read["account_slots"]["idx_tup_fetch"] <= 4 * (LIMIT + 3)


async def test_the_claims_test_notices_when_the_index_is_gone(long_queue: asyncpg.Connection):
    await long_queue.execute("DROP INDEX calls_ready")
    _, read = await Counted(long_queue).run("claim_calls", LIMIT, await worker_of(long_queue))
    assert read["calls"]["seq_tup_read"] + read["calls"]["idx_tup_fetch"] > CALLS / 2


async def test_a_claim_that_finds_nothing_reads_no_calls(long_queue: asyncpg.Connection):
    await long_queue.execute("UPDATE trunk_channels SET channels = max_channels")
    rows, read = await Counted(long_queue).run("claim_calls", LIMIT, await worker_of(long_queue))
    assert rows == []
    assert read["calls"]["seq_scan"] + read["calls"]["idx_tup_fetch"] == 0


async def inner_statements(connection: asyncpg.Connection, function: str) -> list[str]:
    """The statements of a plpgsql function that begin with WITH or SELECT, with its variables as null parameters."""
    row = await connection.fetchrow("SELECT prosrc, proargnames FROM pg_proc WHERE proname = $1", function)
    assert row is not None
    body = re.sub(r"--[^\n]*", "", row["prosrc"])
    variables = {*(row["proargnames"] or ()), *re.findall(r"\bv_\w+", body)}
    found = []
    for statement in re.findall(r"(?:^|\n)\s*((?:WITH|SELECT|RETURN QUERY)\b[^;]*);", body):
        statement = re.sub(r"^RETURN QUERY\s+", "", statement)
        statement = re.sub(r"\bINTO (?!\w+ \()[\w, ]+?\n", "\n", statement)
        for variable in sorted(variables, key=len, reverse=True):
            statement = re.sub(
                rf"(?<![.\w]){variable}\b(?! \()", f"({TYPED[variable]})" if variable in TYPED else variable, statement
            )
        found.append(statement)
    return found


# The arguments and variables of claim_candidates, each as a value that a plan cannot look through.
TYPED = {
    "p_trunk_group_id": "SELECT current_setting('plan.integer')::integer",
    "p_limit": "SELECT current_setting('plan.integer')::integer",
    "p_first": "SELECT now()",
    "p_until": "SELECT now() + interval '1 s'",
}


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


async def test_the_choice_of_calls_walks_the_two_indexes_in_order_and_sorts_no_queue(long_queue: asyncpg.Connection):
    await long_queue.execute("SELECT set_config('plan.integer', '1', true)")
    (statement,) = [s for s in await inner_statements(long_queue, "claim_candidates") if "lanes" in s]
    (row,) = await long_queue.fetch(f"EXPLAIN (FORMAT json) {statement}")
    plan = nodes(json.loads(row[0])[0]["Plan"])
    used = {node["Index Name"] for node in plan if "Index Name" in node}
    assert {"lanes_claimable", "calls_ready", "account_slots_pkey"} <= used
    scanned = {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}
    assert scanned.isdisjoint({"calls", "lanes", "account_slots"})


async def test_the_plans_test_notices_when_the_index_is_gone(long_queue: asyncpg.Connection):
    await long_queue.execute("SELECT set_config('plan.integer', '1', true)")
    await long_queue.execute("DROP INDEX calls_ready")
    (statement,) = [s for s in await inner_statements(long_queue, "claim_candidates") if "lanes" in s]
    (row,) = await long_queue.fetch(f"EXPLAIN (FORMAT json) {statement}")
    assert not any(node.get("Index Name") == "calls_ready" for node in nodes(json.loads(row[0])[0]["Plan"]))


async def test_the_other_hot_operations_read_no_queue(long_queue: asyncpg.Connection):
    counted = Counted(long_queue)
    worker_id = await worker_of(long_queue)
    claims, _ = await counted.run("claim_calls", LIMIT, worker_id)
    keys = [[claim[name] for claim in claims] for name in ("call_id", "trunk_id", "epoch")]
    claimed, read = await counted.run("describe_claims", *keys)
    assert read["calls"]["seq_scan"] == 0
    assert read["calls"]["idx_tup_fetch"] <= 2 * LIMIT
    one, two = claimed[:2]
    ends = [
        ["not_connected"], ["USER_BUSY"], ["yes"], [None], [486], [""], [None], [""], [""], [""], [None], [None], [None],
        [None], [""], [""], [""], ["{}"], ["nothing"], [""], [None], [None],
    ]  # fmt: skip
    operations: list[tuple[str, list[object], int]] = [
        ("begin_dial", [one["call_id"], one["epoch"], "room", [], "fixed"], 20),
        ("record_ringing", [one["call_id"], one["epoch"], 5, "{}"], 10),
        ("record_order", [one["call_id"], one["epoch"], "ring_timeout", "{}"], 10),
        ("withdraw_order", [one["call_id"], one["epoch"], "ring_timeout", "{}"], 10),
        ("record_note", [one["call_id"], one["epoch"], "note", "{}"], 10),
        ("finish_calls", [[one["account_id"]], [one["call_id"]], [one["epoch"]], *ends], 10),
        ("requeue_call", [two["account_id"], two["call_id"], two["epoch"], 0.0, "agent", "{}", "nothing", "", None], 10),
        ("request_cancel", [two["call_id"]], 10),
        ("canceled_calls", [worker_id], LIMIT),
        ("stranded_calls", [worker_id, 60.0, [], [], 0.0], LIMIT + 1),
        ("lost_claims", [worker_id, keys[0], keys[2]], 2 * LIMIT),
        ("lost_rooms", [[f"oc-1-{call_id}-1" for call_id in keys[0]]], 2 * LIMIT),
        ("adopt_call", [one["call_id"], one["epoch"], worker_id, 60.0], 10),
        ("next_due", [], 2),
        ("due_calls", [LIMIT, None, None], LIMIT),
        ("make_routes", [[call["call_id"] for call in claimed]], 2 * LIMIT),
        ("close_windows", [LIMIT], 1),
        ("release_held_calls", [one["account_id"]], 2),
        ("expire_calls", [LIMIT], 1),
        ("show_call", [one["call_id"]], 2),
    ]
    for statement, arguments, most in operations:
        _, read = await counted.run(statement, *arguments)
        assert read["calls"]["seq_scan"] == 0, statement
        assert read["calls"]["idx_tup_fetch"] <= most, (statement, read["calls"])


async def test_the_ends_of_many_calls_read_each_account_and_lane_a_few_times(long_queue: asyncpg.Connection):
    counted = Counted(long_queue)
    claims, _ = await counted.run("claim_calls", LIMIT, await worker_of(long_queue))
    keys = [[claim[name] for claim in claims] for name in ("account_id", "call_id", "epoch")]
    said = {3: "not_connected", 4: "USER_BUSY", 5: "no", 21: "nothing"}
    rest: list[list[object]] = [[said[place]] * LIMIT if place in said else [] for place in range(3, 25)]
    ended, read = await counted.run("finish_calls", *keys, *rest)
    assert len(ended) == LIMIT
    assert all(row["ours"] for row in ended)
    for table in ("account_slots", "lanes"):
        assert read[table]["seq_scan"] == 0, table
        assert read[table]["idx_tup_fetch"] <= 6 * LIMIT, (table, read[table])


async def test_lists_read_what_they_show(long_queue: asyncpg.Connection):
    await long_queue.execute("SET plan_cache_mode = auto")
    counted = Counted(long_queue)
    arguments = [None, None, None, None, None, 10]
    for _ in range(8):
        for statement, extra in (("list_calls", []), ("list_calls_of_batch", ["batch 7"])):
            rows, read = await counted.run(statement, *arguments, *extra)
            assert len(rows) == 10
            assert read["calls"]["seq_scan"] == 0, statement
            assert read["calls"]["idx_tup_fetch"] <= CALLS / 100, statement


async def test_staging_expiry_and_closing_read_what_they_move(long_queue: asyncpg.Connection):
    await long_queue.execute("UPDATE calls SET run_at = now() - interval '2 h' WHERE state = 'scheduled'")
    await long_queue.execute(
        "UPDATE calls SET run_at = now() - interval '2 h', expires_at = now() - interval '1 h'"
        " WHERE state = 'ready' AND id % 4 = 1"
    )
    await long_queue.execute("UPDATE calls SET window_until = now() WHERE state = 'ready' AND id % 4 = 2")
    counted = Counted(long_queue)
    due, read = await counted.run("due_calls", LIMIT, None, None)
    assert len(due) == LIMIT
    assert read["calls"]["seq_scan"] == 0
    assert read["calls"]["idx_tup_fetch"] <= LIMIT + 1
    after, read = await counted.run("due_calls", LIMIT, due[-1]["run_at"], due[-1]["id"])
    assert {row["id"] for row in after}.isdisjoint(row["id"] for row in due)
    assert read["calls"]["idx_tup_fetch"] <= LIMIT + 1, "pages through calls of one moment without reading those before"
    now = due[0]["asked_at"]
    windows = [[now - HOUR] * LIMIT, [now + HOUR] * LIMIT, [1] * LIMIT, ["UTC"] * LIMIT, [""] * LIMIT]
    rows, read = await counted.run("stage_calls", [row["id"] for row in due], *windows)
    assert rows[0]["staged"] == LIMIT
    assert read["calls"]["seq_scan"] == 0
    assert read["calls"]["idx_tup_fetch"] <= 6 * LIMIT
    rows, read = await counted.run("expire_calls", LIMIT)
    assert len(rows) == LIMIT
    assert read["calls"]["seq_scan"] == 0
    rows, read = await counted.run("close_windows", LIMIT)
    assert rows[0]["closed"] == LIMIT
    assert read["calls"]["seq_scan"] == 0
    assert read["calls"]["idx_tup_fetch"] <= 6 * LIMIT


async def test_a_claim_with_every_agent_pool_closed_or_every_account_full_reads_no_calls(long_queue: asyncpg.Connection):
    worker_id = await worker_of(long_queue)
    for closed in (
        "UPDATE agent_pools SET paused = true",
        "UPDATE agent_pools SET paused = false, capacity = 1, inflight = 1",
        "UPDATE agent_pools SET capacity = NULL, inflight = 0, circuit_opened_at = now(), circuit_until = now() + '1 h'",
        "UPDATE agent_pools SET circuit_until = NULL, circuit_opened_at = NULL; UPDATE account_slots SET paused = true",
        "UPDATE account_slots SET paused = false; UPDATE switches SET stopped_at = now(), stopped_why = 'x'",
    ):
        await long_queue.execute(closed)
        rows, read = await Counted(long_queue).run("claim_calls", LIMIT, worker_id)
        assert rows == [], closed
        assert read["calls"]["seq_scan"] + read["calls"]["idx_tup_fetch"] == 0, closed
        assert read["lanes"]["seq_scan"] + read["lanes"]["idx_tup_fetch"] <= POOLS, closed
    await long_queue.execute("UPDATE switches SET stopped_at = NULL, stopped_why = ''")
    rows, _ = await Counted(long_queue).run("claim_calls", LIMIT, worker_id)
    assert len(rows) == LIMIT
