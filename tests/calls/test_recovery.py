"""Calls of workers that died: given back if nobody was dialled, else looked at, fenced and ended, never dialled again."""

from __future__ import annotations

import pytest

from orchestrator.calls import recovery as recoveries
from orchestrator.calls.recovery import Recovery
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.calls import CallStore
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall, DialGranted
from orchestrator.store.views import NewCall
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.leg import LiveRoom
from sip.simulated import callees
from sip.simulated.carrier import SimulatedCarrier
from tests.fixtures.orchestra import TIMES, Orchestra, a_queue, furnish


@pytest.fixture
async def survivors(database: Database, carrier: SimulatedCarrier, clock: Clock) -> Orchestra:
    """A worker that is not playing, so that calls stay where the dead one left them."""
    await furnish(database)
    return Orchestra(database=database, carrier=carrier, clock=clock, queue=await a_queue(database), times=TIMES)


async def claimed_by(queue: QueueStore, database: Database) -> ClaimedCall:
    await CallStore(database=database).enqueue([NewCall(account="acme", to=callees.TALKS_8_S, agent_name="greeter")])
    assert await queue.stage_due_calls(limit=10) == 1
    (call,) = await queue.claim_calls(limit=10)
    return call


async def recover(orchestra: Orchestra, *, lease_s: float = 0.0) -> None:
    recovery = Recovery(
        store=orchestra.queue,
        carrier=orchestra.carrier,
        switchboard=orchestra.switchboard,
        lease_s=lease_s,
        interval_s=1.0,
        metrics=orchestra.metrics,
    )
    await recovery._recover()
    await recovery._recover()  # it acts on what two looks in a row have seen


async def test_a_claimed_call_of_a_dead_worker_goes_back_unspent(survivors: Orchestra, database: Database):
    call = await claimed_by(await a_queue(database), database)
    await recover(survivors)
    row = await survivors.row(call.call_id)
    assert row.state in (State.READY, State.SCHEDULED)
    assert row.attempts == 0


async def test_a_live_workers_calls_are_left_alone(survivors: Orchestra, database: Database):
    call = await claimed_by(await a_queue(database), database)
    await recover(survivors, lease_s=60.0)
    assert (await survivors.row(call.call_id)).state is State.CLAIMED


async def test_a_dial_that_may_still_be_on_its_way_is_not_ended(survivors: Orchestra, database: Database):
    dead = await a_queue(database)
    call = await claimed_by(dead, database)
    assert isinstance(await dead.begin_dial(call, room="oc-x", caller_id=None), DialGranted)
    await recover(survivors)
    assert (await survivors.row(call.call_id)).state is State.DIALING


async def test_a_dial_whose_worker_died_is_fenced_and_ended_and_never_dialled_again(
    survivors: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recoveries, "UNCERTAIN_S", -1.0)
    dead = await a_queue(database)
    call = await claimed_by(dead, database)
    await dead.begin_dial(call, room="oc-x", caller_id=None)
    closed = []
    monkeypatch.setattr(survivors.carrier, "close_room", lambda name: closed.append(name) or _nothing())
    await recover(survivors)
    row = await survivors.row(call.call_id)
    assert (row.state, row.end_reason) == (State.NOT_CONNECTED, EndReason.WORKER_LOST)
    assert closed == [survivors.carrier.room_name(call_id=str(call.call_id), epoch=call.epoch)]
    assert survivors.carrier.ledger == []
    await survivors.nothing_is_held()


async def test_a_conversation_whose_worker_died_goes_on_as_long_as_its_leg_lives(
    survivors: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    dead = await a_queue(database)
    call = await claimed_by(dead, database)
    await dead.begin_dial(call, room="oc-x", caller_id=None)
    await dead.record_answer(call, ring_ms=None, ring_error_ms=None, ids={}, detail={})
    name = survivors.carrier.room_name(call_id=str(call.call_id), epoch=call.epoch)
    alive = [a_live_room(name)]
    monkeypatch.setattr(survivors.carrier, "list_rooms", lambda: _nothing(alive))
    await recover(survivors)
    assert (await survivors.row(call.call_id)).state is State.ACTIVE
    alive.clear()
    await recover(survivors)
    row = await survivors.row(call.call_id)
    assert (row.state, row.end_reason) == (State.ENDED, EndReason.LEG_LOST)
    await survivors.nothing_is_held()


def a_live_room(name):
    return LiveRoom(name=name, call_id="1", has_leg=True, has_agent=True, leg_state="active", age_s=10.0)


async def _nothing(value=None):
    return value


async def test_a_claim_whose_answer_was_lost_is_found_by_its_own_worker(survivors: Orchestra, database: Database):
    call = await claimed_by(survivors.queue, database)
    await recover(survivors, lease_s=60.0)
    assert (await survivors.row(call.call_id)).state in (State.READY, State.SCHEDULED)


async def test_a_room_that_could_not_be_closed_is_closed_by_the_next_sweep(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
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
    await recover(orchestra, lease_s=60.0)
    await orchestra.nothing_is_held()
    assert orchestra.switchboard.leftovers == set()
