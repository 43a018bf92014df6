"""Calls of workers that died: given back if nobody was dialled; else taken over by one other worker, which goes on with a leg
that is alive and ends one that is gone, after the fence. Nobody is dialled again, nobody is hung up on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from orchestrator.calls import adoption
from orchestrator.calls import recovery as recovery_of_calls
from orchestrator.calls.heart import Heart, Standing
from orchestrator.calls.recovery import Recovery
from orchestrator.errors import DatabaseUnavailable
from orchestrator.ids import CallId, WorkerId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.accounts import AccountStore
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.policy import AccountChange
from orchestrator.store.pool import Database
from orchestrator.store.records import WaitingFor
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.views import CallView
from orchestrator.store.workers import WorkerStore
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import Dialled
from sip.simulated import callees, scripts
from sip.simulated.carrier import SimulatedCarrier, World
from sip.simulated.scripts import number_of
from tests.fixtures.orchestra import PATIENCE_S, TIMES, Orchestra, a_queue, furnish

SCALE = 10.0
"""Slow enough that a call is taken over in the middle of what happens to it."""


class Company:
    """Workers on one database and one media server, of which some die."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.world = World()
        self.deployment_id = uuid4()
        self._stack = AsyncExitStack()

    async def hire(self) -> Orchestra:
        """A worker that takes no calls by itself."""
        carrier = SimulatedCarrier(clock=self.clock, deployment_id=self.deployment_id, world=self.world)
        queue = await a_queue(self.database)
        return Orchestra(database=self.database, carrier=carrier, clock=self.clock, queue=queue, times=TIMES)

    async def dial(self, worker: Orchestra, to: str, *states: str, **fields: object) -> CallId:
        """Have this worker take a call until it is so far, which is noticed at once: it may not last."""
        async with playing_on(worker):
            with worker.noticing(*states) as done:
                call_id = await worker.enqueue(to=to, **fields)
                await worker.until_noticed(done)
        return call_id

    async def forget(self, worker: Orchestra) -> None:
        """It is dead for everybody from now on, whatever the lease."""
        connection = await self.database.connect()
        try:
            await connection.execute("UPDATE workers SET stopped_at = now() WHERE id = $1", worker_id(worker))
        finally:
            await connection.close()

    async def kill(self, worker: Orchestra) -> None:
        """As by kill -9: nothing more is done or written."""
        tasks = list(worker.switchboard._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def recover(self, worker: Orchestra, *, lease_s: float = 0.0) -> None:
        """Two looks of this worker: it acts on what both have seen."""
        recovery = a_recovery(worker, self.database, lease_s=lease_s)
        await recovery._recover()
        await recovery._recover()

    async def take_over(self, call_id: CallId, worker: Orchestra) -> CallView:
        """Recover it and see how it ends."""
        await self.recover(worker)
        return await worker.wait_until_ended(call_id)


class playing_on:  # noqa: N801  a context of tests
    """Loops of a worker for the time of a block; its conductors stay."""

    def __init__(self, worker: Orchestra) -> None:
        self._worker = worker

    async def __aenter__(self) -> None:
        worker = self._worker
        self._tasks = [asyncio.create_task(part.run()) for part in (worker.stager, worker.claimer)]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def worker_id(worker: Orchestra) -> WorkerId:
    return worker.queue._worker_id


def a_recovery(worker: Orchestra, database: Database, *, lease_s: float = 0.0) -> Recovery:
    return Recovery(
        store=RecoveryStore(database=database, worker_id=worker_id(worker)),
        carrier=worker.carrier,
        switchboard=worker.switchboard,
        lease_s=lease_s,
        interval_s=1.0,
        metrics=worker.metrics,
    )


@pytest.fixture
def scale() -> float:
    return SCALE


@pytest.fixture
def clock(scale: float) -> Clock:
    return Clock(scale=scale)


slowly = pytest.mark.parametrize("scale", [SCALE / 4])
"""For tests in which the callee is to be found before it hangs up by itself."""


@pytest.fixture
async def company(database: Database, clock: Clock, unhurried: None) -> Company:
    await furnish(database)
    return Company(database=database, clock=clock)


@pytest.fixture
async def dead(company: Company) -> Orchestra:
    """A worker that will die."""
    return await company.hire()


@pytest.fixture
async def survivor(company: Company) -> AsyncIterator[Orchestra]:
    worker = await company.hire()
    yield worker
    worker.switchboard.hang_up_all()
    async with asyncio.timeout(PATIENCE_S):
        await worker.switchboard.wait_until_empty()


async def test_a_claimed_call_of_a_dead_worker_goes_back_unspent(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await dead.enqueue(to=callees.TALKS_8_S)
    await dead.stager._step()
    (claimed,) = await dead.queue.claim_calls(limit=10)
    await company.recover(survivor)
    row = await survivor.row(call_id)
    assert (row.state, row.attempts, row.epoch) == (State.READY, 0, claimed.epoch)
    assert company.world.ledger == []


async def test_a_live_workers_calls_are_left_alone(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.TALKS_ON, "active")
    epoch = (await dead.row(call_id)).epoch
    await company.recover(survivor, lease_s=60.0)
    assert (await survivor.row(call_id)).epoch == epoch
    assert survivor.switchboard.live == 0
    dead.switchboard.hang_up_all()
    await dead.switchboard.wait_until_empty()


@slowly
async def test_a_conversation_goes_on_and_ends_as_it_would_have(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.TALKS_8_S, "active")
    await company.kill(dead)
    view = await company.take_over(call_id, survivor)
    outcome = view.call.outcome
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (State.ENDED, EndReason.USER_HUNG_UP_IN_CALL)
    assert outcome.talk_ms is not None
    assert abs(outcome.talk_ms - 8_000) < 1_500
    assert outcome.ring_ms is not None, "what the dead worker measured stays"
    assert outcome.evidence["adopted"] is True
    assert len(company.world.ledger) == len(view.dials) == 1
    assert view.dials[0].spent
    assert "adopted" in {event.kind for event in view.events}
    await survivor.nothing_is_held()


async def test_a_phone_that_rings_goes_on_ringing_until_our_timer(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.RINGS_OUT, "ringing", ring_timeout_s=30.0)
    await company.kill(dead)
    await company.clock.sleep(15.0)
    view = await company.take_over(call_id, survivor)
    outcome = view.call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.dialled) == (EndReason.USER_DID_NOT_PICK_UP, Dialled.YES)
    assert outcome.evidence["order"] == "ring_timeout"
    assert outcome.ring_ms is not None
    assert 28_000 < outcome.ring_ms < 45_000, "counted from its first ring, not from the adoption"
    assert len(company.world.ledger) == 1
    await survivor.nothing_is_held()


async def test_an_answer_that_nobody_watched_is_an_interval_from_whose_beginning_timers_run(
    company: Company, dead: Orchestra, survivor: Orchestra, clock: Clock
):
    call_id = await company.dial(dead, callees.TALKS_ON, "ringing", max_duration_s=30.0)
    await company.kill(dead)
    room = dead.carrier.room((await survivor.calls.show(call_id)).dials[0].room)
    while room.leg.state.value != "active":
        await asyncio.sleep(0.01)
    await clock.sleep(20.0)
    began_s = clock.now_s()
    view = await company.take_over(call_id, survivor)
    outcome = view.call.outcome
    assert outcome is not None
    assert outcome.reason is EndReason.MAX_DURATION_REACHED
    assert clock.now_s() - began_s < 30.0, "the conversation began before we saw it"
    assert outcome.ring_ms is not None
    assert outcome.ring_error_ms is not None
    assert outcome.ring_error_ms >= 9_900, "half of the time in which nobody watched"
    assert outcome.ring_ms - outcome.ring_error_ms <= 1_000 <= outcome.ring_ms + outcome.ring_error_ms


@slowly
async def test_an_adopted_leg_that_is_declined_has_no_sip_code(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.DECLINES_AFTER_4_S, "ringing")
    await company.kill(dead)
    outcome = (await company.take_over(call_id, survivor)).call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.sip_code, outcome.dialled) == (EndReason.USER_HUNG_UP_RINGING, None, Dialled.YES)


