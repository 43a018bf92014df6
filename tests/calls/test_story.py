"""From what was seen of one dial to its outcome: pure, without any clock."""

from __future__ import annotations

import pytest

from orchestrator.calls.orders import Order
from orchestrator.calls.story import Story
from orchestrator.outcomes import EndReason
from sip.causes import HangupCause, Signal
from sip.events import Answered, Dialled, Ended, Moment, Ringing


def ended(at_s: float, cause: HangupCause, **signal) -> Ended:
    return Ended(at=Moment(at_s), cause=cause, signal=Signal(**signal), dialled=Dialled.UNKNOWN, rang=False)


def a_story(*, ringing_s: float | None = None, answered_s: float | None = None, max_duration_s: float = 60.0) -> Story:
    story = Story(dialed_at_s=100.0, max_duration_s=max_duration_s)
    if ringing_s is not None:
        story.ringing = Ringing(at=Moment(ringing_s, 0.25), source="poll")
    if answered_s is not None:
        story.answered = Answered(at=Moment(answered_s), source="request")
    return story


@pytest.mark.parametrize("order", [Order.CANCEL, Order.RING_TIMEOUT, Order.AGENT_GONE, Order.SHUT_DOWN])
def test_our_own_order_wins_over_what_the_carrier_says_about_it(order: Order):
    story = a_story(ringing_s=101.0)
    story.give(order)
    outcome = story.outcome(ended(110.0, HangupCause.NO_ANSWER, text="sip request timed out"))
    expected = {
        Order.CANCEL: EndReason.CANCELED_BY_REQUEST,
        Order.RING_TIMEOUT: EndReason.USER_DID_NOT_PICK_UP,
        Order.AGENT_GONE: EndReason.AGENT_LOST,
        Order.SHUT_DOWN: EndReason.WORKER_SHUT_DOWN,
    }
    assert outcome.reason is expected[order]
    assert outcome.evidence["order"] == order.value


def test_the_first_order_stands():
    story = a_story(ringing_s=101.0)
    story.give(Order.RING_TIMEOUT)
    story.give(Order.CANCEL)
    assert story.outcome(ended(131.0, HangupCause.ORDERED)).reason is EndReason.USER_DID_NOT_PICK_UP


def test_an_answer_that_crossed_our_hang_up_does_not_count_as_answered_but_is_told():
    story = a_story(ringing_s=101.0)
    story.give(Order.CANCEL)
    story.answered = Answered(at=Moment(110.0), source="request")
    outcome = story.outcome(ended(110.5, HangupCause.ORDERED))
    assert outcome.state.value == "canceled"
    assert outcome.talk_ms is None
    assert outcome.evidence["answered_while_hanging_up"] is True


@pytest.mark.parametrize(
    ("end_s", "reason"),
    [
        (168.9, EndReason.USER_HUNG_UP_IN_CALL),
        (169.0, EndReason.MAX_DURATION_REACHED),
        (200.0, EndReason.MAX_DURATION_REACHED),
    ],
)
def test_an_end_within_a_second_of_the_maximum_is_the_maximums(end_s: float, reason: EndReason):
    story = a_story(ringing_s=101.0, answered_s=110.0, max_duration_s=60.0)
    assert story.outcome(ended(end_s, HangupCause.NORMAL_CLEARING)).reason is reason


def test_ring_time_says_how_exact_it_is():
    story = a_story(ringing_s=101.0)
    outcome = story.outcome(Ended(Moment(104.0, 0.05), HangupCause.USER_BUSY, Signal(sip_code=486), Dialled.YES, rang=True))
    assert (outcome.pdd_ms, outcome.ring_ms, outcome.ring_error_ms) == (1000, 3000, 300)


def test_without_an_18x_there_is_no_ring_time():
    outcome = a_story(answered_s=105.0).outcome(ended(110.0, HangupCause.NORMAL_CLEARING))
    assert (outcome.pdd_ms, outcome.ring_ms, outcome.ring_error_ms) == (None, None, None)
    assert outcome.talk_ms == 5000


def test_a_phone_that_rang_was_dialled_whatever_the_carrier_claims():
    story = a_story(ringing_s=101.0)
    assert story.outcome(ended(110.0, HangupCause.UNKNOWN)).dialled is Dialled.YES
