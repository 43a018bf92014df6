"""What happened while nobody looked, or while an order was on its way, is heard before the order: nobody who has answered is
hung up on by a timer, and nothing is freed while a phone may ring."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.calls.conversation import HANG_UP_PATIENCE_S, STOOD_STILL_REAL_S
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.pool import Database
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.views import CallView
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.simulated import callees
from sip.simulated.leg import SimulatedLeg
from sip.simulated.room import SimulatedRoom
from sip.simulated.steps import Answer
from tests.calls.test_recovery import Company, a_recovery, clock, company, dead, scale, survivor, worker_id
from tests.fixtures.orchestra import PATIENCE_S, Orchestra

__all__ = ["clock", "company", "dead", "scale", "survivor"]

AWAY_S = 12.0
"""Longer than any pause between two tries."""


def kinds_of(view: CallView) -> list[str]:
    return [event.kind for event in view.events]


def the_room(worker: Orchestra) -> SimulatedRoom:
    (room,) = worker.carrier._rooms.values()
    return room


def pick_up(worker: Orchestra) -> None:
    room = the_room(worker)
    room.leg._play(Answer(0.0), worker.clock.now_s())


async def is_live(worker: Orchestra, call_id: CallId, state: State) -> bool:
    occupancy = await worker.queue.occupancy()
    return (await worker.row(call_id)).state is state and (occupancy.slots_used, occupancy.channels_used) == (1, 1)


def unreachable(worker: Orchestra, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Rooms cannot be closed until the returned function is called."""
    close_room = worker.carrier.close_room

    async def fail(_name: str) -> None:
        raise CarrierUnavailable("the media server is away")

    monkeypatch.setattr(worker.carrier, "close_room", fail)
    return lambda: monkeypatch.setattr(worker.carrier, "close_room", close_room)


# -- taken over late ---------------------------------------------------------------------------------------------------------


async def answered_after_its_worker_died(
    company: Company, dead: Orchestra, survivor: Orchestra, clock: Clock, **fields: Any
) -> CallId:
    call_id = await company.dial(dead, callees.TALKS_ON, "ringing", max_duration_s=20.0, **fields)
    await company.kill(dead)
    room = the_room(dead)
    while room.leg.state.value != "active":
        await asyncio.sleep(0.01)
    return call_id


async def test_an_adoption_later_than_the_ring_timer_hears_of_the_answer_first(
    company: Company, dead: Orchestra, survivor: Orchestra, clock: Clock
):
    call_id = await answered_after_its_worker_died(company, dead, survivor, clock, ring_timeout_s=5.0)
    await clock.sleep(7.0)
    view = await company.take_over(call_id, survivor)
    assert (view.call.state, view.call.end_reason) == (State.ENDED, EndReason.MAX_DURATION_REACHED)
    assert "active" in [event.state.value for event in view.events if event.state is not None]


@pytest.mark.parametrize("order", ["ring_timeout", "agent_gone"])
async def test_an_order_that_the_dead_worker_wrote_is_withdrawn_if_what_it_missed_is_there(
    company: Company, dead: Orchestra, survivor: Orchestra, clock: Clock, database: Database, order: str
):
    call_id = await answered_after_its_worker_died(company, dead, survivor, clock)
    recovery = RecoveryStore(database=database, worker_id=worker_id(survivor))
    (stranded,) = await recovery.stranded_calls(lease_s=0.0, held=[])
    assert await dead.queue.record_order(stranded, order, {})
    view = await company.take_over(call_id, survivor)
    assert (view.call.state, view.call.end_reason) == (State.ENDED, EndReason.MAX_DURATION_REACHED)
    assert [event.detail["order"] for event in view.events if event.kind == "order_withdrawn"] == [order]
    assert view.call.outcome.evidence["order_withdrawn"] == order
    await survivor.nothing_is_held()


