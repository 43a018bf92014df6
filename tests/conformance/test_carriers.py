"""What the port promises, kept by every carrier: rooms, agents, orders, the fence. What callees do is in test_endings."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any
from uuid import UUID, uuid4

import pytest

from sip.causes import HangupCause
from sip.errors import BadPlan
from sip.events import AgentJoined, AgentLeft, Answered, Dialled, Ended, EndSignal, OptOut, Ringing, RoomClosed
from sip.leg import E164
from sip.livekit.requests import DURATION_BACKSTOP_S
from sip.simulated.scripts import BUSY, BUSY_AT_ONCE, HANGS_UP_AT_ONCE, RINGS_OUT, TALKS_ON, TRUNK_UNREACHABLE
from sip.simulated.steps import Script
from tests.conformance.calls import TestCall
from tests.conformance.rig import SIMULATED, Received, Rig

CROWD = 20


# Agents


async def test_the_agent_that_was_asked_for_joins_and_is_told_once(rig: Rig) -> None:
    call = await TestCall.open(rig)
    before_s = rig.clock.now_s()
    joined = await call.until(AgentJoined)
    assert before_s - joined.at.error_s - rig.tolerance_s <= joined.at.at_s <= rig.clock.now_s()
    assert await call.rest() == []


async def test_nobody_comes_to_a_room_whose_agents_name_nobody_has(rig: Rig) -> None:
    alone = await TestCall.open(rig, agent_name=rig.missing_agent_name)
    await TestCall.with_agent(rig)  # by now the other one would have come too
    assert await alone.rest() == []


async def test_an_agent_that_leaves_is_told_and_not_taken_to_have_meant_it(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON)
    await call.until(Answered)
    await rig.agent_leaves(call.room.name)
    left = await call.until(AgentLeft)
    assert left.identity == next(event.identity for event in call.events if isinstance(event, AgentJoined))
    assert not left.on_purpose
    await call.until_listed(has_leg=True, has_agent=False, leg_state="active")


async def test_an_agent_that_gave_the_end_signal_left_on_purpose(rig: Rig) -> None:
    call = await TestCall.with_agent(rig)
    await rig.agent_signals(call.room.name, "sold")
    await rig.agent_leaves(call.room.name)
    left = await call.until(AgentLeft)
    assert (left.on_purpose, left.reason) == (True, "sold")


async def test_the_end_signal_of_an_agent_that_stays_is_told_once(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON)
    await call.until(Answered)
    await rig.agent_signals(call.room.name, "sold")
    signal = await call.until(EndSignal)
    assert signal.reason == "sold"
    assert await call.rest() == []


async def test_an_opt_out_is_told_once_in_the_agents_words_and_the_call_goes_on(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON)
    await call.until(Answered)
    await rig.agent_opts_out(call.room.name, "never call me again")
    opt_out = await call.until(OptOut)
    assert opt_out.reason == "never call me again"
    assert opt_out.identity == next(event.identity for event in call.events if isinstance(event, AgentJoined))
    assert await call.rest() == []
    await call.until_listed(has_leg=True, has_agent=True, leg_state="active")


# Orders


async def test_hanging_up_while_it_rings_ends_it_as_ordered(rig: Rig) -> None:
    call = await TestCall.dialled(rig, RINGS_OUT)
    await call.until(Ringing)
    await call.hang_up()
    ended = await call.until(Ended)
    assert (ended.cause, ended.dialled, ended.rang) == (HangupCause.ORDERED, Dialled.YES, True)
    await call.far_end_over()


async def test_hanging_up_while_they_talk_ends_it_as_ordered(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON)
    await call.until(Answered)
    await call.hang_up()
    ended = await call.until(Ended)
    assert (ended.cause, ended.dialled, ended.rang) == (HangupCause.ORDERED, Dialled.YES, True)
    await call.far_end_over()


async def test_hanging_up_twice_and_after_the_end_is_harmless_and_tells_one_end(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON)
    await call.until(Ringing)
    await asyncio.gather(call.hang_up(), call.hang_up())
    await call.until(Ended)
    await call.hang_up()
    await call.rest()
    assert call.ended.cause is HangupCause.ORDERED
    assert call.events[-1] is call.ended or isinstance(call.events[-1], AgentLeft)


async def test_hanging_up_a_leg_that_ended_by_itself_changes_nothing(rig: Rig) -> None:
    call = await TestCall.dialled(rig, BUSY)
    await call.until(Ended)
    await call.hang_up()
    await call.rest()
    assert call.ended.cause is HangupCause.USER_BUSY


async def test_closing_the_room_of_a_conversation_ends_it_as_ordered(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON)
    await call.until(Answered)
    await call.close()
    assert (await call.until(Ended)).cause is HangupCause.ORDERED
    await call.far_end_over()
    assert await call.listed() is None


async def test_hanging_up_right_after_the_dial_tells_one_end_and_rings_nobody_for_long(rig: Rig) -> None:
    call = await TestCall.dialled(rig, RINGS_OUT)
    await call.hang_up()
    ended = await call.until(Ended)
    assert ended.cause is HangupCause.ORDERED or ended.dialled is Dialled.NO
    known = await call.far_end_over()
    assert known.invites == 0 or ended.dialled is not Dialled.NO
    await call.close()
    await call.rest()
    assert call.ended is ended
    assert await call.listed() is None


async def test_hanging_up_before_it_rings_ends_it_as_ordered(rig: Rig) -> None:
    # Not while the leg joins its room: what a server makes of a room that is deleted just then is no promise of a carrier.
    call = await TestCall.dialled(rig, TRUNK_UNREACHABLE)
    await call.until_invited()
    await call.hang_up()
    ended = await call.until(Ended)
    assert (ended.cause, ended.rang) == (HangupCause.ORDERED, False)
    assert ended.dialled is not Dialled.NO
    await call.far_end_over()


# The fence


async def test_a_closed_room_is_a_fence_that_no_later_dial_passes(rig: Rig) -> None:
    call = await TestCall.with_agent(rig)
    await call.close()
    try:
        await call.dial(TALKS_ON)
    except BadPlan:
        pass
    else:
        assert (await call.until(Ended)).dialled is Dialled.NO
    assert (await call.far_end()).invites == 0
    assert await call.listed() is None


async def test_closing_a_room_that_does_not_exist_is_no_error(rig: Rig) -> None:
    await rig.carrier.close_room(rig.carrier.room_name(call_id="never-made", epoch=1))
    call = await TestCall.with_agent(rig)
    await call.close()
    await call.close()


async def test_a_room_that_somebody_else_deletes_before_the_dial_is_told_as_closed(rig: Rig) -> None:
    call = await TestCall.with_agent(rig)
    await rig.delete_room(call.room.name)
    await call.until(RoomClosed)


async def test_a_room_that_somebody_else_deletes_in_the_conversation_ends_the_leg(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON)
    await call.until(Answered)
    await rig.delete_room(call.room.name)
    ended = await call.until(Ended)
    assert ended.cause is (HangupCause.ROOM_DELETED if rig.told_why_legs_leave else HangupCause.LEG_LOST)
    await call.far_end_over()


# Rooms


async def test_our_rooms_are_listed_with_who_is_in_them(rig: Rig) -> None:
    empty, waiting, ringing, talking = await asyncio.gather(
        TestCall.open(rig, agent_name=rig.missing_agent_name),
        TestCall.with_agent(rig),
        TestCall.dialled(rig, RINGS_OUT),
        TestCall.dialled(rig, TALKS_ON),
    )
    await asyncio.gather(ringing.until(Ringing), talking.until(Answered))
    await empty.until_listed(has_leg=False, has_agent=False, leg_state="")
    await waiting.until_listed(has_leg=False, has_agent=True, leg_state="")
    await ringing.until_listed(has_leg=True, has_agent=True, leg_state="ringing")
    await talking.until_listed(has_leg=True, has_agent=True, leg_state="active")
    calls = (empty, waiting, ringing, talking)
    assert {room.name: room.call_id for room in await rig.carrier.list_rooms()} == {
        call.room.name: call.plan.call_id for call in calls
    }


async def test_another_deployments_rooms_are_never_listed(rig: Rig) -> None:
    ours = await TestCall.open(rig)
    namesake = UUID(rig.deployment_id.hex[:8] + uuid4().hex[8:])  # its rooms are named as ours are
    for other in (uuid4(), namesake):
        async with rig.stranger(other) as stranger:
            name = stranger.room_name(call_id="theirs", epoch=1)
            await stranger.open_room(dataclasses.replace(ours.plan, name=name, call_id="theirs"))
            assert [room.name for room in await stranger.list_rooms()] == [name]
            assert [room.name for room in await rig.carrier.list_rooms()] == [ours.room.name]


async def test_each_claim_of_a_call_has_a_room_of_its_own(rig: Rig) -> None:
    names = {rig.carrier.room_name(call_id=call_id, epoch=epoch) for call_id in ("a", "b") for epoch in (1, 2)}
    assert len(names) == 4
    assert all(rig.deployment_id.hex[:8] in name for name in names)


async def test_a_cancelled_wait_for_an_event_loses_nothing(rig: Rig) -> None:
    call = await TestCall.open(rig)
    told: list[type] = []
    async with asyncio.timeout(30):
        while Ended not in told:
            waiting = asyncio.ensure_future(call.room.next_event())
            await asyncio.sleep(0.001)
            waiting.cancel()  # as often as not while an event is on its way
            await asyncio.gather(waiting, return_exceptions=True)
            if not waiting.cancelled():
                told.append(type(waiting.result()))
                if told == [AgentJoined]:
                    await call.dial(HANGS_UP_AT_ONCE)
    assert told == [AgentJoined, Ringing, Answered, Ended]


# Requests


async def received_for(rig: Rig, **changes: Any) -> Received:
    """The one request that the far end received for a plan with these changes."""
    call = await TestCall.dialled(rig, BUSY_AT_ONCE, **changes)
    await call.until(Ended)
    (received,) = (await call.far_end()).received
    assert call.dial_plan is not None
    assert (received.to, received.trunk_id) == (call.dial_plan.to, rig.trunk_id)
    return received


async def test_caller_id_display_name_headers_and_digits_reach_the_request(rig: Rig) -> None:
    headers = {"X-Case": "7", "X-Empty": ""}
    received = await received_for(rig, caller_id=E164("+12025550111"), display_name="Acme", headers=headers, dtmf="1w2#")
    assert (received.caller_id, received.display_name) == ("+12025550111", "Acme")
    assert (dict(received.headers), received.dtmf) == (headers, "1w2#")


async def test_ring_time_and_maximum_duration_reach_the_request_with_what_is_added_to_them(rig: Rig) -> None:
    received = await received_for(rig, ring_timeout_s=20.0, post_dial_allowance_s=12.0, max_duration_s=90.0)
    assert received.ring_s == 32.0
    assert received.max_duration_s in (90.0 + DURATION_BACKSTOP_S, None)


async def test_ring_time_and_allowance_are_75_s_at_most_together(rig: Rig) -> None:
    assert (await received_for(rig, ring_timeout_s=70.0, post_dial_allowance_s=12.0)).ring_s == 75.0


async def test_no_display_name_and_an_empty_one_are_two_things(rig: Rig) -> None:
    none, empty = await asyncio.gather(received_for(rig, display_name=None), received_for(rig, display_name=""))
    assert (none.display_name, empty.display_name) == (None, "")


async def test_without_a_caller_id_the_trunk_chooses(rig: Rig) -> None:
    assert (await received_for(rig, caller_id=None)).caller_id == ""


@pytest.mark.parametrize(
    "change", [{"display_name": "x" * 129}, {"headers": {"": "x"}}, {"headers": {"X-A": "b\r\nVia: c"}}, {"dtmf": "12x"}]
)
async def test_a_plan_that_cannot_be_dialled_is_refused_before_anything_is_sent(rig: Rig, change: dict[str, Any]) -> None:
    call = await TestCall.with_agent(rig)
    with pytest.raises(BadPlan):
        await call.dial(BUSY, **change)
    assert (await call.far_end()).received == []


@pytest.mark.parametrize("new_rig", [SIMULATED], indirect=True)  # half a minute on a real server, which the stand-in's tests do
async def test_the_carrier_ends_a_call_half_a_minute_after_our_own_maximum(rig: Rig) -> None:
    call = await TestCall.dialled(rig, TALKS_ON, max_duration_s=5.0)
    answered = await call.until(Answered)
    ended = await call.until(Ended)
    lasted_s = ended.at.at_s - answered.at.at_s
    assert math.isclose(lasted_s, 5.0 + DURATION_BACKSTOP_S, abs_tol=rig.tolerance_s)


# Many at once


async def test_many_calls_at_once_stay_apart(rig: Rig) -> None:
    """Half of them end themselves, half are hung up."""

    def script_of(line: int) -> Script:
        return TALKS_ON if line % 2 else HANGS_UP_AT_ONCE

    async def talk(line: int) -> TestCall:
        call = await TestCall.dialled(rig, script_of(line), line=line)
        await call.until(Answered)
        if line % 2:
            await call.hang_up()
        await call.until(Ended)
        return call

    calls = await asyncio.gather(*(talk(line) for line in range(CROWD)))
    for line, call in enumerate(calls):
        known = await (call.far_end_over() if line % 2 else call.far_end())
        assert [received.to for received in known.received] == [rig.number_for(script_of(line), line=line)]
        assert known.invites == 1
        assert (call.ended.cause is HangupCause.ORDERED) is bool(line % 2), call.ended
    assert len({call.ended.ids["livekit_sip_call_id"] for call in calls}) == CROWD


# Check


async def test_the_check_of_a_healthy_carrier_finds_nothing_fatal_and_leaves_nothing_behind(rig: Rig) -> None:
    findings = await rig.carrier.check(trunk_ids=[rig.trunk_id])
    assert findings
    assert [finding for finding in findings if not finding.ok and finding.fatal] == []
    assert await rig.carrier.list_rooms() == []
