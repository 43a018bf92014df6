"""Agents come when asked, and misbehave when asked."""

from __future__ import annotations

import json

import pytest

from sip.causes import HangupCause
from sip.errors import RoomRefused
from sip.events import AgentJoined, AgentLeft, Answered, Ended, EndSignal, OptOut, Ringing, RoomClosed
from sip.simulated import callees
from sip.simulated.agents import Behaviour, behaviour_of

from .conftest import Desk, all_until, to_the_end, until


def of_agents(events) -> list[type]:
    return [type(event) for event in events if isinstance(event, AgentJoined | AgentLeft | EndSignal)]


async def test_the_agent_comes_after_its_delay(desk: Desk):
    before_s = desk.clock.now_s()
    room = await desk.carrier.open_room(desk.room_plan())
    after_s = desk.clock.now_s()
    joined = await until(room, AgentJoined)
    assert before_s + 0.2 <= joined.at.at_s <= after_s + 0.2


async def test_a_missing_agent_never_comes(desk: Desk):
    plan = desk.room_plan(agent_name="nobody")
    room = await desk.carrier.open_room(plan)
    assert desk.carrier.room(room.name).is_quiet
    (listed,) = await desk.carrier.list_rooms()
    assert (listed.has_agent, listed.has_leg, listed.call_id) == (False, False, plan.call_id)


async def test_an_agent_stays_and_ends_the_call_when_the_script_says_so(desk: Desk):
    room, leg = await desk.dialled(callees.AGENT_SAYS_GOODBYE)
    answered = await until(room, Answered)
    signal = await until(room, EndSignal)
    assert signal.at.at_s - answered.at.at_s == pytest.approx(7.0, abs=0.1)
    await leg.hang_up()
    events = await to_the_end(room)
    assert events[-1].cause is HangupCause.ORDERED
    assert of_agents(events) == []


async def test_an_agent_that_ends_after_5_s_gives_its_signal_and_waits(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_8_S, behaviour="ends_after_5_s")
    answered = await until(room, Answered)
    events = await to_the_end(room)
    assert of_agents(events) == [EndSignal]
    assert events[0].at.at_s - answered.at.at_s == pytest.approx(5.0, abs=0.1)
    assert events[0].reason


async def test_an_agent_that_opts_out_says_so_and_stays(desk: Desk):
    room, _leg = await desk.dialled(callees.AGENT_SAYS_GOODBYE, behaviour="opts_out")
    answered = await until(room, Answered)
    opt_out = await until(room, OptOut)
    assert opt_out.at.at_s - answered.at.at_s == pytest.approx(3.0, abs=0.1)
    assert opt_out.reason
    signal = await until(room, EndSignal)
    assert signal.at.at_s - answered.at.at_s == pytest.approx(7.0, abs=0.1)


async def test_an_agent_whose_signal_nobody_heeds_leaves_10_s_later(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_ON, behaviour="ends_after_5_s")
    signal = await until(room, EndSignal)
    left = await until(room, AgentLeft)
    assert (left.on_purpose, left.reason) == (True, signal.reason)
    assert left.at.at_s - signal.at.at_s == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("behaviour", ["crashes", "leaves_quietly"])
async def test_an_agent_that_leaves_without_a_signal_did_not_mean_it_and_stays_away(desk: Desk, behaviour: str):
    room, _leg = await desk.dialled(callees.TALKS_8_S, behaviour=behaviour)
    answered = await until(room, Answered)
    events = await to_the_end(room)
    assert of_agents(events) == [AgentLeft]
    assert events[0].at.at_s - answered.at.at_s == pytest.approx(3.0, abs=0.1)
    assert not events[0].on_purpose
    assert events[0].reason == {"crashes": "CONNECTION_TIMEOUT", "leaves_quietly": "CLIENT_INITIATED"}[behaviour]


async def test_an_agent_that_returns_is_away_for_4_s(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_8_S, behaviour="returns")
    left, joined, _ended = await to_the_end_of_the_conversation(room)
    assert (type(left), type(joined)) == (AgentLeft, AgentJoined)
    assert joined.identity == left.identity
    assert joined.at.at_s - left.at.at_s == pytest.approx(4.0, abs=0.1)