async def test_a_ring_timeout_of_a_dead_worker_is_carried_out_if_it_still_rings(
    company: Company, dead: Orchestra, survivor: Orchestra, database: Database
):
    call_id = await company.dial(dead, callees.RINGS_OUT, "ringing")
    await company.kill(dead)
    recovery = RecoveryStore(database=database, worker_id=worker_id(survivor))
    (stranded,) = await recovery.stranded_calls(lease_s=0.0, held=[])
    assert await dead.queue.record_order(stranded, "ring_timeout", {})
    view = await company.take_over(call_id, survivor)
    assert view.call.end_reason is EndReason.USER_DID_NOT_PICK_UP
    assert "order_withdrawn" not in kinds_of(view)


# -- a worker that stood still -----------------------------------------------------------------------------------------------


def slow_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a room tells comes through a socket, an HTTP client and a task."""
    next_event = SimulatedRoom.next_event

    async def late(room: SimulatedRoom) -> Any:
        event = await next_event(room)
        await asyncio.sleep(0.05)
        return event

    monkeypatch.setattr(SimulatedRoom, "next_event", late)


async def test_an_answer_during_a_standstill_is_heard_before_the_ring_timer_acts(
    company: Company, survivor: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    slow_news(monkeypatch)
    call_id = await company.dial(survivor, callees.RINGS_OUT, "ringing", ring_timeout_s=5.0, max_duration_s=20.0)
    time.sleep(STOOD_STILL_REAL_S + 0.6)  # the whole process stands still
    pick_up(survivor)
    view = await survivor.wait_until_ended(call_id)
    assert (view.call.state, view.call.end_reason) == (State.ENDED, EndReason.MAX_DURATION_REACHED)
    assert [event.detail["order"] for event in view.events if event.kind == "order"] == ["max_duration"]


async def test_an_agent_that_came_back_during_a_standstill_is_heard_before_it_counts_as_gone(
    company: Company, survivor: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    call_id = await company.dial(survivor, callees.TALKS_ON, "active", max_duration_s=60.0)
    room = the_room(survivor)
    room.agent.leave(survivor.clock.now_s())
    await survivor.wait_until_it(call_id, lambda view: "agent_left" in kinds_of(view))
    slow_news(monkeypatch)
    time.sleep(STOOD_STILL_REAL_S + 1.2)  # the whole process stands still
    room.agent.join(survivor.clock.now_s())
    view = await survivor.wait_until_ended(call_id)
    assert view.call.end_reason is EndReason.MAX_DURATION_REACHED


async def test_after_a_standstill_a_phone_that_nobody_answered_stops_ringing(company: Company, survivor: Orchestra):
    call_id = await company.dial(survivor, callees.RINGS_OUT, "ringing", ring_timeout_s=5.0, max_duration_s=20.0)
    time.sleep(STOOD_STILL_REAL_S + 0.4)  # the whole process stands still
    view = await survivor.wait_until_ended(call_id)
    assert view.call.end_reason is EndReason.USER_DID_NOT_PICK_UP


# -- between the order and its being taken -------------------------------------------------------------------------------------


async def test_an_answer_while_the_ring_timeout_is_being_written_withdraws_it(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    queue = orchestra.stores.queue
    record_order = queue.record_order

    async def record(call: Any, **fields: Any) -> bool:
        written = await record_order(call, **fields)
        if fields["order"] == "ring_timeout":
            pick_up(orchestra)
        return written

    monkeypatch.setattr(queue, "record_order", record)
    call_id = await orchestra.enqueue(to=callees.RINGS_OUT, ring_timeout_s=10.0, max_duration_s=20.0)
    view = await orchestra.wait_until_ended(call_id)
    assert (view.call.state, view.call.end_reason) == (State.ENDED, EndReason.MAX_DURATION_REACHED)
    kinds = kinds_of(view)
    assert (kinds.count("order"), kinds.count("order_withdrawn")) == (2, 1)
    await orchestra.nothing_is_held()


async def test_an_answer_while_the_carrier_cannot_be_told_of_the_ring_timeout_withdraws_it(orchestra: Orchestra):
    orchestra.carrier.faults.hang_up = 10_000
    call_id = await orchestra.enqueue(to=callees.RINGS_OUT, ring_timeout_s=5.0, max_duration_s=20.0)
    await orchestra.wait_until_it(call_id, lambda view: "order" in kinds_of(view))
    pick_up(orchestra)
    await orchestra.wait_until(call_id, "active")
    orchestra.carrier.faults.hang_up = 0
    view = await orchestra.wait_until_ended(call_id)
    assert (view.call.state, view.call.end_reason) == (State.ENDED, EndReason.MAX_DURATION_REACHED)
    await orchestra.nothing_is_held()


async def test_what_is_asked_for_while_a_timers_order_waits_is_not_lost_with_it(orchestra: Orchestra):
    orchestra.carrier.faults.hang_up = 10_000
    call_id = await orchestra.enqueue(to=callees.RINGS_OUT, ring_timeout_s=5.0, max_duration_s=600.0)
    await orchestra.wait_until_it(call_id, lambda view: "order" in kinds_of(view))
    await orchestra.calls.request_cancel(call_id)
    await orchestra.wait_until_it(call_id, lambda view: kinds_of(view).count("order") == 2)
    pick_up(orchestra)
    orchestra.carrier.faults.hang_up = 0
    view = await orchestra.wait_until_ended(call_id)
    assert view.call.end_reason is EndReason.CANCELED_BY_REQUEST
    await orchestra.nothing_is_held()


# -- no end without certainty --------------------------------------------------------------------------------------------------


async def test_no_end_is_written_while_the_carrier_cannot_be_told_to_hang_up(orchestra: Orchestra, clock: Clock):
    call_id = await orchestra.enqueue(to=callees.TALKS_ON, max_duration_s=3600.0)
    await orchestra.wait_until(call_id, "active")
    orchestra.carrier.faults.hang_up = 10_000
    await orchestra.calls.request_cancel(call_id)
    await orchestra.wait_until_it(call_id, lambda view: "order" in kinds_of(view))
    await orchestra.clock.sleep(3 * HANG_UP_PATIENCE_S)
    assert await is_live(orchestra, call_id, State.ACTIVE)
    orchestra.carrier.faults.hang_up = 0
    outcome = (await orchestra.wait_until_ended(call_id)).call.outcome
    assert outcome.reason is EndReason.OPERATOR_HUNG_UP
    assert "end_confirmed" not in outcome.evidence, "the carrier told it at last"
    await orchestra.nothing_is_held()


@pytest.fixture
def silent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The carrier takes our order, and does not tell the end."""

    async def hang_up(_leg: SimulatedLeg) -> None:
        return None

    monkeypatch.setattr(SimulatedLeg, "hang_up", hang_up)


