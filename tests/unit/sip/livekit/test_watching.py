"""Agents, legs and rooms are watched by looking; webhooks hint and explain; calls survive without them and without LiveKit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sip.causes import HangupCause
from sip.clock import Clock
from sip.events import AgentJoined, AgentLeft, Dialled, EndSignal, OptOut, RoomClosed
from sip.livekit.leg import Stage
from sip.livekit.room import LiveKitRoom
from sip.livekit.watch import Watch
from tests.unit.sip.livekit.conftest import QUICK, Tally, ended, next_event
from tests.unit.sip.livekit.fake_livekit import RING_OUT, TwirpError, sip_error

AGENT = "agent-AJ_1"


async def look_again(line, count: int = 2) -> None:
    """Wait until so many more looks have been answered: the last but one began after this."""
    await line.livekit.until_received("ListParticipants", line.livekit.count("ListParticipants") + count)


def left_notice(line, room, identity: str, reason: str = "CLIENT_INITIATED", **attributes: str):
    return line.livekit.webhook("participant_left", room=room.name, identity=identity, reason=reason, attributes=attributes)


async def until(fact) -> None:
    """Wait for a fact that no event tells."""
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.002)


async def test_an_agent_is_found_by_looking(line):
    room = await line.open()
    line.livekit.puts_agent(room.name)
    joined = await next_event(room)
    assert isinstance(joined, AgentJoined)
    assert joined.identity == AGENT


async def test_the_room_is_made_with_its_agent_asked_for_and_never_restarted(line):
    room = await line.open()
    _, request = line.livekit.received[0]
    assert request.name == room.name == "oc-01234567-7-1"
    assert [(agent.agent_name, agent.metadata, agent.restart_policy) for agent in request.agents] == [
        ("sales", '{"call_id": "7"}', 1)
    ]
    assert '"orchestrator_deployment": "01234567-89ab-cdef-0123-456789abcdef"' in request.metadata
    assert 0 < request.empty_timeout <= 120
    assert 0 < request.departure_timeout <= 60


async def test_a_hidden_listener_is_not_an_agent(line):
    room = await line.open()
    line.livekit.puts_agent(room.name, "listener-1")
    line.livekit.people[room.name]["listener-1"].permission.hidden = True
    await look_again(line)
    line.livekit.puts_agent(room.name, "agent-AJ_2")
    joined = await next_event(room)
    assert isinstance(joined, AgentJoined)
    assert joined.identity == "agent-AJ_2"


async def test_an_agent_that_vanishes_has_left_without_purpose(line):
    room = await line.open()
    line.livekit.puts_agent(room.name)
    await next_event(room)
    line.livekit.removes(room.name, AGENT)
    left = await next_event(room)
    assert isinstance(left, AgentLeft)
    assert not left.on_purpose


async def test_an_agent_that_gave_the_end_signal_leaves_on_purpose(line):
    room, _, _ = await line.answered()
    line.livekit.puts_agent(room.name)
    await next_event(room)
    line.livekit.puts_agent(room.name, **{"orchestrator.end": "goal reached"})
    signal = await next_event(room)
    assert isinstance(signal, EndSignal)
    assert signal.reason == "goal reached"
    line.livekit.removes(room.name, AGENT)
    left = await next_event(room)
    assert isinstance(left, AgentLeft)
    assert left.on_purpose
    assert left.reason == "goal reached"


async def test_an_opt_out_is_told_once_however_often_it_is_seen(line):
    room, _, _ = await line.answered()
    line.livekit.puts_agent(room.name)
    await next_event(room)
    line.livekit.puts_agent(room.name, **{"orchestrator.do_not_call": "never again"})
    opt_out = await next_event(room)
    assert isinstance(opt_out, OptOut)
    assert (opt_out.identity, opt_out.reason) == (AGENT, "never again")
    await look_again(line)
    line.livekit.removes(room.name, AGENT)
    line.receives(left_notice(line, room, AGENT, "CLIENT_INITIATED", **{"orchestrator.do_not_call": "never again"}))
    assert isinstance(await next_event(room), AgentLeft)


async def test_an_opt_out_that_no_look_caught_is_found_in_the_webhook(make_line):
    line = await make_line(active_look_s=60.0)
    room = await line.open()
    line.livekit.puts_agent(room.name)
    await next_event(room)
    line.livekit.removes(room.name, AGENT)
    line.receives(left_notice(line, room, AGENT, "CLIENT_INITIATED", **{"orchestrator.do_not_call": "never again"}))
    opt_out = await next_event(room)
    assert isinstance(opt_out, OptOut)
    assert opt_out.reason == "never again"
    assert isinstance(await next_event(room), AgentLeft)


async def test_an_opt_out_of_somebody_who_is_no_agent_counts_for_nothing(line):
    room, _, _ = await line.answered()
    line.receives(left_notice(line, room, "listener-1", "CLIENT_INITIATED", **{"orchestrator.do_not_call": "never again"}))
    line.livekit.puts_agent(room.name)
    assert isinstance(await next_event(room), AgentJoined)


async def test_an_end_signal_that_no_look_caught_is_found_in_the_webhook(make_line):
    line = await make_line(active_look_s=60.0)
    room = await line.open()
    line.livekit.puts_agent(room.name)
    await next_event(room)
    line.livekit.removes(room.name, AGENT)
    line.receives(left_notice(line, room, AGENT, "CLIENT_INITIATED", **{"orchestrator.end": "bye"}))
    left = await next_event(room)
    assert isinstance(left, AgentLeft)
    assert left.on_purpose
    assert left.reason == "bye"


async def test_the_webhook_that_tells_the_purpose_of_a_leave_is_waited_for(make_line):
    line = await make_line(ring_notice_s=10.0)
    room = await line.open()
    line.livekit.puts_agent(room.name)
    await next_event(room)
    line.receives(line.livekit.webhook("room_started", room=room.name))
    line.livekit.removes(room.name, AGENT)
    await until(lambda: room._agents[AGENT].left is not None)
    line.receives(left_notice(line, room, AGENT, "CLIENT_INITIATED", **{"orchestrator.end": "bye"}))
    left = await next_event(room)
    assert isinstance(left, AgentLeft)
    assert left.on_purpose


async def test_a_room_that_is_closed_before_any_dial_is_told(line):
    room = await line.open()
    line.livekit.deletes_room(room.name)
    assert isinstance(await next_event(room), RoomClosed)


async def test_an_answered_leg_that_is_gone_without_a_webhook_is_lost_and_says_so(line):
    room, _, dial = await line.answered()
    line.livekit.removes(room.name, dial.request.participant_identity)
    end, _ = await ended(room)
    assert end.cause is HangupCause.LEG_LOST
    assert end.evidence["unexplained"] == "no webhook told why the leg left"
    assert end.rang


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("CLIENT_INITIATED", HangupCause.NORMAL_CLEARING),
        ("ROOM_DELETED", HangupCause.ROOM_DELETED),
        ("UNKNOWN_REASON", HangupCause.LEG_LOST),
        ("CONNECTION_TIMEOUT", HangupCause.LEG_LOST),
    ],
)
async def test_the_webhook_says_why_an_answered_leg_is_gone(make_line, reason, cause):
    line = await make_line(active_look_s=60.0, sweep_s=60.0)
    room, _, dial = await line.answered()
    identity = dial.request.participant_identity
    line.livekit.removes(room.name, identity)
    line.receives(left_notice(line, room, identity, reason))
    end, _ = await ended(room)
    assert end.cause is cause
    assert end.signal.disconnect_reason == reason
    assert end.at.error_s <= 1.5


async def test_a_webhook_alone_ends_nothing(line):
    room, _, dial = await line.answered()
    identity = dial.request.participant_identity
    line.receives(left_notice(line, room, identity))
    await look_again(line, 4)
    line.livekit.puts_agent(room.name)
    assert isinstance(await next_event(room), AgentJoined)
    line.livekit.removes(room.name, identity)
    end, _ = await ended(room)
    assert end.cause is HangupCause.NORMAL_CLEARING


async def test_a_webhook_before_the_list_of_participants_has_changed_is_followed_up(make_line):
    line = await make_line(active_look_s=60.0, sweep_s=60.0)
    room, _, dial = await line.answered()
    identity = dial.request.participant_identity
    line.receives(left_notice(line, room, identity))
    await look_again(line, 1)
    line.livekit.removes(room.name, identity)
    end, _ = await ended(room)
    assert end.cause is HangupCause.NORMAL_CLEARING


async def test_a_hangup_that_a_look_shows_is_as_good_as_a_webhook(line):
    room, _, dial = await line.answered()
    line.livekit.puts_leg(dial, "hangup")
    end, _ = await ended(room)
    assert end.cause is HangupCause.NORMAL_CLEARING
    assert end.evidence["source"] == "poll"


async def test_a_leg_that_drops_out_of_the_list_for_a_moment_is_not_gone(make_line):
    line = await make_line(leg_reason_grace_s=0.5, active_look_s=0.1)
    room, _, dial = await line.answered()
    identity = dial.request.participant_identity
    leg = line.livekit.people[room.name].pop(identity)
    await until(lambda: room.leg.stage is Stage.GONE)
    line.livekit.people[room.name][identity] = leg
    line.livekit.puts_agent(room.name)
    assert isinstance(await next_event(room), AgentJoined)
    assert room.leg.stage is Stage.ANSWERED


async def test_livekit_being_unreachable_ends_no_call(make_line):
    line = await make_line(leg_reason_grace_s=0.1)
    room, _, dial = await line.answered()
    down = TwirpError("unavailable", "upstream", 503)
    line.livekit.misbehaviour = {"ListParticipants": down, "ListRooms": down, "DeleteRoom": down}
    await look_again(line, 3)
    line.livekit.misbehaviour.clear()
    line.livekit.puts_agent(room.name)
    assert isinstance(await next_event(room), AgentJoined)
    line.livekit.puts_leg(dial, "hangup")
    end, _ = await ended(room)
    assert end.cause is HangupCause.NORMAL_CLEARING


async def test_an_unreachable_livekit_is_asked_ever_less_often(make_line):
    line = await make_line(looks_per_s=1000.0)
    watch = line.carrier._watch
    room = await line.open()
    line.livekit.misbehaviour["ListParticipants"] = TwirpError("unavailable", "upstream", 503)

    async def pause_after_failures(count: int) -> float:
        await until(lambda: watch._failures >= count)
        return watch._paused_until_s - line.carrier._clock.now_s()

    assert await pause_after_failures(1) < await pause_after_failures(4)
    line.livekit.misbehaviour.clear()
    line.livekit.puts_agent(room.name)
    await next_event(room)
    assert watch._failures == 0


async def test_a_server_that_restarts_loses_its_legs(line):
    first, _, _ = await line.answered()
    second, _, _ = await line.answered()
    line.livekit.restarts()
    for room in (first, second):
        end, _ = await ended(room)
        assert end.cause is HangupCause.LEG_LOST


async def test_many_active_rooms_are_watched_by_listings_not_by_a_look_each(make_line):
    line = await make_line(active_look_s=60.0, request_timeout_s=30.0, dial_connect_s=30.0)
    calls = [await line.answered() for _ in range(40)]
    await line.livekit.until_received("ListRooms", line.livekit.count("ListRooms") + 2)
    looks = line.livekit.count("ListParticipants")
    await line.livekit.until_received("ListRooms", line.livekit.count("ListRooms") + 5)
    # A change in the number of participants may have been pending; nothing else makes it look.
    assert line.livekit.count("ListParticipants") - looks < 40
    room, _, dial = calls[17]
    line.livekit.removes(room.name, dial.request.participant_identity)
    end, _ = await ended(room)
    assert end.cause is HangupCause.LEG_LOST
    _, listing = [entry for entry in line.livekit.received if entry[0] == "ListRooms"][-1]
    assert len(listing.names) == 40


async def test_looks_stay_within_their_allowance_and_those_that_matter_go_first(make_line):
    line = await make_line(looks_per_s=10.0, request_timeout_s=30.0, active_look_s=0.01)
    for number in range(5):
        room = await line.open(f"1{number}")
        line.livekit.puts_agent(room.name)
        await next_event(room)
    # Five rooms that want a look each 10 ms use all of it, and an agent is found nevertheless.
    began_s, looks = line.carrier._clock.now_s(), line.tally.looks
    waiting = await line.open("99")
    line.livekit.puts_agent(waiting.name)
    assert isinstance(await next_event(waiting), AgentJoined)
    for _ in range(5):
        await look_again(line, 3)
    took_s = line.carrier._clock.now_s() - began_s
    assert line.tally.looks - looks <= took_s * 10.0 + 3


class GatedServer:
    """Answers one look at a time, when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Semaphore(0)

    async def list_participants(self, room):
        self.asked.append(room)
        await self.gate.acquire()
        return []


