"""A leg that another worker dialled: what looks and webhooks tell of it, without a request."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sip.causes import HangupCause
from sip.events import Answered, Dialled, Ended, Moment, Ringing
from sip.leg import E164, DialPlan, LegRecord, RoomName, TrunkRoute
from sip.livekit.adopted import AdoptedLeg
from sip.livekit.leg import Stage
from sip.livekit.rooms import LeaveNotice, Occupant, Role, Span
from sip.livekit.timings import LiveKitTimings
from tests.unit.sip.livekit.test_leg import HandClock

PLAN = DialPlan(call_id="7", dial_id="1", to=E164("+12025550100"), trunk=TrunkRoute(name="t", sip_trunk_id="ST_1"))


class Desk:
    """A leg that was dialled at 50 s and is adopted at 100 s."""

    def __init__(self, *, ringing: Moment | None = None, answered: Moment | None = None) -> None:
        self.clock = HandClock()
        self.told: list[object] = []
        self.leg = AdoptedLeg(
            record=LegRecord(room=RoomName("r"), plan=PLAN, dialled_at_s=50.0, ringing=ringing, answered=answered),
            identity="callee-1",
            clock=self.clock,
            timings=LiveKitTimings(),
            tell=self.told.append,
            orders=self,
        )

    async def delete_room(self) -> None:
        self.leg.order_end()
        self.leg.room_deleted()

    async def play(self, path: str) -> None:
        raise AssertionError("no test leaves a message")

    def hush(self) -> None:
        raise AssertionError("no test leaves a message")

    async def publish(self, facts: Mapping[str, str]) -> None:
        raise AssertionError("no test tells agents anything")

    def look(self, status: str | None, sent_s: float) -> None:
        self.clock.s = sent_s + 0.1
        span = Span(sent_s, sent_s + 0.1)
        if status is None:
            self.leg.missing(span)
        else:
            self.leg.seen(Occupant("callee-1", "PA_1", Role.LEG, {"sip.callStatus": status}), span)

    def notice(self, at_s: float, reason: str, status: str = "") -> None:
        self.clock.s = at_s
        self.leg.noticed(LeaveNotice("callee-1", "PA_1", reason, {"sip.callStatus": status}, Moment(at_s, 0.5)))

    @property
    def end(self) -> Ended:
        [end] = [event for event in self.told if isinstance(event, Ended)]
        assert self.told[-1] is end
        return end


def test_an_answer_that_nobody_watched_is_as_inexact_as_it_is():
    desk = Desk(ringing=Moment(52.0, 0.25))
    desk.look("active", 100.0)
    [answered] = desk.told
    assert isinstance(answered, Answered)
    assert answered.at.earliest_s == pytest.approx(51.75)
    assert answered.at.at_s + answered.at.error_s == pytest.approx(100.1)


def test_an_answer_after_a_look_that_shows_it_ringing_lies_after_that_look():
    desk = Desk(ringing=Moment(52.0, 0.25))
    desk.look("ringing", 100.0)
    desk.look("active", 100.5)
    [answered] = desk.told
    assert answered.at.earliest_s == pytest.approx(100.0)


def test_what_is_on_record_is_not_told_again():
    desk = Desk(ringing=Moment(52.0), answered=Moment(60.0))
    desk.look("active", 100.0)
    assert desk.told == []
    assert desk.leg.stage is Stage.ANSWERED


def test_ringing_that_the_record_does_not_know_began_after_the_dial():
    desk = Desk()
    desk.look("ringing", 100.0)
    [ringing] = desk.told
    assert isinstance(ringing, Ringing)
    assert ringing.at.earliest_s == pytest.approx(50.0)


def test_one_look_that_misses_it_ends_nothing():
    desk = Desk(ringing=Moment(52.0))
    desk.look("ringing", 100.0)
    desk.look(None, 100.5)
    desk.look("active", 101.0)
    assert [type(event) for event in desk.told] == [Answered]


def test_two_looks_that_miss_it_end_it_without_a_cause():
    desk = Desk(ringing=Moment(52.0))
    desk.look("ringing", 100.0)
    desk.look(None, 100.5)
    desk.look(None, 101.0)
    assert desk.told == []
    desk.look(None, 102.7)
    assert (desk.end.cause, desk.end.signal.sip_code, desk.end.dialled) == (HangupCause.LEG_LOST, None, Dialled.YES)


@pytest.mark.parametrize(
    ("reason", "rang", "cause"),
    [
        ("USER_REJECTED", True, HangupCause.CALL_REJECTED),
        ("USER_UNAVAILABLE", True, HangupCause.NO_ANSWER),
        ("SIP_TRUNK_FAILURE", True, HangupCause.NETWORK_ERROR),
        ("ROOM_DELETED", True, HangupCause.ROOM_DELETED),
        ("UNKNOWN_REASON", True, HangupCause.LEG_LOST),
        ("CLIENT_INITIATED", True, HangupCause.UNKNOWN),
        ("USER_REJECTED", False, HangupCause.UNKNOWN),
        ("USER_UNAVAILABLE", False, HangupCause.UNKNOWN),
        ("SIP_TRUNK_FAILURE", False, HangupCause.UNKNOWN),
    ],
)
def test_an_unanswered_leg_ends_by_what_the_leave_can_tell(reason: str, rang: bool, cause: HangupCause):
    desk = Desk(ringing=Moment(52.0) if rang else None)
    desk.look("ringing" if rang else "dialing", 100.0)
    desk.look(None, 100.5)
    desk.notice(101.0, reason, "ringing" if rang else "dialing")
    assert (desk.end.cause, desk.end.signal.disconnect_reason) == (cause, reason)
    assert desk.end.dialled is (Dialled.YES if rang else Dialled.UNKNOWN)


def test_a_notice_that_comes_before_the_look_is_used():
    desk = Desk(ringing=Moment(52.0))
    desk.look("ringing", 100.0)
    desk.notice(100.3, "USER_REJECTED", "ringing")
    desk.look(None, 100.5)
    assert desk.end.cause is HangupCause.CALL_REJECTED


def test_a_conversation_between_two_looks_was_one():
    desk = Desk(ringing=Moment(52.0))
    desk.look("ringing", 100.0)
    desk.look(None, 100.5)
    desk.notice(101.0, "CLIENT_INITIATED", "active")
    assert [type(event) for event in desk.told] == [Answered, Ended]
    assert desk.end.rang


def test_an_answered_leg_ends_as_any_other():
    desk = Desk(answered=Moment(60.0))
    desk.look("active", 100.0)
    desk.look(None, 102.0)
    desk.notice(102.2, "CLIENT_INITIATED", "hangup")
    assert desk.end.cause is HangupCause.NORMAL_CLEARING


async def test_our_own_hang_up_is_ours():
    desk = Desk(ringing=Moment(52.0))
    desk.look("ringing", 100.0)
    await desk.leg.hang_up()
    assert (desk.end.cause, desk.end.dialled) == (HangupCause.ORDERED, Dialled.YES)


def test_a_leg_that_rings_on_for_ever_loses_its_room():
    desk = Desk(ringing=Moment(52.0))
    for n in range(40):
        desk.look("ringing", 100.0 + n)
        desk.leg.expire(100.1 + n)
    assert desk.leg.room_must_go