@pytest.mark.usefixtures("silent_ends")
async def test_an_unconfirmed_end_is_written_when_its_room_is_closed_and_no_sooner(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    call_id = await orchestra.enqueue(to=callees.TALKS_ON, max_duration_s=3600.0)
    await orchestra.wait_until(call_id, "active")
    reachable = unreachable(orchestra, monkeypatch)
    await orchestra.calls.request_cancel(call_id)
    await orchestra.wait_until_it(call_id, lambda view: "order" in kinds_of(view))
    await orchestra.clock.sleep(HANG_UP_PATIENCE_S + AWAY_S)
    assert await is_live(orchestra, call_id, State.ACTIVE)
    reachable()
    outcome = (await orchestra.wait_until_ended(call_id)).call.outcome
    assert (outcome.reason, outcome.evidence["end_confirmed"]) == (EndReason.OPERATOR_HUNG_UP, False)
    await orchestra.nothing_is_held()


@pytest.mark.usefixtures("silent_ends")
async def test_a_leg_that_tells_its_end_while_its_room_cannot_be_closed_is_over(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    call_id = await orchestra.enqueue(to=callees.TALKS_ON, max_duration_s=3600.0)
    await orchestra.wait_until(call_id, "active")
    reachable = unreachable(orchestra, monkeypatch)
    await orchestra.calls.request_cancel(call_id)
    await orchestra.wait_until_it(call_id, lambda view: "order" in kinds_of(view))
    await orchestra.clock.sleep(HANG_UP_PATIENCE_S + AWAY_S)
    the_room(orchestra).leg.end_with_its_room(orchestra.clock.now_s())
    assert (await orchestra.wait_until_ended(call_id)).call.end_reason is EndReason.OPERATOR_HUNG_UP
    await orchestra.switchboard.wait_until_empty()
    assert len(orchestra.switchboard.leftovers) == 1
    reachable()


@pytest.mark.usefixtures("silent_ends")
async def test_the_limits_of_the_leg_end_it_at_last(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch):
    reachable = unreachable(orchestra, monkeypatch)
    with orchestra.noticing("active") as answered:
        call_id = await orchestra.enqueue(to=callees.TALKS_ON, max_duration_s=10.0)
        await orchestra.until_noticed(answered)
    the_room(orchestra)._agenda.clear()  # it never tells
    view = await orchestra.wait_until_ended(call_id)
    assert view.call.end_reason is EndReason.MAX_DURATION_REACHED
    assert view.call.outcome.evidence["end_confirmed"] is False
    reachable()


async def test_a_defect_frees_nothing_while_the_phone_may_ring(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch):
    def broken(_after_s: float) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(orchestra.metrics, "dial_to_ringing", broken)
    reachable = unreachable(orchestra, monkeypatch)
    call_id = await orchestra.enqueue(to=callees.TALKS_ON, max_duration_s=3600.0)
    await orchestra.wait_until(call_id, "dialing")
    room = the_room(orchestra)
    while room.leg.state.value != "active":
        await asyncio.sleep(0.01)
    await orchestra.clock.sleep(AWAY_S)
    assert await is_live(orchestra, call_id, State.DIALING)
    reachable()
    assert (await orchestra.wait_until_ended(call_id)).call.end_reason is EndReason.INTERNAL_ERROR
    assert room.leg.ended
    await orchestra.nothing_is_held()


@pytest.mark.usefixtures("silent_ends")
async def test_a_room_that_could_not_be_closed_is_left_alone_once_another_has_taken_the_call_over(
    company: Company, dead: Orchestra, survivor: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    call_id = await company.dial(dead, callees.TALKS_ON, "active", max_duration_s=600.0)
    ((_, epoch),) = dead.switchboard.held
    room = the_room(dead)
    reachable = unreachable(dead, monkeypatch)
    dead.switchboard.cancel(call_id, epoch)
    await dead.wait_until_it(call_id, lambda view: "order" in kinds_of(view))
    await dead.clock.sleep(HANG_UP_PATIENCE_S + AWAY_S)
    await company.recover(survivor)
    dead.switchboard.drop(call_id, epoch)
    reachable()
    async with asyncio.timeout(PATIENCE_S):
        await dead.switchboard.wait_until_empty()
    assert not room.leg.ended
    assert dead.switchboard.leftovers == set()


async def test_one_room_that_cannot_be_closed_keeps_no_other_open(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    reachable = unreachable(orchestra, monkeypatch)
    for _ in range(3):
        await orchestra.wait_until_ended(await orchestra.enqueue(to=callees.HANGS_UP_AT_ONCE))
    await orchestra.switchboard.wait_until_empty()
    stuck, *others = tuple(orchestra.switchboard.leftovers)
    assert len(others) == 2
    reachable()
    close_room = orchestra.carrier.close_room

    async def close(name: str) -> None:
        if name == stuck:
            raise CarrierUnavailable("this room will not go")
        await close_room(name)

    monkeypatch.setattr(orchestra.carrier, "close_room", close)
    with pytest.raises(CarrierUnavailable):
        await a_recovery(orchestra, database, lease_s=60.0)._recover()
    assert orchestra.switchboard.leftovers == {stuck}
