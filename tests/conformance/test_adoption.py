"""Every carrier takes over what another worker dialled: what happens from then on is told, and what happened before as exactly
as it is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sip.causes import HangupCause
from sip.events import AgentJoined, Answered, Dialled, Ended, Moment, Ringing
from sip.leg import Carrier, LegRecord, RoomName
from sip.simulated import scripts
from tests.conformance.calls import TestCall
from tests.conformance.rig import Rig


@pytest.fixture
async def other(rig: Rig) -> AsyncIterator[Carrier]:
    """The carrier of another worker of this deployment."""
    async with rig.stranger(rig.deployment_id) as carrier:
        yield carrier


def record_of(call: TestCall, *, ringing: Moment | None = None, answered: Moment | None = None) -> LegRecord:
    assert call.dial_plan is not None
    return LegRecord(
        room=call.room.name, plan=call.dial_plan, dialled_at_s=call.dialled_at_s, ringing=ringing, answered=answered
    )


async def adopted(call: TestCall, other: Carrier, record: LegRecord) -> TestCall:
    found = await other.adopt(record)
    assert found is not None
    room, leg = found
    taken = TestCall(rig=call.rig, plan=call.plan, room=room)
    taken.dial_plan, taken.leg, taken.dialled_at_s = call.dial_plan, leg, call.dialled_at_s
    return taken


async def test_a_ringing_leg_is_heard_until_its_end(rig: Rig, other: Carrier):
    call = await TestCall.dialled(rig, scripts.TALKS_8_S)
    ringing = await call.until(Ringing)
    taken = await adopted(call, other, record_of(call, ringing=ringing.at))
    answered = await taken.until(Answered)
    ended = await taken.until(Ended)
    far_end = await taken.far_end_over()
    assert far_end.invites == 1
    assert far_end.answered_at_s is not None
    assert abs(answered.at.at_s - far_end.answered_at_s) <= answered.at.error_s + rig.tolerance_s
    assert ended.cause in (HangupCause.NORMAL_CLEARING, HangupCause.LEG_LOST)
    assert [type(event) for event in taken.of_the_leg] == [Answered, Ended], "what is on record is not told again"
    assert any(isinstance(event, AgentJoined) for event in taken.events)


async def test_what_happened_while_nobody_watched_is_as_inexact_as_it_is(rig: Rig, other: Carrier):
    call = await TestCall.dialled(rig, scripts.TALKS_ON)
    await call.until(Answered)
    taken = await adopted(call, other, record_of(call))
    answered = await taken.until(Answered)
    far_end = await taken.far_end()
    assert far_end.answered_at_s is not None
    assert answered.at.earliest_s <= far_end.answered_at_s + rig.tolerance_s
    assert far_end.answered_at_s <= answered.at.at_s + answered.at.error_s + rig.tolerance_s
    await taken.hang_up()


async def test_an_adopted_conversation_can_be_hung_up(rig: Rig, other: Carrier):
    call = await TestCall.dialled(rig, scripts.TALKS_ON)
    ringing, answered = await call.until(Ringing), await call.until(Answered)
    taken = await adopted(call, other, record_of(call, ringing=ringing.at, answered=answered.at))
    await taken.hang_up()
    assert (await taken.until(Ended)).cause is HangupCause.ORDERED
    assert (await taken.far_end_over()).invites == 1
    assert [type(event) for event in taken.of_the_leg] == [Ended]


async def test_an_end_before_the_answer_has_no_sip_code(rig: Rig, other: Carrier):
    call = await TestCall.dialled(rig, scripts.DECLINES_AFTER_4_S)
    ringing = await call.until(Ringing)
    taken = await adopted(call, other, record_of(call, ringing=ringing.at))
    ended = await taken.until(Ended)
    assert (ended.signal.sip_code, ended.dialled, ended.rang) == (None, Dialled.YES, True)
    assert ended.cause in (HangupCause.CALL_REJECTED, HangupCause.LEG_LOST)


async def test_where_there_is_no_leg_there_is_nothing_to_adopt(rig: Rig, other: Carrier):
    call = await TestCall.dialled(rig, scripts.BUSY_AT_ONCE)
    await call.until(Ended)
    record = record_of(call)
    assert await other.adopt(record) is None
    await call.close()
    assert await other.adopt(record) is None


async def test_rooms_are_known_by_name_at_one_request(rig: Rig, other: Carrier):
    calls = await asyncio.gather(*(TestCall.open(rig) for _ in range(3)))
    assert set(await other.room_names()) == {call.room.name for call in calls}
    assert RoomName("somebody-elses") not in await other.room_names()


async def test_a_late_request_dials_nobody_into_a_deleted_room(rig: Rig, other: Carrier):
    assert await other.has_fence()


async def test_a_request_whose_time_is_over_does_not_leave(rig: Rig):
    call = await TestCall.with_agent(rig)
    await call.dial(scripts.TALKS_ON, not_after_s=rig.clock.now_s() - 1.0)
    ended = await call.until(Ended)
    assert ended.dialled is Dialled.NO
    assert (await call.far_end()).invites == 0