@pytest.mark.parametrize(
    ("callee", "state", "reason", "dialled"),
    [
        (callees.TALKS_8_S, "active", EndReason.LEG_LOST, Dialled.YES),
        (callees.RINGS_OUT, "ringing", EndReason.WORKER_LOST, Dialled.YES),
        (callees.TRUNK_UNREACHABLE, "dialing", EndReason.WORKER_LOST, Dialled.UNKNOWN),
    ],
)
async def test_a_leg_that_is_gone_is_fenced_and_ended_and_never_dialled_again(
    company: Company,
    dead: Orchestra,
    survivor: Orchestra,
    monkeypatch: pytest.MonkeyPatch,
    callee: str,
    state: str,
    reason: EndReason,
    dialled: Dialled,
):
    call_id = await company.dial(dead, callee, state)
    await company.kill(dead)
    company.world.rooms.clear()
    fenced: list[tuple[str, State]] = []
    close_room = survivor.carrier.close_room

    async def close(name):
        fenced.append((name, (await survivor.row(call_id)).state))
        await close_room(name)

    monkeypatch.setattr(survivor.carrier, "close_room", close)
    view = await company.take_over(call_id, survivor)
    outcome = view.call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.dialled) == (reason, dialled)
    assert fenced[0] == (view.dials[0].room, State(state)), "the fence comes before the end"
    assert len(company.world.ledger) == 1
    await survivor.nothing_is_held()