async def test_a_room_that_waits_for_its_agent_is_looked_at_before_active_rooms_that_are_due_longer():
    server, clock = GatedServer(), Clock()
    timings = replace(QUICK, looks_at_once=1, active_look_s=0.0)
    watch = Watch(server=server, clock=clock, timings=timings, observer=Tally())

    def room(name: str, *, opened_ago_s: float) -> LiveKitRoom:
        made = LiveKitRoom(name=name, clock=clock, timings=timings, webhooks_work=lambda: False, changed=watch.reschedule)
        made.opened_at_s -= opened_ago_s
        return made

    for number in range(3):
        active = room(f"active-{number}", opened_ago_s=60.0)
        active._agent_came = True
        watch.add(active)
    watching = asyncio.create_task(watch.run())
    await until(lambda: len(server.asked) == 1)
    watch.add(room("waiting", opened_ago_s=1.0))
    server.gate.release()
    await until(lambda: len(server.asked) == 2)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert server.asked[1] == "waiting"


async def test_a_defect_in_one_rooms_reading_blinds_no_other(line):
    broken = await line.open("1")
    broken.see = None
    whole = await line.open("2")
    line.livekit.puts_agent(whole.name)
    assert isinstance(await next_event(whole), AgentJoined)
    await until(lambda: line.tally.errors["defect"] >= 1)


