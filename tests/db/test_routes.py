"""A call is claimed when its trunk group and its agent pool both have room: capacities, pauses, circuits, switches."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.policy import NewTrunk
from orchestrator.store.records import ClaimedCall, WaitingFor
from orchestrator.store.switches import SwitchStore
from tests.db.office import BUSY, Office

OPEN = "UPDATE {} SET circuit_until = now() + interval '1 h', circuit_opened_at = now() WHERE {}"
HALF_OPEN = "UPDATE {} SET circuit_until = now() - interval '1 s', circuit_opened_at = now() WHERE {}"
CLOSED = "UPDATE {} SET circuit_until = NULL, circuit_opened_at = NULL, probe_call_id = NULL, probe_until = NULL WHERE {}"
PROBE = "SELECT probe_call_id, probe_until > now() AS lasts FROM {} WHERE {}"
LOST = "UPDATE {} SET probe_until = now() - interval '1 s' WHERE {}"
CIRCUITS = [("trunk_channels", "trunk_id = 1"), ("agent_pools", "name = 'agent'")]


@pytest.fixture
def pools(office: Office) -> AgentPoolStore:
    return AgentPoolStore(database=office.database)


async def claim_all(office: Office) -> list[ClaimedCall]:
    calls = []
    while more := await office.queue.claim_calls(20):
        calls += more
    return calls


def by_agent(calls: list[ClaimedCall]) -> dict[str, int]:
    return dict(sorted(Counter(call.agent_name for call in calls).items()))


async def make_group(office: Office, name: str, *trunks: str) -> None:
    await office.sql(
        """WITH g AS (INSERT INTO trunk_groups (name) VALUES ($1) RETURNING id)
           INSERT INTO trunk_group_members (trunk_group_id, trunk_id, position)
           SELECT g.id, t.id, u.n FROM g, unnest($2::text[]) WITH ORDINALITY u (name, n) JOIN trunks t ON t.name = u.name""",
        name,
        list(trunks),
    )


# -- agent pools --------------------------------------------------------------------------------------------------------------


async def test_an_agent_pool_takes_no_more_than_its_capacity_and_holds_up_no_other(office: Office, pools: AgentPoolStore):
    await office.change_account("acme", max_concurrent=100)
    await pools.set_capacity("agent", 3)
    await office.ready(10)
    await office.ready(10, agent_name="other")
    taken = await claim_all(office)
    assert by_agent(taken) == {"agent": 3, "other": 10}
    assert await office.finish(next(call for call in taken if call.agent_name == "agent"), BUSY)
    assert by_agent(await claim_all(office)) == {"agent": 1}
    assert (await office.drift()).total == 0


async def test_a_capacity_that_is_set_while_calls_run_counts_them(office: Office, pools: AgentPoolStore):
    await office.ready(10)
    running = await office.queue.claim_calls(4)
    await pools.set_capacity("agent", 5)
    assert len(await claim_all(office)) == 1
    await pools.set_capacity("agent", 2)
    for call in running[:3]:
        assert await office.finish(call, BUSY)
        assert await claim_all(office) == [], "lowered below what is in use, it admits nothing until enough calls end"
    assert await office.finish(running[3], BUSY)
    assert len(await claim_all(office)) == 1
    await pools.set_capacity("agent", None)
    assert len(await claim_all(office)) == 4
    assert (await office.drift()).total == 0


async def test_a_pool_with_one_place_left_does_not_take_the_turns_of_the_others(office: Office, pools: AgentPoolStore):
    """Accounts of one pool crowd at the head of the queue; what the pool cannot take goes to the others in the same claim."""
    await pools.set_capacity("agent", 1)
    for number in range(30):
        await office.open_account(f"needy-{number}")
        await office.ready(2, account=f"needy-{number}")
    await office.open_account("b", agent_name="other", max_concurrent=100)
    await office.ready(30, account="b")
    assert by_agent(await office.queue.claim_calls(20)) == {"agent": 1, "other": 19}


async def test_one_claim_serves_all_agents_of_a_trunk_group(office: Office):
    """Accounts with agents of their own share a trunk by need, not a batch each."""
    await office.trunks.create(NewTrunk(name="small", sip_trunk_id="ST_s", max_channels=12, max_cps=1000.0))
    for number in range(6):
        await office.open_account(f"a{number}", agent_name=f"agent-{number}", trunk="small")
        await office.ready(10, account=f"a{number}")
    claimed = await office.queue.claim_calls(20)
    assert by_agent(claimed) == {f"agent-{number}": 2 for number in range(6)}


async def test_an_account_is_served_from_all_its_lanes_within_its_limit_and_by_priority(office: Office):
    await office.change_account("acme", max_concurrent=4)
    await office.ready(5, agent_name="x")
    urgent = await office.ready(2, agent_name="y", priority=7)
    await office.ready(5, agent_name="y")
    claimed = await claim_all(office)
    assert len(claimed) == 4
    assert {call.call_id for call in claimed} > set(urgent)
    assert (await office.drift()).total == 0


async def test_a_paused_pool_waits_and_costs_nobody_else_anything(office: Office, pools: AgentPoolStore):
    await office.ready(5)
    await office.ready(3, agent_name="other")
    await pools.pause("agent", paused=True)
    assert by_agent(await claim_all(office)) == {"other": 3}
    await pools.pause("agent", paused=False)
    assert by_agent(await claim_all(office)) == {"agent": 5}


# -- circuits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
async def test_an_open_circuit_gives_nothing_and_a_half_open_one_exactly_one_call(office: Office, circuit: tuple[str, str]):
    await office.ready(5)
    await office.sql(OPEN.format(*circuit))
    assert await claim_all(office) == []
    await office.sql(HALF_OPEN.format(*circuit))
    (probe,) = await claim_all(office)
    (row,) = await office.sql(PROBE.format(*circuit))
    assert (row["probe_call_id"], row["lasts"]) == (probe.call_id, True)
    assert await claim_all(office) == []
    await office.sql(CLOSED.format(*circuit))
    assert len(await claim_all(office)) == 4


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
async def test_a_probe_that_is_never_heard_of_again_is_followed_by_another(office: Office, circuit: tuple[str, str]):
    await office.ready(5)
    await office.sql(HALF_OPEN.format(*circuit))
    assert len(await claim_all(office)) == 1
    await office.sql(LOST.format(*circuit))
    assert len(await claim_all(office)) == 1


@pytest.mark.parametrize("circuit", CIRCUITS, ids=str)
async def test_many_claimers_at_once_get_one_probe_between_them(office: Office, circuit: tuple[str, str]):
    await office.change_account("acme", max_concurrent=100)
    await office.ready(40)
    queues = [await office.another_worker() for _ in range(8)]
    for _ in range(5):
        await office.sql(CLOSED.format(*circuit))
        await office.sql(HALF_OPEN.format(*circuit))
        claimed = await asyncio.gather(*(queue.claim_calls(20) for queue in queues))
        assert sum(len(calls) for calls in claimed) == 1


async def test_calls_pass_a_broken_trunk_by_and_one_of_them_probes_it(office: Office):
    await office.trunks.create(NewTrunk(name="second", sip_trunk_id="ST_2", max_channels=100, max_cps=1000.0))
    await make_group(office, "both", "main", "second")
    await office.ready(6, trunk="both")
    await office.sql(OPEN.format("trunk_channels", "trunk_id = 1"))
    (call,) = await office.queue.claim_calls(1)
    assert call.trunk.name == "second"
    await office.sql(HALF_OPEN.format("trunk_channels", "trunk_id = 1"))
    assert Counter(call.trunk.name for call in await claim_all(office)) == {"main": 1, "second": 4}


# -- switches -----------------------------------------------------------------------------------------------------------------


async def test_nothing_is_claimed_while_the_system_is_stopped_or_held(office: Office):
    switches = SwitchStore(database=office.database)
    await office.ready(3)
    await switches.stop("drill")
    assert await claim_all(office) == []
    await switches.resume()
    await switches.hold("restored")
    assert await claim_all(office) == []
    await office.sql("UPDATE switches SET held_at = NULL, held_why = ''")
    assert len(await claim_all(office)) == 3


# -- a trunk to avoid ---------------------------------------------------------------------------------------------------------


async def test_a_call_that_a_trunk_failed_gets_another_trunk_if_one_has_a_slot(office: Office):
    await office.trunks.create(NewTrunk(name="second", sip_trunk_id="ST_2", max_channels=2, max_cps=1000.0))
    await make_group(office, "both", "main", "second")
    (first,) = await office.ready(1, trunk="both")
    (call,) = await office.queue.claim_calls(1)
    assert call.trunk.name == "main"
    assert await office.begin(call) is not None
    assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.TRUNK_UNREACHABLE, detail={})
    await office.stage()
    others = await office.ready(3, trunk="both")
    claimed = {call.call_id: call.trunk.name for call in await claim_all(office)}
    assert claimed == {first: "second"} | dict.fromkeys(others, "main")
    assert (await office.drift()).total == 0


async def test_a_call_whose_every_other_trunk_is_full_goes_to_the_one_that_failed(office: Office):
    call = await office.dialing()
    assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={})
    await office.stage()
    (again,) = await office.queue.claim_calls(20)
    assert (again.call_id, again.trunk.name) == (call.call_id, "main")


# -- one route after another --------------------------------------------------------------------------------------------------


async def test_pools_and_routes_are_made_when_a_call_first_needs_them(office: Office):
    await office.enqueue(1, agent_name="brand new")
    assert await office.sql("SELECT FROM agent_pools WHERE name = 'brand new'") == []
    await asyncio.gather(*(office.stage() for _ in range(6)))
    assert len(await claim_all(office)) == 1
    rows = await office.sql("SELECT r.id FROM agent_pools p JOIN routes r ON r.agent_pool_id = p.id WHERE name = 'brand new'")
    assert len(rows) == 1


async def test_an_enqueuers_open_transaction_holds_up_neither_staging_nor_claims(office: Office):
    await office.ready(3)
    connection = await office.database.connect()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT enqueue_call('acme', '+12125550188', agent_name => 'agent')")
    async with asyncio.timeout(60):
        await office.enqueue(2)
        assert await office.stage() == 2
        assert len(await claim_all(office)) == 5
    await transaction.rollback()
    await connection.close()
