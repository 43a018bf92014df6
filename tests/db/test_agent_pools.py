"""Agent pools: limited exactly, paused, and left alone for a while when no agent comes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from orchestrator.errors import BadInput, NotFound
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.policy import Circuit
from orchestrator.store.records import DialGranted, WaitingFor
from tests.db.office import NEVER_DIALLED, Office

ABSENCES = 3


def number(n: int) -> str:
    return f"+1212555{n:04d}"


class Pool:
    """The pool `agent`, which the office's calls ask for."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.store = AgentPoolStore(database=office.database)

    async def judge(self, *, came: bool, call_id: int = 0, times: int = 1) -> None:
        for _ in range(times):
            await self.office.sql(
                "SELECT judge_pool(p.id, $1::bigint, $2::boolean) FROM agent_pools p WHERE name = 'agent'", call_id, came
            )

    async def state(self) -> Circuit:
        return (await self.store.get("agent")).circuit.state

    async def pass_time(self, seconds: float) -> None:
        ago = f"interval '{seconds} s'"
        await self.office.sql(
            f"UPDATE agent_pools SET circuit_until = circuit_until - {ago}, circuit_opened_at = circuit_opened_at - {ago},"  # noqa: S608
            f" absent_since = absent_since - {ago}, probe_until = probe_until - {ago}"
        )
        await self.office.sql(f"UPDATE dials SET intent_at = intent_at - {ago}")  # noqa: S608

    async def pause_s(self) -> float:
        (row,) = await self.office.sql("SELECT date_part('epoch', circuit_until - circuit_opened_at) AS s FROM agent_pools")
        return round(row["s"])

    async def inflight(self) -> int:
        return (await self.store.get("agent")).inflight


@pytest.fixture
async def pool(office: Office) -> Pool:
    await office.change_account("acme", max_concurrent=1000)
    pool = Pool(office)
    await pool.store.set_capacity("agent", None)
    return pool


async def claim(office: Office, limit: int = 100) -> list[Any]:
    return await office.queue.claim_calls(limit)


async def queue_calls(office: Office, count: int, *, first: int = 1) -> None:
    for n in range(count):
        await office.ready(1, to=number(first + n))


async def test_a_capacity_is_never_exceeded_and_frees_as_calls_end(office: Office, pool: Pool):
    await pool.store.set_capacity("agent", 3)
    await queue_calls(office, 5)
    calls = await claim(office)
    assert len(calls) == 3
    assert await pool.inflight() == 3
    assert await claim(office) == []
    await office.finish(calls[0], NEVER_DIALLED)
    await office.ends.requeue(calls[1], delay_s=60, waiting_for=WaitingFor.SLOT, detail={})
    assert await pool.inflight() == 1
    assert len(await claim(office)) == 2
    assert (await office.drift()).total == 0


async def test_a_capacity_that_is_set_while_calls_are_live_counts_them(office: Office, pool: Pool):
    await queue_calls(office, 4)
    calls = await claim(office)
    assert await pool.inflight() == 0
    row = await pool.store.set_capacity("agent", 2)
    assert (row.capacity, row.inflight) == (2, 4)
    await office.finish(calls[0], NEVER_DIALLED)
    assert await pool.inflight() == 3
    assert (await pool.store.set_capacity("agent", None)).inflight == 0
    await office.finish(calls[1], NEVER_DIALLED)
    assert await pool.inflight() == 0


async def test_a_lower_capacity_admits_nothing_until_enough_calls_ended(office: Office, pool: Pool):
    await pool.store.set_capacity("agent", 4)
    await queue_calls(office, 6)
    calls = await claim(office)
    await pool.store.set_capacity("agent", 2)
    for call in calls[:2]:
        await office.finish(call, NEVER_DIALLED)
        assert await claim(office) == []
    await office.finish(calls[2], NEVER_DIALLED)
    assert len(await claim(office)) == 1


async def test_capacities_that_change_under_load_are_counted_exactly(office: Office, pool: Pool):
    await queue_calls(office, 60)
    choice = random.Random(4)
    stop = asyncio.Event()

    async def work() -> None:
        queue = await office.another_worker()
        for _ in range(30):
            for call in await queue.claim_calls(choice.randint(1, 5)):
                await asyncio.sleep(0)
                if choice.random() < 0.5:
                    await office.finish(call, NEVER_DIALLED)
                else:
                    await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.SLOT, detail={})

    async def change() -> None:
        while not stop.is_set():
            await pool.store.set_capacity("agent", choice.choice([None, 3, 10, 50]))
            await asyncio.sleep(0.005)

    changing = asyncio.create_task(change())
    await asyncio.gather(*(work() for _ in range(4)))
    stop.set()
    await changing
    await pool.store.set_capacity("agent", 5)
    (row,) = await office.sql("SELECT count(*) AS n FROM calls WHERE worker_id IS NOT NULL AND ended_at IS NULL")
    assert await pool.inflight() == row["n"] == 0


