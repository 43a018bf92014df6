"""The port, as the simulated carrier keeps it beyond what the conformance suite asks of every carrier."""

from __future__ import annotations

import asyncio
import time

import pytest

from sip.causes import HangupCause
from sip.clock import Clock
from sip.errors import BadPlan, CarrierUnavailable, RoomRefused
from sip.events import AgentJoined, Answered, Dialled, Digit, EarlyMedia, Ended, Ringing, RoomClosed
from sip.leg import TrunkRoute
from sip.simulated import callees
from sip.simulated import carrier as carriers
from sip.simulated.agenda import Agenda
from sip.simulated.scripts import SCRIPTS, number_of, script_for
from sip.simulated.steps import Script

from .conftest import Desk, all_until, to_the_end, until

ANYBODY = "+16172000000"


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda script: script.name)
async def test_at_a_scale_of_50_each_callee_keeps_its_times_to_the_millisecond(desk: Desk, script: Script):
    begun_at_s = desk.clock.now_s()
    room, leg = await desk.dialled(number_of(script), ring_timeout_s=8.0, post_dial_allowance_s=2.0)
    record = desk.carrier.ledger[-1]
    assert record.at_s >= begun_at_s
    told: dict[type, float] = {}
    answers = script.answers_at_s is not None and script.ends_at_s is None
    for event in await all_until(room, Answered if answers else Ended):
        told[type(event)] = event.at.at_s
    expected = {
        Ringing: script.rings_at_s,
        EarlyMedia: script.early_media_at_s,
        Answered: script.answers_at_s,
        Ended: None if answers else 10.0 if script.ends_at_s is None else script.ends_at_s,
    }
    told.pop(Digit, None)
    assert {kind: at_s - record.at_s for kind, at_s in told.items()} == {
        kind: pytest.approx(at_s, abs=0.001) for kind, at_s in expected.items() if at_s is not None
    }
    await leg.hang_up()


async def test_a_loop_that_is_held_up_bends_no_times(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_8_S)
    await until(room, Ringing)
    time.sleep(0.1)  # 5 s of this clock, in which the callee answers
    events = await to_the_end(room)
    answered, ended = events[0], events[-1]
    assert ended.at.at_s - answered.at.at_s == pytest.approx(8.0, abs=0.001)


async def test_digits_of_the_callee_are_told_in_their_order(desk: Desk):
    room, _leg = await desk.dialled(callees.PRESSES_DIGITS)
    assert [event.digit for event in await to_the_end(room) if isinstance(event, Digit)] == ["1", "2", "#"]


async def test_the_callee_hears_digits_after_the_answer_only(desk: Desk):
    room, leg = await desk.dialled(callees.TALKS_ON, dtmf="w9")
    await leg.send_digits("1")
    await until(room, Answered)
    await leg.send_digits("23#")
    assert leg.digits_sent == "w923#"
    with pytest.raises(BadPlan, match="digits"):
        await leg.send_digits("hello")


async def test_an_answered_call_that_nobody_ends_is_ended_30_s_after_its_maximum(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_ON, max_duration_s=5.0)
    answered = await until(room, Answered)
    ended = await until(room, Ended)
    assert ended.at.at_s - answered.at.at_s == pytest.approx(35.0, abs=0.001)
    assert ended.signal.disconnect_reason == "CLIENT_INITIATED"


@pytest.mark.parametrize(
    ("to", "after", "rang", "dialled"),
    [
        (callees.TRUNK_UNREACHABLE, None, False, Dialled.UNKNOWN),
        (callees.RINGS_OUT, Ringing, True, Dialled.YES),
        (callees.TALKS_ON, Answered, True, Dialled.YES),
    ],
)
async def test_hanging_up_ends_the_leg_at_every_stage_once(desk: Desk, to, after, rang, dialled):
    room, leg = await desk.dialled(to)
    if after is not None:
        await until(room, after)
    await leg.hang_up()
    await leg.hang_up()
    ended = await until(room, Ended)
    assert (ended.cause, ended.rang, ended.dialled) == (HangupCause.ORDERED, rang, dialled)
    await desk.carrier.close_room(room.name)
    assert await nothing_more(room, desk.clock)


async def test_closing_a_room_ends_its_leg(desk: Desk):
    room, _leg = await desk.dialled(callees.RINGS_OUT)
    await until(room, Ringing)
    await desk.carrier.close_room(room.name)
    assert (await until(room, Ended)).cause is HangupCause.ORDERED


async def test_closing_a_room_without_a_leg_says_that_it_is_closed_and_closing_none_is_no_error(desk: Desk):
    room = await desk.room()
    await desk.carrier.close_room(room.name)
    await until(room, RoomClosed)
    await desk.carrier.close_room(room.name)
    await desk.carrier.close_room(desk.carrier.room_name(call_id="never", epoch=1))


