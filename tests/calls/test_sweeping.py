"""Rooms of ours without a live call are ended, rooms of others never, and unusually many only when an operator says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from orchestrator.calls.sweeper import STOPPED, Sweeper
from orchestrator.metrics import Metrics
from orchestrator.scheduling.leadership import Leadership
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.pool import Database
from orchestrator.store.upkeep import UpkeepStore
from orchestrator.store.workers import WorkerStore
from sip.clock import Clock
from sip.leg import RoomName, RoomPlan
from sip.simulated import callees
from sip.simulated.carrier import SimulatedCarrier, World
from tests.fixtures.orchestra import Orchestra

MOST = 3


class Broom:
    """A leader's sweeper, and what it leaves."""

    def __init__(self, *, database: Database, carrier: SimulatedCarrier, leadership: Leadership) -> None:
        self.upkeep = UpkeepStore(database=database)
        self.carrier = carrier
        self.leadership = leadership
        self.metrics = Metrics()
        self._sweeper = Sweeper(
            store=self.upkeep,
            carrier=carrier,
            leadership=leadership,
            most_rooms=MOST,
            interval_s=1.0,
            metrics=self.metrics,
        )

    async def sweep(self, times: int = 1) -> None:
        for _ in range(times):
            await self._sweeper._sweep()

    async def litter(self, *calls: int, carrier: SimulatedCarrier | None = None) -> list[RoomName]:
        """Rooms of calls that nobody has."""
        carrier = carrier or self.carrier
        names = [carrier.room_name(call_id=str(call), epoch=1) for call in calls]
        for name, call in zip(names, calls, strict=True):
            await carrier.open_room(
                RoomPlan(name=name, call_id=str(call), agent_name="greeter", agent_metadata="{}", max_duration_s=60.0)
            )
        return names

    async def rooms(self) -> list[RoomName]:
        return sorted(await self.carrier.room_names())

    def metric(self, name: str) -> float:
        text, _ = self.metrics.exposition("text/plain")
        (line,) = [line for line in text.decode().splitlines() if line.startswith(f"orchestrator_{name} ")]
        return float(line.split()[1])


@pytest.fixture
async def broom(database: Database, carrier: SimulatedCarrier) -> Broom:
    workers = WorkerStore(database=database)
    leadership = Leadership(
        store=workers,
        worker_id=await workers.register(name="leader", version="0", capacity=1),
        name="leadership",
        ttl_s=600.0,
        interval_s=1.0,
        metrics=Metrics(),
    )
    await leadership._renew()
    await ClusterStore(database=database).watch()
    return Broom(database=database, carrier=carrier, leadership=leadership)


@pytest.fixture
async def raw(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_room_without_a_call_is_ended_when_two_sweeps_have_seen_it(broom: Broom):
    await broom.litter(9001)
    await broom.sweep()
    assert await broom.rooms()
    await broom.sweep()
    assert await broom.rooms() == []
    assert broom.metric("rooms_swept_total") == 1


async def test_a_leg_without_a_call_is_ended_with_its_room(orchestra: Orchestra, broom: Broom, raw: asyncpg.Connection):
    call_id = await orchestra.enqueue(to=callees.TALKS_ON)
    await orchestra.wait_until(call_id, "active")
    room = next(iter(orchestra.carrier._rooms.values()))
    # As after a restore: the call is not where it was.
    await raw.execute(
        "UPDATE calls SET state = 'ended', ended_at = now(), end_reason = 'LEG_LOST', dialled = 'yes' WHERE id = $1", call_id
    )
    await broom.sweep(2)
    assert room.leg.ended
    assert await broom.rooms() == []


async def test_rooms_of_live_calls_stay(orchestra: Orchestra, broom: Broom):
    call_id = await orchestra.enqueue(to=callees.TALKS_ON)
    await orchestra.wait_until(call_id, "active")
    await broom.sweep(3)
    assert (await orchestra.row(call_id)).state.value == "active"
    assert len(await broom.rooms()) == 1


async def test_an_empty_database_among_somebody_elses_rooms_touches_none_of_them(
    database: Database, clock: Clock, broom: Broom, raw: asyncpg.Connection
):
    world = World()
    theirs = SimulatedCarrier(clock=clock, deployment_id=uuid4(), world=world)
    names = await broom.litter(*range(1, 50), carrier=theirs)
    ours = SimulatedCarrier(clock=clock, deployment_id=uuid4(), world=world)
    sweeping = Broom(database=database, carrier=ours, leadership=broom.leadership)
    await sweeping.sweep(3)
    assert sorted(world.rooms) == sorted(names)
    assert await raw.fetchval("SELECT count(*) FROM system_events") == 0


async def test_a_sweep_that_would_end_unusually_many_stops_and_says_so_once(broom: Broom, raw: asyncpg.Connection):
    names = await broom.litter(*range(9001, 9001 + MOST + 1))
    await broom.sweep(5)
    assert await broom.rooms() == sorted(names)
    assert broom.metric("sweep_stopped_rooms") == MOST + 1
    assert await raw.fetchval("SELECT count(*) FROM system_events WHERE kind = $1", STOPPED) == 1


async def test_an_operator_lets_one_sweep_end_them(broom: Broom):
    await broom.litter(*range(9001, 9001 + MOST + 1))
    await broom.sweep(2)
    await broom.upkeep.allow_sweep()
    await broom.sweep()
    assert await broom.rooms() == []
    await broom.sweep()
    assert broom.metric("sweep_stopped_rooms") == 0
    names = await broom.litter(*range(9101, 9101 + MOST + 1))
    await broom.sweep(2)
    assert await broom.rooms() == sorted(names), "the word was for one sweep"


async def test_an_operators_word_grows_old(broom: Broom, raw: asyncpg.Connection):
    await broom.upkeep.allow_sweep()
    await raw.execute("UPDATE switches SET sweep_allowed_at = sweep_allowed_at - interval '11 min'")
    names = await broom.litter(*range(9001, 9001 + MOST + 1))
    await broom.sweep(2)
    assert await broom.rooms() == sorted(names)


async def test_nothing_is_ended_while_a_restore_waits_to_be_confirmed(broom: Broom, raw: asyncpg.Connection):
    names = await broom.litter(9001)
    await raw.execute("UPDATE switches SET timeline = '00000007'")
    await broom.sweep(3)
    assert await broom.rooms() == names


async def test_only_the_leader_sweeps(broom: Broom):
    names = await broom.litter(9001)
    await broom.leadership.resign()
    await broom.sweep(3)
    assert await broom.rooms() == names
