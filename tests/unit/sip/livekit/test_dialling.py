"""A dial is one request, whatever happens to it; and what its answer says becomes the leg's events."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web
from livekit.protocol.models import Room

from sip.causes import HangupCause
from sip.errors import BadPlan
from sip.events import Answered, Dialled, Ended, Ringing
from tests.unit.sip.livekit.conftest import ended, next_event
from tests.unit.sip.livekit.fake_livekit import DROP, RING_OUT, TwirpError, sip_error


async def test_the_plan_reaches_the_request(line):
    room, _, dial = await line.dialled(
        caller_id="+12025550199", display_name="", headers={"X-Campaign": "spring"}, dtmf="ww12#", max_duration_s=600.0
    )
    request = dial.request
    assert request.room_name == room.name
    assert request.sip_trunk_id == "ST_main"
    assert request.sip_call_to == "+12025550100"
    assert request.sip_number == "+12025550199"
    assert request.HasField("display_name")
    assert request.display_name == ""
    assert dict(request.headers) == {"X-Campaign": "spring"}
    assert request.dtmf == "ww12#"
    assert request.wait_until_answered
    assert request.ringing_timeout.seconds == 32  # 20 s and the post-dial allowance
    assert request.max_call_duration.seconds == 630
    assert request.media.media_timeout.seconds == 30
    assert request.participant_identity.startswith("callee-")
    assert not request.hide_phone_number
    assert not request.krisp_enabled


async def test_an_absent_display_name_and_caller_id_are_left_to_the_trunk(line):
    _, _, dial = await line.dialled()
    assert not dial.request.HasField("display_name")
    assert dial.request.sip_number == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "2025550100"},
        {"to": "+1202555010x"},
        {"caller_id": "anonymous"},
        {"headers": {"X Campaign": "spring"}},
        {"headers": {"X-Campaign": "spring\r\nX-Evil: 1"}},
        {"display_name": "n" * 129},
        {"dtmf": "12!"},
        {"ring_timeout_s": 0.0},
        {"max_duration_s": float("nan")},
    ],
)
async def test_a_plan_that_cannot_be_dialled_is_refused_with_nothing_sent(line, changes):
    room = await line.open()
    with pytest.raises(BadPlan):
        await line.carrier.dial(room, line.dial_plan(**changes))
    assert line.livekit.count("CreateSIPParticipant") == 0


async def test_a_room_is_dialled_in_once(line):
    room, _, _ = await line.dialled()
    with pytest.raises(BadPlan):
        await line.carrier.dial(room, line.dial_plan())
    assert line.livekit.count("CreateSIPParticipant") == 1


async def test_a_closed_room_is_not_dialled_in(line):
    room = await line.open()
    await line.carrier.close_room(room.name)
    with pytest.raises(BadPlan):
        await line.carrier.dial(room, line.dial_plan())
    assert line.livekit.count("CreateSIPParticipant") == 0


async def test_an_answer_tells_answered_once_though_request_and_look_both_see_it(line):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "active", **{"sip.callID": "SCL_1", "sip.callIDFull": "abc@trunk"})
    answered = await next_event(room)
    assert isinstance(answered, Answered)
    assert answered.source == "poll"
    assert answered.ids == {"sip_call_id": "abc@trunk", "livekit_sip_call_id": "SCL_1", "participant_sid": "PA_leg"}
    dial.answer()
    line.livekit.deletes_room(room.name)
    assert isinstance(await next_event(room), Ended)


async def test_the_request_may_be_the_first_to_tell_of_the_answer(make_line):
    line = await make_line(ring_poll_s=60.0)
    room, _, dial = await line.dialled()
    dial.answer()
    answered = await next_event(room)
    assert isinstance(answered, Answered)
    assert answered.source == "request"
    assert answered.at.error_s <= 0.1
    assert answered.ids["livekit_sip_call_id"] == "SCL_1"


@pytest.mark.parametrize(
    ("failure", "cause", "dialled"),
    [
        (sip_error(486, "Busy Here"), HangupCause.USER_BUSY, Dialled.YES),
        (sip_error(404, "Not Found", twirp="not_found", status=404), HangupCause.UNALLOCATED_NUMBER, Dialled.YES),
        (TwirpError("unavailable", "no response from servers", 503), HangupCause.MEDIA_SERVER_UNAVAILABLE, Dialled.NO),
        (TwirpError("unavailable", "cpu exhausted", 503), HangupCause.MEDIA_SERVER_UNAVAILABLE, Dialled.NO),
        (TwirpError("internal", "update room failed: not found", 500), HangupCause.MEDIA_SERVER_UNAVAILABLE, Dialled.NO),
        (TwirpError("not_found", "requested sip trunk does not exist", 404), HangupCause.TRUNK_CONFIG, Dialled.NO),
        (TwirpError("failed_precondition", "dial tcp 192.0.2.1:5060: refused", 412), HangupCause.TRUNK_UNREACHABLE, Dialled.NO),
        (TwirpError("failed_precondition", "max auth retry attempts reached", 412), HangupCause.TRUNK_AUTH, Dialled.YES),
        (TwirpError("failed_precondition", "something new", 412), HangupCause.UNKNOWN, Dialled.UNKNOWN),
        (web.Response(status=401, text="no permissions"), HangupCause.MEDIA_SERVER_UNAVAILABLE, Dialled.NO),
    ],
)
async def test_what_the_request_says_of_the_end_is_told_with_what_it_proves(line, failure, cause, dialled):
    room, _, dial = await line.dialled()
    dial.fail(failure)
    end, _ = await ended(room)
    assert end.cause is cause
    assert end.dialled is dialled
    assert line.livekit.count("CreateSIPParticipant") == 1


async def test_a_sip_code_arrives_with_its_reason(line):
    room, _, dial = await line.dialled()
    dial.fail(sip_error(480, "Temporarily Unavailable"))
    end, _ = await ended(room)
    assert (end.signal.sip_code, end.signal.sip_reason) == (480, "Temporarily Unavailable")


async def test_a_livekit_that_is_down_at_the_dial_proves_that_nothing_was_dialled(make_line):
    line = await make_line()
    room = await line.open()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        line.carrier._server._url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        await line.carrier.dial(room, line.dial_plan())
        end, _ = await ended(room)
    assert end.dialled is Dialled.NO
    assert end.cause is HangupCause.MEDIA_SERVER_UNAVAILABLE


async def test_a_connection_that_is_not_made_in_time_is_given_up_with_nothing_sent(make_line):
    line = await make_line(dial_connect_s=0.2)
    room = await line.open()
    with socket.socket() as full:
        # A backlog of nothing, filled: further connections hang while they are being made.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        line.carrier._server._url = f"http://127.0.0.1:{full.getsockname()[1]}"
        await line.carrier.dial(room, line.dial_plan())
        end, _ = await ended(room)
        for filler in fillers:
            filler.close()
    assert end.dialled is Dialled.NO
    assert end.cause is HangupCause.MEDIA_SERVER_UNAVAILABLE


@pytest.mark.parametrize("failure", [DROP, web.Response(status=502, text="<html>"), TwirpError("internal", "boom", 500)])
async def test_a_request_whose_result_is_unknown_is_never_repeated(line, failure):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    dial.fail(failure)
    line.livekit.puts_leg(dial, "active")
    while not isinstance(await next_event(room), Answered):
        pass
    assert line.livekit.count("CreateSIPParticipant") == 1
    assert line.tally.errors["dial_unknown"] == 1


async def test_a_redirect_is_not_followed_by_a_second_request(line):
    room, _, dial = await line.dialled()
    dial.fail(web.Response(status=307))
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    assert line.livekit.count("CreateSIPParticipant") == 1


async def test_cancelling_whoever_dialled_neither_repeats_nor_ends_the_dial(line):
    room = await line.open()

    async def dial_and_wait() -> None:
        await line.carrier.dial(room, line.dial_plan())
        await asyncio.Event().wait()

    conductor = asyncio.create_task(dial_and_wait())
    dial = await line.livekit.dial()
    conductor.cancel()
    await asyncio.gather(conductor, return_exceptions=True)
    dial.answer()
    assert isinstance(await next_event(room), Answered)
    assert line.livekit.count("CreateSIPParticipant") == 1


async def test_closing_the_carrier_sends_nothing_again(line):
    await line.dialled()
    await line.carrier.aclose()
    assert line.livekit.count("CreateSIPParticipant") == 1
    assert line.livekit.count("DeleteRoom") == 0


async def test_150_dials_that_wait_for_phones_do_not_hold_up_the_next(make_line):
    line = await make_line(request_timeout_s=30.0, dial_connect_s=30.0, looks_per_s=20.0)
    waiting = await asyncio.gather(*(line.open(str(number)) for number in range(150)))
    for room in waiting:
        await line.carrier.dial(room, line.dial_plan())
    await line.livekit.dial(149)
    room, _, dial = await line.dialled()
    dial.answer()
    assert isinstance(await next_event(room), Answered)


async def test_ringing_is_told_with_its_moment_and_the_bound_on_its_error(make_line):
    line = await make_line(ring_poll_s=0.1)
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "dialing")
    await line.livekit.until_received("ListParticipants", line.livekit.count("ListParticipants") + 2)
    before_s = line.carrier._clock.now_s()
    line.livekit.puts_leg(dial, "ringing")
    ringing = await next_event(room)
    after_s = line.carrier._clock.now_s()
    assert isinstance(ringing, Ringing)
    assert ringing.source == "poll"
    assert ringing.at.error_s > 0
    assert ringing.at.at_s - ringing.at.error_s <= before_s <= ringing.at.at_s + ringing.at.error_s <= after_s


async def test_a_ring_time_says_how_exact_it_is(line):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    dial.fail(sip_error(486, "Busy Here"))
    end, _ = await ended(room)
    assert end.rang
    assert end.evidence["ring_source"] == "poll"
    assert isinstance(end.evidence["ring_s"], float)
    assert isinstance(end.evidence["ring_error_s"], float)


async def test_a_ring_out_before_its_time_is_not_taken_for_one(line):
    room, _, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    dial.fail(RING_OUT)  # at once, though 32 s were asked for: somebody took the leg away
    end, _ = await ended(room)
    assert end.cause is HangupCause.UNKNOWN
    assert end.evidence["rule"] == "cut_short"


async def test_a_ring_out_in_its_time_is_no_answer(line):
    room, _, dial = await line.dialled(ring_timeout_s=1.5, post_dial_allowance_s=0.4)
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    dial.fail(RING_OUT)
    end, _ = await ended(room)
    assert end.cause is HangupCause.NO_ANSWER
    assert end.dialled is Dialled.YES


async def test_hanging_up_while_it_rings_ends_as_ordered_and_deletes_the_room(line):
    room, leg, dial = await line.dialled()
    line.livekit.puts_leg(dial, "ringing")
    await next_event(room)
    await leg.hang_up()
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED
    assert room.name not in line.livekit.rooms
    await leg.hang_up()
    await line.carrier.close_room(room.name)


async def test_hanging_up_before_the_leg_has_joined_ends_it_too(line):
    room, leg, _ = await line.dialled()
    await leg.hang_up()
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED


async def test_hanging_up_ends_even_if_the_request_never_says_so(line):
    room, leg, dial = await line.dialled()
    line.livekit.dials.remove(dial)  # its request is forgotten by the server
    await leg.hang_up()
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED
    assert end.dialled is Dialled.UNKNOWN
    dial.fail(DROP)


async def test_a_busy_that_beats_the_hang_up_is_still_a_busy(line):
    room, leg, dial = await line.dialled()
    dial.fail(sip_error(486, "Busy Here"))
    await leg.hang_up()
    end, _ = await ended(room)
    assert end.cause is HangupCause.USER_BUSY


async def test_hanging_up_an_answered_leg_ends_as_ordered(line):
    room, leg, _ = await line.answered()
    await leg.hang_up()
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED
    assert end.dialled is Dialled.YES


async def test_a_dial_that_is_hung_up_before_its_request_left_is_never_sent(make_line):
    line = await make_line()
    room = await line.open()
    leg = await line.carrier.dial(room, line.dial_plan())
    await leg.hang_up()  # noted at once, before the new connection for the request can stand
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED
    assert end.dialled is Dialled.NO
    assert line.livekit.count("CreateSIPParticipant") == 0


async def test_a_late_request_that_makes_its_deleted_room_anew_is_ended_again(make_line):
    line = await make_line(order_grace_s=10.0)
    room, leg, dial = await line.dialled()
    line.livekit.dials.remove(dial)  # the server is slow: it deletes the room now, and takes the request up afterwards
    await leg.hang_up()
    line.livekit.rooms[room.name] = Room(name=room.name)
    line.livekit.dials.append(dial)
    line.livekit.puts_leg(dial, "ringing")
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED
    assert room.name not in line.livekit.rooms


async def test_a_leg_that_ended_and_whose_room_is_deleted_is_watched_no_more(line):
    room, leg, _ = await line.answered()
    await leg.hang_up()
    await ended(room)
    assert len(line.carrier._watch) == 0


@pytest.mark.parametrize("answered", [False, True])
async def test_a_leg_that_joined_while_its_room_was_deleted_is_taken_out_of_the_room_that_this_brought_to_life(
    make_line, answered
):
    line = await make_line(order_grace_s=10.0)
    room, leg, dial = await line.dialled()
    line.livekit.dials.remove(dial)
    await leg.hang_up()
    line.livekit.rooms[room.name] = Room(name=room.name)
    line.livekit.undead.add(room.name)
    line.livekit.dials.append(dial)
    line.livekit.puts_leg(dial, "active" if answered else "ringing")
    if answered:
        dial.answer()
    end, _ = await ended(room)
    assert end.cause is HangupCause.ORDERED
    assert not line.livekit.people[room.name]
    assert line.livekit.count("CreateSIPParticipant") == 1


async def test_a_callee_who_answers_after_the_order_to_hang_up_is_not_left_alone(make_line):
    line = await make_line(order_grace_s=0.1, ring_poll_s=60.0, active_look_s=60.0)
    room, leg, dial = await line.dialled()
    line.livekit.dials.remove(dial)
    await leg.hang_up()
    end, _ = await ended(room)  # given up: neither request nor looks say anything
    assert end.cause is HangupCause.ORDERED
    deletions = line.livekit.count("DeleteRoom")
    line.livekit.rooms[room.name] = Room(name=room.name)
    line.livekit.puts_leg(dial, "active")
    dial.answer()
    await line.livekit.until_received("DeleteRoom", deletions + 1)
