"""What follows from the end of a dial: pure, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.calls.aftermath import VERDICTS, aftermath, unspent_aftermath
from orchestrator.calls.orders import Order
from orchestrator.calls.story import Story
from orchestrator.outcomes import EndReason, RedialClass, redial_class
from orchestrator.redial import SUPPRESSED_S
from orchestrator.store.records import Aftermath, ClaimedCall, RedialPolicy, TrunkVerdict
from sip.causes import HangupCause, Signal
from sip.clock import Clock
from sip.events import Answered, Dialled, Ended, Moment, Ringing
from tests.fixtures.claims import a_claimed_call

SCALE = 40.0
OFTEN = RedialPolicy(max_attempts=9, jitter=0.0)


def follows(
    cause: HangupCause,
    *,
    rang: bool = False,
    answered: bool = False,
    order: Order | None = None,
    dialled: Dialled = Dialled.YES,
    call: ClaimedCall | None = None,
    **signal: Any,
) -> Aftermath:
    story = Story(dialed_at_s=100.0, max_duration_s=60.0)
    if rang:
        story.ringing = Ringing(at=Moment(101.0), source="poll")
    if answered:
        story.answered = Answered(at=Moment(105.0), source="request")
    if order is not None:
        story.give(order)
    ended = Ended(at=Moment(110.0), cause=cause, signal=Signal(**signal), dialled=dialled, rang=rang or answered)
    call = call or a_claimed_call(redial=OFTEN)
    return aftermath(story, ended, story.outcome(ended), call=call, clock=Clock(scale=SCALE), chance=0.0)


def test_every_cause_has_a_verdict():
    assert set(VERDICTS) == set(HangupCause)


@pytest.mark.parametrize("cause", HangupCause)
def test_a_trunk_that_rang_or_connected_a_call_carried_it_whatever_came_then(cause: HangupCause):
    assert follows(cause, rang=True).trunk_verdict is TrunkVerdict.GOOD
    assert follows(cause, rang=True, answered=True).trunk_verdict is TrunkVerdict.ANSWERED
    assert follows(cause, answered=True).trunk_verdict is TrunkVerdict.ANSWERED


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("cause", [HangupCause.ORDERED, HangupCause.TRUNK_UNREACHABLE, HangupCause.UNKNOWN])
def test_what_we_ended_ourselves_before_it_rang_says_nothing_of_the_trunk(order: Order, cause: HangupCause):
    assert follows(cause, order=order).trunk_verdict is TrunkVerdict.NOTHING


@pytest.mark.parametrize(
    ("cause", "code", "verdict"),
    [
        (HangupCause.USER_BUSY, 486, TrunkVerdict.GOOD),
        (HangupCause.SUBSCRIBER_ABSENT, 480, TrunkVerdict.GOOD),
        (HangupCause.UNALLOCATED_NUMBER, 404, TrunkVerdict.NUMBER),
        (HangupCause.NUMBER_BLOCKED, 603, TrunkVerdict.NOTHING),
        (HangupCause.SPAM_REJECTED, 607, TrunkVerdict.NOTHING),
        (HangupCause.TRUNK_CONFIG, 403, TrunkVerdict.TRUNK),
        (HangupCause.TRUNK_UNREACHABLE, None, TrunkVerdict.TRUNK),
        (HangupCause.NETWORK_ERROR, 503, TrunkVerdict.NOTHING),
        (HangupCause.MEDIA_SERVER_UNAVAILABLE, None, TrunkVerdict.NOTHING),
    ],
)
def test_a_dial_that_did_not_ring_is_judged_by_its_cause(cause: HangupCause, code: int | None, verdict: TrunkVerdict):
    for result in (
        follows(cause, sip_code=code),
        unspent_aftermath(Ended(at=Moment(1.0), cause=cause, signal=Signal(sip_code=code), dialled=Dialled.NO, rang=False)),
    ):
        assert result.trunk_verdict is verdict
        assert result.trunk_code == (cause.value if code is None else str(code))


def test_delays_are_seconds_of_the_clock_and_go_to_the_database_as_real_ones():
    assert follows(HangupCause.USER_BUSY, sip_code=486).redial_delay_s == pytest.approx(300.0 / SCALE)


def test_a_busy_callee_whose_phone_rang_is_left_alone_for_longer():
    assert follows(HangupCause.USER_BUSY, sip_code=486, rang=True).redial_delay_s == pytest.approx(7200.0 / SCALE)


def test_a_trunk_that_may_have_rung_a_phone_is_not_tried_again_soon():
    delay_s = follows(HangupCause.TRUNK_UNREACHABLE, dialled=Dialled.UNKNOWN).redial_delay_s
    assert delay_s == pytest.approx(7200.0 / SCALE)


@pytest.mark.parametrize("order", [Order.CANCEL, Order.SHUT_DOWN, Order.AGENT_GONE, Order.AGENT_ENDED])
@pytest.mark.parametrize("rang", [False, True])
@pytest.mark.parametrize("answered", [False, True])
def test_what_was_ended_on_purpose_is_not_tried_again(order: Order, rang: bool, answered: bool):
    assert follows(HangupCause.ORDERED, rang=rang, answered=answered, order=order).redial_delay_s is None


def test_a_number_that_does_not_exist_is_suppressed_and_not_tried_again():
    result = follows(HangupCause.UNALLOCATED_NUMBER, sip_code=404)
    assert (result.redial_delay_s, result.suppress_number_s) == (None, SUPPRESSED_S)


def test_nothing_else_suppresses_a_number():
    for cause in HangupCause:
        if cause is not HangupCause.UNALLOCATED_NUMBER:
            assert follows(cause).suppress_number_s is None


def test_earlier_attempts_count():
    second = a_claimed_call(redial=OFTEN, earlier_ends=(EndReason.USER_BUSY,))
    assert follows(HangupCause.USER_BUSY, call=second).redial_delay_s == pytest.approx(900.0 / SCALE)
    last = a_claimed_call(redial=RedialPolicy(max_attempts=2), earlier_ends=(EndReason.USER_BUSY,))
    assert follows(HangupCause.USER_BUSY, call=last).redial_delay_s is None


def test_an_attempt_after_a_cooldown_is_the_last():
    cooled = a_claimed_call(redial=OFTEN, earlier_ends=(EndReason.USER_BUSY, EndReason.USER_HUNG_UP_RINGING))
    assert redial_class(EndReason.USER_HUNG_UP_RINGING, may_have_rung=True) is RedialClass.COOLDOWN
    assert follows(HangupCause.USER_BUSY, call=cooled).redial_delay_s is None
