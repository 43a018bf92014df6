"""How the queue stands: exact where it can be, bounded where it must be, and never a walk through all calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from orchestrator.errors import NotFound
from orchestrator.ids import CallId
from orchestrator.lookout import Lookout
from orchestrator.metrics import Metrics
from orchestrator.store import queue_view
from orchestrator.store.age import AgeStore
from orchestrator.store.bottlenecks import BottleneckStore
from orchestrator.store.pool import Statements
from orchestrator.store.queue_view import Count, QueueViewStore
from orchestrator.store.records import WaitingFor
from tests.db.office import Office

LATER = datetime.now(UTC) + timedelta(hours=5)


@pytest.fixture
def view(office: Office) -> QueueViewStore:
    return QueueViewStore(database=office.database)


async def hold(office: Office, waiting_for: str, n: int) -> None:
    """Some scheduled calls that wait for something."""
    ids = await office.enqueue(n, run_at=LATER)
    await office.sql("UPDATE calls SET waiting_for = $1 WHERE id = ANY ($2::bigint[])", waiting_for, ids)


async def test_what_runs_and_is_ready_is_exact_and_what_waits_says_for_what_and_until_when(office, view):
    await office.active()
    await office.ready(3, priority=5)
    await office.ready(2)
    await hold(office, "calling_window", 2)
    await hold(office, "redial", 1)
    await office.enqueue(4, run_at=LATER)
    await office.open_account("idle")
    await office.open_account("patient")
    await office.enqueue(1, account="patient", run_at=LATER)
    seen = await view.view()
    assert [account.name for account in seen.accounts] == ["acme", "patient"]
    acme = seen.accounts[0]
    assert (acme.running, acme.max_concurrent, acme.ready, acme.urgent) == (1, 10, 5, 3)
    assert {held.waiting_for: held.count for held in acme.held} == {
        WaitingFor.CALLING_WINDOW: Count(2),
        WaitingFor.REDIAL: Count(1),
    }
    assert all(held.until == LATER for held in acme.held)
    assert {later.account: later.count for later in seen.later} == {"acme": Count(4), "patient": Count(1)}
    (trunk,) = seen.trunks
    assert (trunk.name, trunk.running, trunk.ready) == ("main", 1, 5)
    (pool,) = seen.agent_pools
    assert (pool.name, pool.running, pool.capacity, pool.ready) == ("agent", 1, None, 5)
    assert seen.system.scheduled == Count(8)
    assert (seen.system.workers, seen.system.seats) == (1, 100)


async def test_counts_stop_at_their_limit_and_say_so(office, view, monkeypatch):
    monkeypatch.setattr(queue_view, "MOST_COUNTED", 2)
    monkeypatch.setattr(queue_view, "MOST_COUNTED_IN_ALL", 3)
    monkeypatch.setattr(queue_view, "MOST_AHEAD", 2)
    await hold(office, "agent", 5)
    (account,) = (await view.view()).accounts
    assert account.held[0].count == Count(2, more=True)
    assert (await view.held())[WaitingFor.AGENT] == Count(3, more=True)
    assert (await view.system()).scheduled == Count(3, more=True)
    ids = await office.ready(4)
    assert (await view.standing(ids[3])).ahead == Count(2, more=True)
    assert (await view.standing(ids[1])).ahead == Count(1)


async def test_the_accounts_with_the_most_work_come_first_and_one_can_be_asked_for(office, view):
    for n in range(5):
        await office.open_account(f"a{n}")
        await office.ready(n + 1, account=f"a{n}")
    seen = await view.view(accounts=2)
    assert [account.name for account in seen.accounts] == ["a4", "a3"]
    assert seen.accounts_in_all == 5
    (one,) = (await view.view(account="a0")).accounts
    assert one.ready == 1
    with pytest.raises(NotFound):
        await view.view(account="nobody")
    with pytest.raises(NotFound):
        await view.standing(CallId(4711))


async def test_the_lookout_tells_the_metrics_and_no_label_is_a_number_or_a_call(office):
    await office.active()
    await office.ready(3)
    await office.ready(1, agent_name="agent of +12125550100")
    await hold(office, "agent", 2)
    metrics = Metrics()
    lookout = Lookout(
        calls=office.queue,
        bottlenecks=BottleneckStore(database=office.database),
        queue=QueueViewStore(database=office.database),
        age=AgeStore(database=office.database),
        metrics=metrics,
    )
    await lookout.measure()
    await lookout.look()
    text = metrics.exposition("")[0].decode()
    for line in (
        'orchestrator_account_running{account="acme"} 1.0',
        'orchestrator_account_slots{account="acme"} 10.0',
        'orchestrator_account_ready{account="acme"} 4.0',
        'orchestrator_account_waiting{account="acme",waiting_for="agent"} 2.0',
        'orchestrator_calls_waiting{waiting_for="agent"} 2.0',
        'orchestrator_calls_waiting{waiting_for="redial"} 0.0',
        'orchestrator_trunk_ready{trunk="main"} 4.0',
        'orchestrator_agents_ready{agent="other"} 4.0',
        'orchestrator_agents_absent_calls{agent="other"} 2.0',
        'orchestrator_workers{state="taking_calls"} 1.0',
        "orchestrator_calls_scheduled 2.0",
        "orchestrator_dialling_stopped 0.0",
    ):
        assert line in text.splitlines(), line
    assert "2125550100" not in text


# -- plans

ACCOUNTS = 2_000
CALLS = 20_000

SEED = """
SET session_replication_role = replica;
INSERT INTO accounts (name, country, trunk_group_id) SELECT 'a' || a, 'US', 1 FROM generate_series(2, :accounts) a;
INSERT INTO account_slots (account_id, max_concurrent) SELECT id, 5 FROM accounts WHERE id > 1;
INSERT INTO agent_pools (name) VALUES ('a');
INSERT INTO routes (trunk_group_id, agent_pool_id) VALUES (1, 1);
INSERT INTO calls (account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, state, run_at, expires_at,
                   waiting_for)
