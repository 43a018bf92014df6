"""A leg's reading of looks, notices and its request, at moments that tests choose."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sip.causes import HangupCause, Signal
from sip.clock import Clock
from sip.events import Answered, Dialled, Ended, Moment, Ringing
from sip.leg import E164, DialPlan, TrunkRoute
from sip.livekit.failures import DialFailure, result_unknown
from sip.livekit.leg import LiveKitLeg, Stage
from sip.livekit.rooms import LeaveNotice, Occupant, Role, Span
from sip.livekit.timings import LiveKitTimings


class HandClock(Clock):
    """A clock that a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.s = 100.0

    def now_s(self) -> float:
        return self.s


class Desk:
    """A leg under test, dialled at 100 s."""

    def __init__(self, *, webhooks: bool = False, **plan: object) -> None:
        self.clock = HandClock()
        self.told: list[object] = []
        self.leg = LiveKitLeg(
            plan=DialPlan(
                call_id="7", dial_id="1", to=E164("+12025550100"), trunk=TrunkRoute(name="t", sip_trunk_id="ST_1"), **plan
            ),
            identity="callee-1",
            clock=self.clock,
            timings=LiveKitTimings(),
            tell=self.told.append,
            orders=self,
            webhooks_work=lambda: webhooks,
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

    def look(self, status: str | None, sent_s: float, received_s: float) -> None:
        self.clock.s = max(self.clock.s, received_s)
        span = Span(sent_s, received_s)
        if status is None:
            self.leg.missing(span)
        else:
            self.leg.seen(Occupant("callee-1", "PA_1", Role.LEG, {"sip.callStatus": status}), span)

    def fails(self, at_s: float, failure: DialFailure) -> None:
        self.clock.s = at_s
        self.leg.request_failed(failure)

    def answers(self, at_s: float) -> None:
        self.clock.s = at_s
        self.leg.request_answered({"livekit_sip_call_id": "SCL_1"})

    def notice(self, at_s: float, reason: str, status: str = "", sid: str = "PA_1", error_s: float = 0.5) -> None:
        self.clock.s = max(self.clock.s, at_s)
        self.leg.noticed(LeaveNotice("callee-1", sid, reason, {"sip.callStatus": status}, Moment(at_s, error_s)))

    def expires(self, at_s: float) -> None:
        self.clock.s = at_s
        self.leg.expire(at_s)

    @property
    def end(self) -> Ended:
        [end] = [event for event in self.told if isinstance(event, Ended)]
        assert self.told[-1] is end
        return end


@pytest.fixture
def desk() -> Desk:
    return Desk()


def busy() -> DialFailure:
    return DialFailure(Signal(sip_code=486, sip_reason="Busy Here"), Dialled.YES, over=True)


def ring_out() -> DialFailure:
    return DialFailure(Signal(text="sip request timed out"), Dialled.UNKNOWN, over=True)


def test_ringing_lies_between_the_last_look_without_and_the_first_with_it(desk):
    desk.look("dialing", 101.0, 101.1)
    desk.look("ringing", 101.5, 101.7)
    [ringing] = desk.told
    assert isinstance(ringing, Ringing)
    # The first look showed the state at 101.0 or later, the second at 101.7 at the latest.
    assert ringing.at.at_s - ringing.at.error_s == pytest.approx(101.0)
    assert ringing.at.at_s + ringing.at.error_s == pytest.approx(101.7)


def test_ringing_that_the_first_look_shows_began_after_the_dial(desk):
    desk.look("ringing", 100.5, 100.6)
    [ringing] = desk.told
    assert ringing.at.at_s - ringing.at.error_s == pytest.approx(100.0)


def test_ringing_is_told_once(desk):
    for sent_s in (101.0, 102.0, 103.0):
        desk.look("ringing", sent_s, sent_s + 0.1)
    assert len(desk.told) == 1


def test_an_answer_without_ringing_seen_is_an_answer(desk):
    desk.look("active", 101.0, 101.1)
    assert [type(event) for event in desk.told] == [Answered]


def test_an_answer_by_the_request_after_digits_says_that_it_came_earlier():
    desk = Desk(dtmf="1234")
    desk.look("ringing", 104.0, 104.1)
    desk.answers(106.0)
    answered = desk.told[-1]
    assert answered.at.at_s - answered.at.error_s == pytest.approx(104.0)
    assert answered.at.at_s + answered.at.error_s == pytest.approx(106.0)


def test_a_look_that_began_before_the_answer_was_known_proves_no_end(desk):
    desk.answers(103.0)
    desk.look(None, 102.9, 103.1)
    assert desk.leg.stage is Stage.ANSWERED


def test_a_leg_that_has_not_joined_yet_is_not_gone(desk):
    desk.look(None, 100.1, 100.2)
    desk.look(None, 100.5, 100.6)
    assert desk.leg.stage is Stage.WAITING
    assert desk.leg.deadline_s is None


def test_an_answered_leg_is_gone_only_when_two_looks_agree(desk):
    desk.answers(103.0)
    desk.look(None, 104.0, 104.1)
    assert desk.leg.stage is Stage.GONE
    desk.look(None, 104.2, 104.3)
    assert desk.leg.stage is Stage.GONE
    desk.look(None, 106.2, 106.3)
    assert desk.end.cause is HangupCause.LEG_LOST


def test_the_end_of_an_answered_leg_is_placed_where_looks_and_webhook_agree(desk):
    desk.answers(103.0)
    desk.look("active", 110.0, 110.1)
    desk.notice(112.4, "CLIENT_INITIATED", "hangup")
    desk.look(None, 113.0, 113.1)
    assert desk.end.at.at_s == pytest.approx(112.4)
    assert desk.end.at.error_s == pytest.approx(0.5)


def test_a_leg_that_the_sip_service_lets_go_without_a_hang_up_is_lost(desk):
    desk.answers(103.0)
    desk.look("active", 110.0, 110.1)
    desk.notice(112.4, "CLIENT_INITIATED", "active")
    desk.look(None, 113.0, 113.1)
    assert desk.end.cause is HangupCause.LEG_LOST
    assert "unexplained" in desk.end.evidence


def test_a_webhook_whose_clock_disagrees_with_the_looks_is_not_trusted_with_the_moment(desk):
    desk.answers(103.0)
    desk.look("active", 110.0, 110.1)
    desk.notice(50.0, "CLIENT_INITIATED", "hangup")
    desk.look(None, 113.0, 113.1)
    assert 110.0 <= desk.end.at.at_s <= 113.1


def test_the_webhook_of_an_older_participant_of_the_same_name_explains_nothing(desk):
    desk.look("active", 101.0, 101.1)
    desk.notice(102.0, "CLIENT_INITIATED", sid="PA_0")
    desk.look(None, 103.0, 103.1)
    assert desk.leg.stage is Stage.GONE


def test_a_request_that_fails_after_a_look_showed_the_answer_ends_nothing(desk):
    desk.look("active", 101.0, 101.1)
    desk.fails(102.0, result_unknown("lost"))
    assert desk.leg.stage is Stage.ANSWERED
    assert desk.leg.deadline_s is None


def test_nothing_is_told_after_the_end(desk):
    desk.fails(101.0, busy())
    desk.look("active", 102.0, 102.1)
    desk.notice(103.0, "USER_REJECTED", "ringing")
    desk.leg.room_deleted()
    desk.expires(200.0)
    assert desk.end.cause is HangupCause.USER_BUSY


def test_a_ring_out_reports_how_long_it_rang_and_how_sure_that_is():
    desk = Desk(ring_timeout_s=8.0, post_dial_allowance_s=0.0)
    desk.look("dialing", 100.0, 100.1)
    desk.look("ringing", 100.2, 100.4)
    desk.fails(108.1, ring_out())
    assert desk.end.cause is HangupCause.NO_ANSWER
    assert desk.end.evidence["ring_s"] == pytest.approx(7.9)
    assert desk.end.evidence["ring_error_s"] == pytest.approx(0.3)


def test_a_480_after_a_short_ring_is_read_as_forwarded_to_voicemail(desk):
    desk.look("ringing", 100.1, 100.2)
    desk.fails(103.0, DialFailure(Signal(sip_code=480, sip_reason="Temporarily Unavailable"), Dialled.YES, over=True))
    assert desk.end.cause is HangupCause.FORWARDED_TO_VOICEMAIL
    assert desk.end.evidence["inferred"] == "short_ring"


def test_a_notice_that_came_before_the_requests_failure_is_used():
    desk = Desk(webhooks=True)
    desk.notice(101.0, "USER_REJECTED", "ringing")
    desk.fails(101.1, DialFailure(Signal(sip_code=603, sip_reason="Decline"), Dialled.YES, over=True))
    assert desk.end.cause is HangupCause.CALL_REJECTED
    assert desk.end.signal.disconnect_reason == "USER_REJECTED"


def test_a_participant_taken_away_while_it_rings_is_no_ring_out(desk):
    desk.look("ringing", 100.1, 100.2)
    desk.notice(103.0, "PARTICIPANT_REMOVED", "ringing")
    desk.fails(103.0, ring_out())
    assert desk.end.cause is HangupCause.UNKNOWN


def test_a_lost_result_is_reconciled_until_the_ring_time_and_a_margin_are_over():
    desk = Desk(ring_timeout_s=20.0, post_dial_allowance_s=10.0)
    desk.fails(101.0, result_unknown("lost"))
    desk.expires(139.9)
    desk.look(None, 140.0, 140.1)
    assert not desk.leg.room_must_go
    desk.expires(140.1)
    desk.look(None, 140.6, 140.7)
    desk.expires(140.7)
    assert desk.leg.room_must_go
    desk.leg.room_deleted()
    assert desk.end.dialled is Dialled.UNKNOWN


def test_a_leg_that_may_still_be_joining_is_watched_on_after_its_room_was_deleted(desk):
    desk.fails(100.5, result_unknown("lost"))
    desk.leg.order_end()
    desk.leg.room_deleted()
    assert desk.leg.stage is Stage.RECONCILING
    desk.look("ringing", 101.0, 101.1)
    assert desk.leg.room_must_go


def test_a_deleted_room_whose_request_stays_silent_is_deleted_once_more_and_then_over(desk):
    desk.leg.order_end()
    desk.leg.room_deleted()
    desk.expires(107.0)
    assert desk.leg.room_must_go
    desk.leg.room_deleted()
    assert desk.end.cause is HangupCause.ORDERED


def test_after_a_standstill_a_room_with_a_conversation_in_it_does_not_go():
    desk = Desk(ring_timeout_s=20.0, post_dial_allowance_s=10.0)
    desk.look("ringing", 101.0, 101.1)
    desk.fails(400.0, result_unknown("no answer in time: nobody read it"))
    desk.expires(400.0)
    assert not desk.leg.room_must_go
    desk.look("active", 400.3, 400.4)
    desk.expires(400.8)
    assert not desk.leg.room_must_go
    assert [type(event) for event in desk.told] == [Ringing, Answered]


async def test_digits_cannot_be_sent_and_say_who_can(desk):
    with pytest.raises(Exception, match="let the agent send them"):
        await desk.leg.send_digits("12")


async def test_hanging_up_an_ended_leg_does_nothing(desk):
    desk.fails(101.0, busy())
    await desk.leg.hang_up()
    assert not desk.leg.room_is_deleted