async def test_a_dial_into_a_room_that_does_not_exist_is_told_as_not_dialled(desk: Desk):
    room = await desk.room()
    await desk.carrier.close_room(room.name)
    await desk.carrier.dial(room, desk.dial_plan(callees.TALKS_8_S))
    ended = await until(room, Ended)
    assert (ended.cause, ended.dialled, ended.rang) == (HangupCause.MEDIA_SERVER_UNAVAILABLE, Dialled.NO, False)
    assert [record.taken for record in desk.carrier.ledger] == [False]


async def test_an_old_room_is_not_the_new_one_of_the_same_name(desk: Desk):
    plan = desk.room_plan()
    old = await desk.carrier.open_room(plan)
    await desk.carrier.close_room(old.name)
    new = await desk.carrier.open_room(plan)
    await desk.carrier.dial(old, desk.dial_plan(callees.TALKS_8_S))
    assert (await until(old, Ended)).dialled is Dialled.NO
    assert not desk.carrier.room(new.name).leg


async def test_a_second_dial_into_a_room_is_refused_and_stays_in_the_ledger(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_8_S)
    with pytest.raises(BadPlan, match="leg already"):
        await desk.carrier.dial(room, desk.dial_plan(callees.TALKS_8_S, dial_id="again"))
    assert [(record.plan.dial_id, record.room, record.taken) for record in desk.carrier.ledger] == [
        ("d1", room.name, True),
        ("again", room.name, False),
    ]
    assert [type(event) for event in await to_the_end(room)] == [Ringing, Answered, Ended], "the first call goes on"


async def test_a_room_is_opened_once(desk: Desk):
    plan = desk.room_plan()
    await desk.carrier.open_room(plan)
    with pytest.raises(RoomRefused, match="exists already"):
        await desk.carrier.open_room(plan)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"name": "oc-00000000-1-1"}, "not named by this deployment"), ({"agent_name": ""}, "name of an agent")],
)
async def test_a_room_that_is_not_ours_or_for_nobody_is_refused(desk: Desk, changes, says):
    with pytest.raises(RoomRefused, match=says):
        await desk.carrier.open_room(desk.room_plan(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"to": "911"}, "E.164"),
        ({"caller_id": "anonymous"}, "caller id"),
        ({"display_name": "x" * 129}, "128"),
        ({"display_name": "a\nb"}, "control"),
        ({"headers": {"": "x"}}, "SIP header"),
        ({"headers": {"X-Campaign": "a\r\nVia: b"}}, "X-Campaign"),
        ({"dtmf": "1,2"}, "digits"),
        ({"dial_id": ""}, "needs an id"),
        ({"trunk": TrunkRoute(name="main", sip_trunk_id="")}, "trunk main"),
        ({"ring_timeout_s": 0.0}, "above 0"),
    ],
)
async def test_what_no_trunk_could_dial_is_refused_before_anything_is_sent(desk: Desk, changes, says):
    room = await desk.room()
    with pytest.raises(BadPlan, match=says):
        await desk.carrier.dial(room, desk.dial_plan(**({"to": callees.TALKS_8_S} | changes)))
    assert desk.carrier.ledger == []


async def test_a_number_that_is_no_test_number_does_what_the_mix_says(desk: Desk):
    room, leg = await desk.dialled(ANYBODY)
    assert script_for(ANYBODY) is None
    assert leg.script == Desk(clock=desk.clock).carrier._mix.script_for(ANYBODY)
    await leg.hang_up()
    await until(room, Ended)


async def test_rooms_are_listed_with_what_is_in_them(desk: Desk):
    room, leg = await desk.dialled(callees.TALKS_ON)
    (listed,) = await desk.carrier.list_rooms()
    assert (listed.has_leg, listed.has_agent, listed.leg_state) == (True, True, "dialing")
    await until(room, Answered)
    (listed,) = await desk.carrier.list_rooms()
    assert (listed.leg_state, listed.name) == ("active", room.name)
    assert listed.age_s > 0
    await leg.hang_up()
    (listed,) = await desk.carrier.list_rooms()
    assert (listed.has_leg, listed.leg_state) == (False, "")


# -- faults ----------------------------------------------------------------------------------------------------------------


async def test_opening_fails_as_often_as_was_asked_for_and_leaves_no_room(desk: Desk):
    desk.carrier.faults.open_room = 2
    plan = desk.room_plan()
    for _ in range(2):
        with pytest.raises(CarrierUnavailable, match="open_room"):
            await desk.carrier.open_room(plan)
    assert list(await desk.carrier.list_rooms()) == []
    await desk.carrier.open_room(plan)