async def test_without_webhooks_a_failure_is_told_at_once_though_ringing_may_have_been_missed(make_line):
    line = await make_line(ring_poll_s=60.0, ring_notice_s=60.0)
    room, _, dial = await line.dialled()
    dial.fail(sip_error(603, "Decline"))
    end, _ = await ended(room)
    assert end.cause is HangupCause.NUMBER_BLOCKED
    assert end.evidence["ring_unseen"]


async def test_ringing_that_no_look_caught_is_found_in_the_webhook_if_it_changes_the_cause(make_line):
    line = await make_line(ring_poll_s=60.0, ring_notice_s=10.0)
    room, _, dial = await line.dialled()
    await line.livekit.until_received("ListParticipants", 1)
    line.receives(line.livekit.webhook("room_started", room=room.name))
    dial.fail(sip_error(603, "Decline"))
    await until(lambda: room.leg.stage is Stage.NOTICE_AWAITED)
    line.receives(left_notice(line, room, dial.request.participant_identity, "USER_REJECTED", **{"sip.callStatus": "ringing"}))
    end, before = await ended(room)
    assert end.cause is HangupCause.CALL_REJECTED
    assert [event.source for event in before] == ["webhook"]
    assert end.evidence["ring_source"] == "webhook"
    assert end.dialled is Dialled.YES