async def test_an_agent_that_returned_still_ends_the_call_for_its_script(desk: Desk):
    room, _leg = await desk.dialled(callees.STAYS_SILENT, behaviour="returns")
    await until(room, Answered)
    assert of_agents(await all_until(room, EndSignal)) == [AgentLeft, AgentJoined, EndSignal]


async def test_an_agent_that_vanishes_while_it_rings_leaves_before_the_answer(desk: Desk):
    room, _leg = await desk.dialled(callees.DECLINES_AFTER_4_S, behaviour="vanishes_while_ringing")
    ringing = await until(room, Ringing)
    left = await until(room, AgentLeft)
    assert not left.on_purpose
    assert left.at.at_s - ringing.at.at_s == pytest.approx(1.0, abs=0.1)
    (listed,) = await desk.carrier.list_rooms()
    assert (listed.has_agent, listed.has_leg, listed.leg_state) == (False, True, "ringing")
    assert of_agents(await to_the_end(room)) == []


async def test_an_agent_that_leaves_on_purpose_says_so_with_its_leave(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_8_S, behaviour="leaves_on_purpose")
    left, _ended = await to_the_end_of_the_conversation(room)
    assert isinstance(left, AgentLeft)
    assert (left.on_purpose, left.reason) == (True, "done")


async def test_an_agent_that_deletes_the_room_ends_the_call_and_the_room(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_ON, behaviour="deletes_room")
    answered = await until(room, Answered)
    ended = await until(room, Ended)
    assert ended.cause is HangupCause.ROOM_DELETED
    assert ended.signal.disconnect_reason == "ROOM_DELETED"
    assert ended.at.at_s - answered.at.at_s == pytest.approx(3.0, abs=0.1)
    assert list(await desk.carrier.list_rooms()) == []


@pytest.mark.parametrize(("to", "kind"), [(None, RoomClosed), (callees.TRUNK_UNREACHABLE, Ended), (callees.RINGS_OUT, Ended)])
async def test_a_room_that_is_deleted_before_the_answer_says_that_it_was(desk: Desk, to, kind):
    room = await desk.room()
    if to is not None:
        await desk.carrier.dial(room, desk.dial_plan(to))
    if to == callees.RINGS_OUT:
        await until(room, Ringing)
    desk.carrier.room(room.name).delete(desk.clock.now_s())
    event = await until(room, kind)
    if isinstance(event, Ended):
        assert event.cause is HangupCause.ROOM_DELETED


async def test_a_test_can_have_an_agent_do_things(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_ON)
    await until(room, Answered)
    agent = desk.carrier.room(room.name).agent
    agent.give_signal(desk.clock.now_s(), "sold")
    agent.leave(desk.clock.now_s())
    assert (await until(room, EndSignal)).reason == "sold"
    left = await until(room, AgentLeft)
    assert (left.on_purpose, left.reason) == (True, "sold")


@pytest.mark.parametrize("asked", ["crash", "", 5, None])
async def test_a_behaviour_that_nobody_knows_is_refused_with_those_that_are_known(desk: Desk, asked):
    with pytest.raises(RoomRefused, match="vanishes_while_ringing") as refused:
        await desk.carrier.open_room(desk.room_plan(metadata={"simulated_agent": asked}))
    assert repr(asked) in str(refused.value)
    assert list(await desk.carrier.list_rooms()) == []


async def test_metadata_that_are_no_json_are_refused(desk: Desk):
    with pytest.raises(RoomRefused, match="not JSON"):
        await desk.carrier.open_room(desk.room_plan(agent_metadata="{"))


@pytest.mark.parametrize("metadata", ["{}", '{"metadata": {}}', '{"metadata": {"name": "Ann"}}'])
def test_without_a_wish_an_agent_stays(metadata: str):
    assert behaviour_of(metadata) is Behaviour.STAYS


@pytest.mark.parametrize("behaviour", Behaviour, ids=lambda behaviour: behaviour.value)
def test_every_behaviour_can_be_asked_for_by_name(behaviour: Behaviour):
    assert behaviour_of(json.dumps({"metadata": {"simulated_agent": behaviour.value}})) is behaviour


async def to_the_end_of_the_conversation(room):
    await until(room, Answered)
    return await to_the_end(room)