async def test_paused_agents_get_no_calls_and_the_calls_wait(office: Office, pool: Pool):
    await queue_calls(office, 2)
    assert (await pool.store.pause("agent", paused=True)).paused
    assert await claim(office) == []
    row = await pool.store.pause("agent", paused=False)
    assert (row.paused, row.ready) == (False, 2)
    assert len(await claim(office)) == 2


async def test_absences_in_a_row_pause_a_pool_and_the_calls_wait_ready(office: Office, pool: Pool):
    await queue_calls(office, ABSENCES + 2)
    for call in (await claim(office))[:ABSENCES]:
        assert await pool.state() is Circuit.CLOSED
        await office.ends.requeue(call, delay_s=60, waiting_for=WaitingFor.AGENT, detail={})
        await pool.judge(came=False, call_id=call.call_id)
    row = await pool.store.get("agent")
    assert (row.circuit.state, row.circuit.why) == (Circuit.OPEN, "no agent came 3 times in a row")
    assert await pool.pause_s() == 30
    await queue_calls(office, 2, first=50)
    assert await claim(office) == []
    assert (await pool.store.get("agent")).ready == 2
    await pool.pass_time(31)
    assert len(await claim(office)) == 1
    assert await claim(office) == []


async def test_an_agent_that_comes_between_ends_the_row(pool: Pool):
    await pool.judge(came=False, times=ABSENCES - 1)
    await pool.judge(came=True)
    await pool.judge(came=False, times=ABSENCES - 1)
    assert await pool.state() is Circuit.CLOSED


async def test_the_pause_grows_with_each_probe_whose_agent_does_not_come(pool: Pool):
    await pool.judge(came=False, times=ABSENCES)
    pauses = []
    for _ in range(7):
        await pool.judge(came=False)
        await pool.pass_time(1801)
        await pool.judge(came=False)
        pauses.append(await pool.pause_s())
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800]
    (row,) = await pool.office.sql("SELECT count(*) AS n FROM system_events WHERE kind = 'agents.circuit_opened'")
    assert row["n"] == 8


async def test_a_probe_whose_agent_came_closes_the_circuit_when_it_is_dialled(office: Office, pool: Pool):
    await queue_calls(office, 3)
    await pool.judge(came=False, times=ABSENCES)
    assert await claim(office) == []
    await pool.pass_time(31)
    (probe,) = await claim(office)
    assert isinstance(await office.begin(probe), DialGranted)
    row = await pool.store.get("agent")
    assert (row.circuit.state, row.absences) == (Circuit.CLOSED, 0)
    assert len(await claim(office)) == 2
    events = await office.sql("SELECT kind, subject FROM system_events ORDER BY id")
    assert [tuple(event) for event in events] == [("agents.circuit_opened", "agent"), ("agents.circuit_closed", "agent")]


async def test_a_call_that_was_dialled_before_the_absences_says_nothing_of_them(office: Office, pool: Pool):
    call = await office.active()
    await pool.pass_time(600)
    await pool.judge(came=False, times=ABSENCES)
    await pool.judge(came=True, call_id=call.call_id)
    assert await pool.state() is Circuit.OPEN


async def test_agents_that_come_cost_no_write(office: Office, pool: Pool):
    (before,) = await office.sql("SELECT *, xmin::text FROM agent_pools")
    await pool.judge(came=True, times=3)
    assert await office.sql("SELECT *, xmin::text FROM agent_pools") == [before]


async def test_an_operator_closes_a_circuit_and_the_absences_are_forgotten(pool: Pool):
    await pool.judge(came=False, times=ABSENCES)
    row = await pool.store.reset_circuit("agent")
    assert (row.circuit.state, row.absences) == (Circuit.CLOSED, 0)
    await pool.judge(came=False, times=ABSENCES - 1)
    assert await pool.state() is Circuit.CLOSED


async def test_what_cannot_be_is_refused_and_changes_nothing(pool: Pool):
    before = await pool.store.list()
    for name, capacity, says in (
        ("agent", 0, "not 0"),
        ("agent", -1, "from 1"),
        ("", 1, "1 to 255"),
        ("x" * 256, 1, "1 to 255"),
    ):
        with pytest.raises(BadInput, match=says):
            await pool.store.set_capacity(name, capacity)
    for operation in (pool.store.get("nobody"), pool.store.pause("nobody", paused=True), pool.store.reset_circuit("nobody")):
        with pytest.raises(NotFound, match="no call has asked for an agent nobody"):
            await operation
    assert await pool.store.list() == before
