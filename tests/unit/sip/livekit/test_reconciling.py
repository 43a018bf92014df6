"""A dial whose result is unknown is found out by looking, and never dialled again."""

from __future__ import annotations

import pytest
from aiohttp import web

from sip.causes import HangupCause
from sip.events import Answered, Dialled, Ringing
from tests.unit.sip.livekit.conftest import ended, next_event
from tests.unit.sip.livekit.fake_livekit import DROP, TwirpError

LOST = [DROP, web.Response(status=502, text="<html>"), TwirpError("deadline_exceeded", "request timed out", 503)]


async def test_an_answer_that_comes_too_late_is_a_result_unknown(make_line):
    line = await make_line(dial_margin_s=-30.0, ring_poll_s=0.05)  # 32 s asked for: the library's own least is 34 s, ours 2 s
    room, _, dial = await line.dialled(ring_timeout_s=0.5, post_dial_allowance_s=0.0)
    line.livekit.puts_leg(dial, "ringing")
    line.livekit.puts_leg(dial, "active")
    event = await next_event(room)
    assert isinstance(event, Answered)
    assert line.livekit.count("CreateSIPParticipant") == 1


@pytest.mark.parametrize("lost", LOST)
async def test_a_leg_that_turns_out_to_talk_is_answered_by_a_look(line, lost):
    room, _, dial = await line.dialled()
    dial.fail(lost)
    line.livekit.puts_leg(dial, "ringing")
    assert isinstance(await next_event(room), Ringing)
    line.livekit.puts_leg(dial, "active", **{"sip.callID": "SCL_9"})
    answered = await next_event(room)
    assert isinstance(answered, Answered)
    assert answered.source == "poll"
    assert answered.ids["livekit_sip_call_id"] == "SCL_9"
    assert line.livekit.count("CreateSIPParticipant") == 1


async def test_a_leg_that_was_seen_and_is_gone_ends_with_what_is_known(line):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    dial.fail(DROP)
    line.livekit.removes(room.name, dial.request.participant_identity)
    end, _ = await ended(room)
    assert end.cause is HangupCause.UNKNOWN
    assert end.dialled is Dialled.YES  # it rang
    assert end.evidence["rule"] == "result_unknown"


async def test_a_leg_that_never_turns_up_ends_unknown_after_its_ring_time_with_its_room_deleted(line):
    room, _, dial = await line.dialled(ring_timeout_s=0.2, post_dial_allowance_s=0.0)
    dial.fail(DROP)
    end, _ = await ended(room)
    assert end.dialled is Dialled.UNKNOWN
    assert end.cause is HangupCause.UNKNOWN
    assert room.name not in line.livekit.rooms
    assert line.livekit.count("CreateSIPParticipant") == 1


async def test_a_leg_that_rings_past_its_time_is_ended_by_deleting_its_room(line):
    room, _, dial = await line.dialled(ring_timeout_s=0.2, post_dial_allowance_s=0.0)
    line.livekit.puts_leg(dial, "ringing")
    dial.fail(DROP)
    end, _ = await ended(room)
    assert end.rang
    assert room.name not in line.livekit.rooms


async def test_the_room_is_deleted_as_soon_as_livekit_can_be_reached_again(line):
    line.livekit.misbehaviour["DeleteRoom"] = TwirpError("unavailable", "upstream", 503)
    room, _, dial = await line.dialled(ring_timeout_s=0.2, post_dial_allowance_s=0.0)
    dial.fail(DROP)
    await line.livekit.until_received("DeleteRoom", 2)
    assert room.leg.stage.value == "reconciling"
    line.livekit.misbehaviour.clear()
    end, _ = await ended(room)
    assert end.dialled is Dialled.UNKNOWN


async def test_a_leg_that_does_not_show_while_livekit_is_unreachable_is_not_gone(line):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    dial.fail(DROP)
    line.livekit.misbehaviour["ListParticipants"] = TwirpError("unavailable", "upstream", 503)
    await line.livekit.until_received("ListParticipants", line.livekit.count("ListParticipants") + 2)
    line.livekit.puts_leg(dial, "active")
    line.livekit.misbehaviour.clear()
    assert isinstance(await next_event(room), Answered)


async def test_a_request_that_stays_silent_though_its_leg_is_gone_counts_as_lost(line):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    line.livekit.removes(room.name, dial.request.participant_identity)
    end, _ = await ended(room)
    assert end.cause is HangupCause.UNKNOWN
    assert end.dialled is Dialled.YES


async def test_closing_the_room_ends_a_leg_whose_result_is_unknown_as_ordered(line):
    room, _, dial = await line.dialled()
    dial.fail(DROP)
    while room.leg.stage.value != "reconciling":
        await line.livekit.until_received("ListParticipants", line.livekit.count("ListParticipants") + 1)
    await line.carrier.close_room(room.name)
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED
    assert end.dialled is Dialled.UNKNOWN