async def test_a_room_that_could_not_be_closed_stays_with_its_leg(desk: Desk):
    room, _leg = await desk.dialled(callees.TALKS_ON)
    await until(room, Answered)
    desk.carrier.faults.close_room = 1
    with pytest.raises(CarrierUnavailable, match="close_room"):
        await desk.carrier.close_room(room.name)
    (listed,) = await desk.carrier.list_rooms()
    assert listed.has_leg
    await desk.carrier.close_room(room.name)
    await until(room, Ended)


async def test_a_leg_that_could_not_be_hung_up_goes_on(desk: Desk):
    room, leg = await desk.dialled(callees.TALKS_8_S)
    desk.carrier.faults.hang_up = 1
    with pytest.raises(CarrierUnavailable, match="hang_up"):
        await leg.hang_up()
    assert (await until(room, Ended)).cause is HangupCause.NORMAL_CLEARING


async def test_a_list_that_fails_says_so(desk: Desk):
    desk.carrier.faults.list_rooms = 1
    with pytest.raises(CarrierUnavailable, match="list_rooms"):
        await desk.carrier.list_rooms()
    assert list(await desk.carrier.list_rooms()) == []


async def test_a_slow_media_server_takes_its_time(desk: Desk):
    desk.carrier.faults.delay_s = 5.0
    begun_at_s = desk.clock.now_s()
    await desk.carrier.open_room(desk.room_plan())
    assert desk.clock.now_s() - begun_at_s >= 5.0


# -- cheap for thousands ---------------------------------------------------------------------------------------------------


async def test_a_call_has_one_timer_and_no_task(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    loop, pending = asyncio.get_running_loop(), []
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *args, **kw: pending.append(call_later(*args, **kw)) or pending[-1])
    tasks = asyncio.all_tasks()
    rooms = [await desk.carrier.open_room(desk.room_plan()) for _ in range(20)]
    for room in rooms:
        await until(room, AgentJoined)
        await desk.carrier.dial(room, desk.dial_plan(callees.TALKS_ON))
    for room in rooms:
        await until(room, Answered)
    assert asyncio.all_tasks() == tasks
    agendas = [handle for handle in pending if not handle.cancelled() and handle.when() > loop.time() and is_agendas(handle)]
    assert len(agendas) == len(rooms)


@pytest.mark.parametrize("end", ["close_room", "hang_up", "by_itself", "deleted"])
async def test_nothing_is_left_of_a_room_that_is_over(desk: Desk, end: str, monkeypatch: pytest.MonkeyPatch):
    loop, pending = asyncio.get_running_loop(), []
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *args, **kw: pending.append(call_later(*args, **kw)) or pending[-1])
    room, leg = await desk.dialled(callees.TALKS_8_S, behaviour="returns")
    simulated = desk.carrier.room(room.name)
    await until(room, Answered)
    match end:
        case "hang_up":
            await leg.hang_up()
        case "by_itself":
            await until(room, Ended)
        case "deleted":
            simulated.delete(desk.clock.now_s())
        case "close_room":
            await desk.carrier.close_room(room.name)
    assert simulated.is_quiet
    await desk.carrier.close_room(room.name)
    assert desk.carrier._rooms == {}
    assert [handle for handle in pending if is_agendas(handle) and not handle.cancelled() and handle.when() > loop.time()] == []


async def test_the_ledger_forgets_the_oldest_dials_only(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(carriers, "LEDGER_KEEPS", 3)
    for _ in range(7):
        _room, leg = await desk.dialled(callees.BUSY_AT_ONCE)
        await leg.hang_up()
    assert [record.plan.dial_id for record in desk.carrier.ledger] == ["d4", "d5", "d6", "d7"]


async def test_an_agenda_keeps_the_order_of_time_and_of_planning():
    clock, done = Clock(scale=50.0), []
    agenda, over = Agenda(clock=clock), asyncio.Event()
    now_s = clock.now_s()
    agenda.at(now_s + 3.0, lambda at_s: (done.append(("c", at_s)), over.set()))
    agenda.at(now_s + 1.0, lambda at_s: done.append(("a", at_s)))
    agenda.at(
        now_s + 1.0, lambda at_s: (done.append(("b", at_s)), agenda.at(at_s + 1.0, lambda at_s: done.append(("n", at_s))))
    )
    async with asyncio.timeout(60):
        await over.wait()
    assert [name for name, _ in done] == ["a", "b", "n", "c"]
    assert [at_s - now_s for _, at_s in done] == pytest.approx([1.0, 1.0, 2.0, 3.0], abs=0.06)
    assert len(agenda) == 0


def is_agendas(handle: asyncio.TimerHandle) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), Agenda)


async def nothing_more(room, clock: Clock) -> bool:
    try:
        async with clock.timeout(5.0):
            await room.next_event()
    except TimeoutError:
        return True
    return False