SELECT 1 + mod(g, :accounts), 1, 1, '', '+12125550100', 'a', CASE WHEN mod(g, 2) = 0 THEN 'scheduled' ELSE 'ready' END,
       now() + interval '1 h' - mod(g, 977) * interval '1 s', now() + interval '1 day',
       CASE WHEN mod(g, 40) = 0 THEN 'redial' ELSE 'slot' END
  FROM generate_series(1, :calls) g;
INSERT INTO lanes (account_id, route_id, ready, share, has_room, has_urgent_room, last_claim_at)
SELECT account_id, 1, count(*), 0, true, true, '-infinity' FROM calls WHERE state = 'ready' GROUP BY account_id;
ANALYZE
""".replace(":accounts", str(ACCOUNTS)).replace(":calls", str(CALLS))


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
async def test_no_look_walks_through_the_calls(office, plans):
    connection = await office.database.connect()
    statements = Statements()
    try:
        await connection.execute(SEED)
        await connection.execute("SET session_replication_role = origin")
        await connection.execute(f"SET plan_cache_mode = {plans}")
        for name, arguments, most in (
            ("queue_accounts", (50, 100, 20, None, 0), 50 * 100 + 500),
            ("queue_accounts", (50, 100, 20, "a7", 100), 400),
            ("queue_later", (500,), 500),
            ("queue_trunks", (), 0),
            ("queue_pools", (50, 100), 200),
            ("queue_system", (60.0, 500), 500),
            ("queue_held", (100,), 1200),
            ("call_standing", (CALLS - 1, 100, 60.0), 150),
            ("oldest_snapshot", (), 0),
        ):
            async with connection.transaction():
                before = await calls_read(connection)
                await connection.fetch(statements.text(name), *arguments)
                after = await calls_read(connection)
            assert after["seq_scan"] == before["seq_scan"], name
            assert after["idx_tup_fetch"] - before["idx_tup_fetch"] <= most, name
    finally:
        await connection.close()


async def calls_read(connection: asyncpg.Connection) -> dict[str, int]:
    row = await connection.fetchrow("SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'calls'")
    return {name: row[name] or 0 for name in ("seq_scan", "idx_tup_fetch")}