async def test_without_a_fence_a_dial_is_not_given_up_before_it_can_no_longer_ring(
    company: Company, dead: Orchestra, survivor: Orchestra, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    async def has_none() -> bool:
        return False

    monkeypatch.setattr(survivor.carrier, "has_fence", has_none)
    monkeypatch.setattr(adoption, "UNCERTAIN_S", 30.0)
    call_id = await company.dial(dead, callees.TRUNK_UNREACHABLE, "dialing")
    await company.kill(dead)
    company.world.rooms.clear()
    dialled_s = clock.now_s()
    view = await company.take_over(call_id, survivor)
    assert view.call.end_reason is EndReason.WORKER_LOST
    assert clock.now_s() - dialled_s > 25.0


@slowly
async def test_a_late_request_is_found_and_conducted(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.TALKS_8_S, "dialing")
    await company.kill(dead)
    (name, room), *_ = company.world.rooms.items()
    del company.world.rooms[name]
    await company.recover(survivor)
    company.world.rooms[name] = room
    assert (await survivor.wait_until_ended(call_id)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL


async def test_nothing_is_ended_while_the_media_server_cannot_be_asked(
    company: Company, dead: Orchestra, survivor: Orchestra, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    call_id = await company.dial(dead, callees.TALKS_ON, "active", max_duration_s=30.0)
    await company.kill(dead)
    adopt = survivor.carrier.adopt

    async def unreachable(record):
        raise CarrierUnavailable("the media server is away")

    monkeypatch.setattr(survivor.carrier, "adopt", unreachable)
    await company.recover(survivor)
    await clock.sleep(12.0)
    assert (await survivor.row(call_id)).state is State.ACTIVE
    monkeypatch.setattr(survivor.carrier, "adopt", adopt)
    assert (await survivor.wait_until_ended(call_id)).call.end_reason is EndReason.MAX_DURATION_REACHED


async def test_an_order_that_was_written_and_not_carried_out_is_carried_out(
    company: Company, dead: Orchestra, survivor: Orchestra, database: Database
):
    call_id = await company.dial(dead, callees.RINGS_OUT, "ringing")
    ((_, epoch),) = dead.switchboard.held
    await company.kill(dead)
    call = next(
        iter(await RecoveryStore(database=database, worker_id=worker_id(survivor)).stranded_calls(lease_s=0.0, held=[]))
    )
    assert (call.call_id, call.epoch) == (call_id, epoch)
    assert await dead.queue.record_order(call, "cancel", {})
    view = await company.take_over(call_id, survivor)
    assert view.call.end_reason is EndReason.CANCELED_BY_REQUEST
    assert company.world.rooms == {}


async def test_an_agent_that_vanished_meanwhile_is_missed(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.TALKS_ON, "active")
    await company.kill(dead)
    (room,) = company.world.rooms.values()
    room.agent.leave(company.clock.now_s())
    assert (await company.take_over(call_id, survivor)).call.end_reason is EndReason.AGENT_LOST


async def test_a_request_to_cancel_reaches_an_adopted_call(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.TALKS_ON, "active")
    await company.kill(dead)
    await company.recover(survivor)
    await survivor.calls.request_cancel(call_id)
    await survivor.cancels._look()
    assert (await survivor.wait_until_ended(call_id)).call.end_reason is EndReason.OPERATOR_HUNG_UP


async def test_of_two_survivors_one_takes_each_call(company: Company, dead: Orchestra, survivor: Orchestra, database: Database):
    long_calls = [number_of(scripts.TALKS_ON, area_code=code) for code in (212, 213, 214)]
    calls = [await company.dial(dead, number, "ringing") for number in long_calls]
    await company.kill(dead)
    other = await company.hire()
    recoveries = [a_recovery(worker, database, lease_s=600.0) for worker in (survivor, other)]
    await company.forget(dead)
    for _ in range(2):
        await asyncio.gather(*(recovery._recover() for recovery in recoveries))
    assert survivor.switchboard.live + other.switchboard.live == 3
    assert not set(survivor.switchboard.held) & set(other.switchboard.held)
    for call_id in calls:
        assert (await survivor.row(call_id)).epoch == 2
    for worker in (survivor, other):
        worker.switchboard.hang_up_all()
        await worker.switchboard.wait_until_empty()


@slowly
async def test_a_second_death_is_survived_too(company: Company, dead: Orchestra, survivor: Orchestra):
    call_id = await company.dial(dead, callees.TALKS_8_S, "active")
    await company.kill(dead)
    second = await company.hire()
    await company.recover(second)
    await second.wait_until_it(call_id, lambda view: view.call.epoch == 2)
    await company.kill(second)
    view = await company.take_over(call_id, survivor)
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert (view.call.epoch, len(view.dials)) == (3, 1)


@slowly
async def test_a_worker_that_comes_to_life_again_finds_its_epoch_stale_and_stops_touching_the_call(
    company: Company, dead: Orchestra, survivor: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    call_id = await company.dial(dead, callees.TALKS_8_S, "active")
    touched: list[str] = []
    for name in ("close_room", "dial"):
        monkeypatch.setattr(dead.carrier, name, lambda *_, name=name: touched.append(name))
    await company.recover(survivor)  # the other one goes on all the while, as after SIGCONT
    dead.switchboard.hang_up_all()
    async with asyncio.timeout(PATIENCE_S):
        await dead.switchboard.wait_until_empty()
    assert touched == []
    assert (await survivor.wait_until_ended(call_id)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL


async def test_a_beat_of_the_heart_drops_what_others_have_taken_over(
    company: Company, dead: Orchestra, survivor: Orchestra, database: Database
):
    call_id = await company.dial(dead, callees.TALKS_ON, "active")
    await company.recover(survivor)
    assert dead.switchboard.live == 1
    heart = Heart(
        store=WorkerStore(database=database),
        recovery=RecoveryStore(database=database, worker_id=worker_id(dead)),
        cluster=ClusterStore(database=database),
        worker_id=worker_id(dead),
        switchboard=dead.switchboard,
        standing=Standing(lease_s=1.0),
        interval_s=1.0,
        metrics=dead.metrics,
    )
    await heart._beat()
    async with asyncio.timeout(PATIENCE_S):
        await dead.switchboard.wait_until_empty()
    assert (await survivor.row(call_id)).state is State.ACTIVE
    assert await survivor.carrier.list_rooms()


def test_a_process_that_stood_still_is_in_doubt_until_the_database_has_spoken():
    now_s = 100.0
    standing = Standing(lease_s=30.0, now_s=lambda: now_s)
    now_s = 140.0
    assert standing.in_doubt()
    standing.tick()
    assert standing.in_doubt()
    standing.confirm(asked_s=100.0)
    assert standing.in_doubt(), "that answer was given before it stood still"
    standing.confirm(asked_s=139.0)
    assert not standing.in_doubt()


def test_a_database_that_is_away_for_long_is_no_standstill():
    now_s = 100.0
    standing = Standing(lease_s=30.0, now_s=lambda: now_s)
    for _ in range(200):
        now_s += 0.5
        standing.tick()
        assert not standing.in_doubt()


async def test_a_lost_attempt_is_followed_by_another_only_by_policy_and_no_sooner_than_later(
    company: Company, dead: Orchestra, survivor: Orchestra, database: Database
):
    await AccountStore(database=database).update("acme", AccountChange(max_attempts=2))
    call_id = await company.dial(dead, callees.RINGS_OUT, "ringing")
    await company.kill(dead)
    company.world.rooms.clear()
    await company.recover(survivor)
    view = await survivor.wait_until_it(call_id, lambda view: view.call.state is State.SCHEDULED)
    assert view.call.waiting_for is WaitingFor.REDIAL
    assert view.attempts[0].end_reason is EndReason.WORKER_LOST
    assert len(company.world.ledger) == 1


async def test_after_an_outage_of_the_database_nobodys_silence_counts_for_a_lease(
    company: Company, dead: Orchestra, survivor: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    call_id = await company.dial(dead, callees.TALKS_ON, "active")
    recovery = a_recovery(survivor, database, lease_s=0.3)
    now_s = 1000.0
    monkeypatch.setattr(recovery_of_calls, "boot_time_s", lambda: now_s)

    async def away(**_: object) -> list[object]:
        raise DatabaseUnavailable("the database is away")

    with monkeypatch.context() as outage:
        outage.setattr(recovery._store, "stranded_calls", away)
        await asyncio.sleep(0.4)
        with pytest.raises(DatabaseUnavailable):
            await recovery._recover()
    for _ in range(3):
        await recovery._recover()
    assert survivor.switchboard.live == 0, "its worker could not be heard, and may live"
    now_s += 0.4
    for _ in range(2):
        await recovery._recover()
    assert survivor.switchboard.held == [(call_id, 2)]


async def test_a_claim_whose_answer_was_lost_is_found_by_its_own_worker(company: Company, survivor: Orchestra):
    call_id = await survivor.enqueue(to=callees.TALKS_8_S)
    await survivor.stager._step()
    await survivor.queue.claim_calls(limit=10)
    await company.recover(survivor, lease_s=60.0)
    assert (await survivor.row(call_id)).state is State.READY


async def test_a_room_that_could_not_be_closed_is_closed_by_the_next_sweep(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    close_room = orchestra.carrier.close_room

    async def unreachable(name):
        raise CarrierUnavailable("the media server is away")

    monkeypatch.setattr(orchestra.carrier, "close_room", unreachable)
    call = await orchestra.enqueue(to=callees.HANGS_UP_AT_ONCE)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL, "the end is written although the room stays"
    await orchestra.switchboard.wait_until_empty()
    assert len(await orchestra.carrier.list_rooms()) == 1
    monkeypatch.setattr(orchestra.carrier, "close_room", close_room)
    await a_recovery(orchestra, database, lease_s=60.0)._recover()
    await orchestra.nothing_is_held()
    assert orchestra.switchboard.leftovers == set()