async def test_a_webhook_that_does_not_come_is_not_waited_for_for_ever(make_line):
    line = await make_line(ring_poll_s=60.0, ring_notice_s=0.1)
    room, _, dial = await line.dialled()
    line.receives(line.livekit.webhook("room_started", room=room.name))
    dial.fail(sip_error(603, "Decline"))
    end, _ = await ended(room)
    assert end.cause is HangupCause.NUMBER_BLOCKED


async def test_a_busy_means_the_same_rung_or_not_and_waits_for_no_webhook(make_line):
    line = await make_line(ring_poll_s=60.0, ring_notice_s=60.0)
    room, _, dial = await line.dialled()
    line.receives(line.livekit.webhook("room_started", room=room.name))
    dial.fail(sip_error(486, "Busy Here"))
    end, _ = await ended(room)
    assert end.cause is HangupCause.USER_BUSY


async def test_a_room_deleted_by_somebody_else_while_it_rings_is_no_ring_out(line):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    line.receives(left_notice(line, room, dial.request.participant_identity, "ROOM_DELETED", **{"sip.callStatus": "ringing"}))
    dial.fail(RING_OUT)
    end, _ = await ended(room)
    assert end.cause is HangupCause.ROOM_DELETED


async def test_only_rooms_with_our_name_and_our_mark_are_listed(line):
    room = await line.open("7")
    line.livekit.puts_agent(room.name)
    live, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    for name, metadata in (
        ("oc-01234567-8-1", '{"orchestrator_deployment": "somebody else"}'),
        ("oc-01234567-9-1", "not JSON"),
        ("oc-ffffffff-9-1", line.livekit.rooms[room.name].metadata),
        ("lobby", ""),
    ):
        line.livekit.rooms[name] = type(line.livekit.rooms[room.name])(name=name, metadata=metadata)
    listed = {found.name: found for found in await line.carrier.list_rooms()}
    assert set(listed) == {room.name, live.name}
    assert (listed[room.name].call_id, listed[room.name].has_agent, listed[room.name].has_leg) == ("7", True, False)
    assert (listed[live.name].has_leg, listed[live.name].leg_state) == (True, "ringing")
    assert listed[room.name].age_s < 60
