"""The vocabulary: OUTCOMES.md's tables written down once more, their totality, and LIVEKIT.md's rows up to the end reason."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import (
    CAUSE_TO_REASON,
    LIVE_CALL_STATUS,
    OUTCOMES,
    VISIBLE_STATUS,
    AnsweredBy,
    CallStatus,
    EndedBy,
    EndReason,
    RedialClass,
    TestReason,
    VisibleStatus,
    answered_by,
    call_status,
    final_state,
    reason_for_cause,
    redial_class,
    visible_status,
)
from sip.causes import HangupCause, Signal, TrunkRules, hangup_cause

R = EndReason

# OUTCOMES.md, End reasons: end_reason, by, call status, redial, test reason.
END_REASONS = """
USER_HUNG_UP_IN_CALL             | user     | completed | no       | Main agent-ended-call
USER_DID_NOT_PICK_UP             | user     | no_answer | later    | Main agent-did-not-answer
USER_HUNG_UP_RINGING             | user     | no_answer | cooldown | call-rejected
AGENT_HUNG_UP_SILENCE_DETECTED   | agent    | completed | no       | Main agent-silence-timed-out
AGENT_HUNG_UP_VOICEMAIL_DETECTED | agent    | no_answer | later    | Main agent-voicemail
VOICEMAIL_DETECTED_PRECONNECT    | system   | no_answer | later    | Main agent-voicemail
MAX_DURATION_REACHED             | system   | completed | no       | exceeded-max-duration
IDLE_TIMEOUT                     | system   | completed | no       | Main agent-silence-timed-out
SIP_FAILED_WRONG_NUMBER          | carrier  | failed    | number   | Main agent-invalid-phone-number
SIP_FAILED_NUMBER_BLOCKED        | carrier  | failed    | cooldown | sip-call-failed
USER_BUSY                        | user     | busy      | soon     | Main agent-busy
AGENT_HUNG_UP                    | agent    | completed | no       | Testing agent-ended-call
AGENT_LEFT_VOICEMAIL_MESSAGE     | agent    | no_answer | no       | Main agent-voicemail
AGENT_HUNG_UP_BY_POLICY          | agent    | no_answer | later    | Main agent-voicemail
FAX_DETECTED                     | system   | no_answer | cooldown | Main agent-voicemail
AGENT_NEVER_JOINED               | system   | failed    | no       | Testing agent-did-not-connect
AGENT_LOST                       | system   | failed    | no       | Testing agent-pipeline-error
OPERATOR_HUNG_UP                 | operator | completed | no       | run-cancelled-by-user
CANCELED_BY_REQUEST              | operator | canceled  | no       | call-canceled
EXPIRED_IN_QUEUE                 | system   | failed    | no       | Testing agent-run-not-ready
BLOCKED_DO_NOT_CALL              | system   | failed    | no       | call-canceled
INVALID_NUMBER                   | system   | failed    | no       | Main agent-invalid-phone-number
CALL_TRANSFERRED                 | agent    | completed | no       | Testing agent-ended-call
HANDOVER_FAILED                  | agent    | completed | no       | sip-call-failed
SIP_FAILED_UNREACHABLE           | carrier  | failed    | later    | Main agent-call-not-connected
SIP_FAILED_SPAM_REJECTED         | carrier  | failed    | cooldown | call-rejected
SIP_FAILED_CAPACITY              | carrier  | failed    | trunk    | sip-call-failed
SIP_FAILED_TRUNK_AUTH            | carrier  | failed    | trunk    | sip-call-failed
SIP_FAILED_TRUNK_CONFIG          | carrier  | failed    | trunk    | sip-call-failed
SIP_FAILED_TRUNK_UNREACHABLE     | carrier  | failed    | trunk    | sip-call-failed
SIP_FAILED_SERVER_ERROR          | carrier  | failed    | soon     | sip-call-failed
SIP_FAILED_UNKNOWN               | carrier  | failed    | later    | call-failed-unknown-error
MEDIA_SERVER_UNAVAILABLE         | system   | failed    | no       | Testing agent-did-not-connect
MEDIA_LOST                       | carrier  | failed    | no       | sip-call-failed
LEG_LOST                         | system   | failed    | no       | sip-call-failed
WORKER_LOST                      | system   | failed    | no       | Testing agent-sip-dial-out-bot-crashed
WORKER_SHUT_DOWN                 | operator | completed | no       | run-cancelled-by-user
INTERNAL_ERROR                   | system   | failed    | no       | call-failed-unknown-error
"""
END_REASON_ROWS = [[cell.strip() for cell in line.split("|")] for line in END_REASONS.strip().splitlines()]

# A test bench's vocabulary of `call_ended_reason`, as it documents it.
BENCH_VOCABULARY = {
    "Main agent-ended-call",
    "Main agent-ended-call-after-message-spoken",
    "Main agent-ended-call-with-hangup-task",
    "Testing agent-ended-call",
    "Main agent-did-not-answer",
    "Main agent-busy",
    "Main agent-voicemail",
    "Main agent-silence-timed-out",
    "exceeded-max-duration",
    "run-cancelled-by-user",
    "external-user-ended-call",
    "Main agent-invalid-phone-number",
    "Testing agent-run-not-ready",
    "Main agent-call-not-connected",
    "call-canceled",
    "call-rejected",
    "call-failed-unknown-error",
    "sip-call-failed",
    "Main agent-twilio-client-error",
    "Testing agent-did-not-connect",
    "Testing agent-dial-out-bot-crashed",
    "Testing agent-dial-in-bot-crashed",
    "Testing agent-sip-dial-out-bot-crashed",
    "Testing agent-pipeline-error",
    "Testing agent-recording-absent",
    "Testing agent-recording-failed",
}

# Where detection or the agent itself decides who answered: machine, fax. (AGENT_HUNG_UP_BY_POLICY: as found.)
ANSWERED_BY = {
    R.AGENT_HUNG_UP_VOICEMAIL_DETECTED: AnsweredBy.MACHINE,
    R.AGENT_LEFT_VOICEMAIL_MESSAGE: AnsweredBy.MACHINE,
    R.FAX_DETECTED: AnsweredBy.FAX,
}

# Reasons that a call which was answered can have, and those that it can have besides without an answer.
CONVERSATIONS = {
    R.USER_HUNG_UP_IN_CALL,
    R.AGENT_HUNG_UP_SILENCE_DETECTED,
    R.AGENT_HUNG_UP_VOICEMAIL_DETECTED,
    R.MAX_DURATION_REACHED,
    R.IDLE_TIMEOUT,
    R.AGENT_HUNG_UP,
    R.AGENT_LEFT_VOICEMAIL_MESSAGE,
    R.AGENT_HUNG_UP_BY_POLICY,
    R.FAX_DETECTED,
    R.OPERATOR_HUNG_UP,
    R.CALL_TRANSFERRED,
    R.HANDOVER_FAILED,
    R.MEDIA_LOST,
    R.LEG_LOST,
}
EITHER_WAY = {R.AGENT_LOST, R.WORKER_SHUT_DOWN, R.INTERNAL_ERROR}


def test_the_end_reasons_are_those_of_the_document_and_their_values_are_their_names() -> None:
    assert [row[0] for row in END_REASON_ROWS] == [reason.name for reason in EndReason]
    assert all(reason.value == reason.name for reason in EndReason)
    assert set(OUTCOMES) == set(EndReason)


@pytest.mark.parametrize(("name", "by", "status", "redial", "test_reason"), END_REASON_ROWS)
def test_a_row_says_what_the_document_says(name: str, by: str, status: str, redial: str, test_reason: str) -> None:
    row = OUTCOMES[EndReason(name)]
    assert (row.by.value, row.call_status.value, row.redial.value, row.test_reason) == (by, status, redial, test_reason)


def test_every_value_of_every_vocabulary_is_used() -> None:
    rows = OUTCOMES.values()
    assert {row.by for row in rows} == set(EndedBy)
    assert {row.redial for row in rows} == set(RedialClass)
    assert {row.call_status for row in rows} | set(LIVE_CALL_STATUS.values()) == set(CallStatus)
    assert set(VISIBLE_STATUS.values()) == set(VisibleStatus)
    assert {row.test_reason for row in rows} == set(get_args(TestReason))


def test_every_test_reason_is_a_word_of_the_bench() -> None:
    assert set(get_args(TestReason)) <= BENCH_VOCABULARY


@pytest.mark.parametrize("reason", EndReason, ids=lambda reason: reason.name)
def test_a_phone_that_may_have_rung_changes_the_redial_class_only_where_the_document_says(reason: EndReason) -> None:
    row = OUTCOMES[reason]
    assert redial_class(reason, may_have_rung=False) is row.redial
    if reason in (R.SIP_FAILED_TRUNK_UNREACHABLE, R.WORKER_LOST):
        assert redial_class(reason, may_have_rung=True) is RedialClass.LATER
    else:
        assert redial_class(reason, may_have_rung=True) is row.redial


# States


@pytest.mark.parametrize(
    ("state", "visible", "status"),
    [
        (State.SCHEDULED, "pending", "queued"),
        (State.READY, "pending", "queued"),
        (State.CLAIMED, "pending", "queued"),
        (State.DIALING, "ringing", "initiated"),
        (State.RINGING, "ringing", "ringing"),
        (State.ACTIVE, "active", "in_progress"),
        (State.ENDED, "completed", None),
        (State.NOT_CONNECTED, "failed", None),
        (State.CANCELED, "failed", None),
    ],
)
def test_a_state_shows_as_the_document_says(state: State, visible: str, status: str | None) -> None:
    assert visible_status(state).value == visible
    if status is not None:
        assert call_status(state, None).value == status


def test_the_tables_of_states_are_total() -> None:
    assert set(VISIBLE_STATUS) == set(State)
    assert set(LIVE_CALL_STATUS) == {state for state in State if not state.is_terminal}


@pytest.mark.parametrize(("state", "reason"), list(itertools.product(State, EndReason)))
def test_a_call_that_is_over_has_the_status_of_its_reason_and_a_live_one_has_no_reason(state: State, reason: EndReason) -> None:
    if not state.is_terminal:
        with pytest.raises(ValueError, match=f"in state {state.value} cannot have the end reason {reason.value}"):
            call_status(state, reason)
    elif state in OUTCOMES[reason].final_states:
        status = call_status(state, reason)
        if state is State.NOT_CONNECTED and reason is R.WORKER_SHUT_DOWN:
            assert status is CallStatus.FAILED  # nothing that never connected is published as completed
        else:
            assert status is OUTCOMES[reason].call_status


@pytest.mark.parametrize("state", [state for state in State if state.is_terminal])
def test_a_call_that_is_over_without_a_reason_is_an_error(state: State) -> None:
    with pytest.raises(ValueError, match=f"in state {state.value} cannot have the end reason None"):
        call_status(state, None)


def test_completed_as_visible_and_as_call_status_go_together_when_unanswered() -> None:
    for reason in EndReason:
        for state in (State.NOT_CONNECTED, State.CANCELED):
            assert call_status(state, reason) is not CallStatus.COMPLETED


@pytest.mark.parametrize("reason", EndReason, ids=lambda reason: reason.name)
def test_the_final_state_follows_from_what_happened(reason: EndReason) -> None:
    assert final_state(reason, answered=True) is State.ENDED
    withdrawn = reason is R.CANCELED_BY_REQUEST
    assert final_state(reason, answered=False) is (State.CANCELED if withdrawn else State.NOT_CONNECTED)


@pytest.mark.parametrize("reason", EndReason, ids=lambda reason: reason.name)
def test_a_reason_is_found_in_the_final_states_that_fit_it(reason: EndReason) -> None:
    expected = set()
    if reason in CONVERSATIONS | EITHER_WAY:
        expected.add(final_state(reason, answered=True))
    if reason not in CONVERSATIONS:
        expected.add(final_state(reason, answered=False))
    assert OUTCOMES[reason].final_states == expected


@pytest.mark.parametrize("reason", EndReason, ids=lambda reason: reason.name)
def test_nobody_answered_unless_it_was_answered(reason: EndReason) -> None:
    assert answered_by(reason, answered=False) is None
    assert answered_by(reason, answered=True) is ANSWERED_BY.get(reason, AnsweredBy.UNKNOWN)


# From causes to reasons

CAUSES = {
    HangupCause.USER_BUSY: R.USER_BUSY,
    HangupCause.NO_ANSWER: R.USER_DID_NOT_PICK_UP,
    HangupCause.CALL_REJECTED: R.USER_HUNG_UP_RINGING,
    HangupCause.FORWARDED_TO_VOICEMAIL: R.VOICEMAIL_DETECTED_PRECONNECT,
    HangupCause.UNALLOCATED_NUMBER: R.SIP_FAILED_WRONG_NUMBER,
    HangupCause.NUMBER_BLOCKED: R.SIP_FAILED_NUMBER_BLOCKED,
    HangupCause.SPAM_REJECTED: R.SIP_FAILED_SPAM_REJECTED,
    HangupCause.SUBSCRIBER_ABSENT: R.SIP_FAILED_UNREACHABLE,
    HangupCause.TRUNK_CAPACITY: R.SIP_FAILED_CAPACITY,
    HangupCause.TRUNK_AUTH: R.SIP_FAILED_TRUNK_AUTH,
    HangupCause.TRUNK_CONFIG: R.SIP_FAILED_TRUNK_CONFIG,
    HangupCause.TRUNK_UNREACHABLE: R.SIP_FAILED_TRUNK_UNREACHABLE,
    HangupCause.NETWORK_ERROR: R.SIP_FAILED_SERVER_ERROR,
    HangupCause.MEDIA_SERVER_UNAVAILABLE: R.MEDIA_SERVER_UNAVAILABLE,
    HangupCause.UNKNOWN: R.SIP_FAILED_UNKNOWN,
    # What only an answered call can end with says nothing of one that was not.
    HangupCause.NORMAL_CLEARING: R.SIP_FAILED_UNKNOWN,
    HangupCause.MEDIA_LOST: R.SIP_FAILED_UNKNOWN,
    HangupCause.LEG_LOST: R.SIP_FAILED_UNKNOWN,
    HangupCause.ROOM_DELETED: R.AGENT_LOST,
    HangupCause.ORDERED: R.INTERNAL_ERROR,
}
CAUSES_AFTER_THE_ANSWER = {
    HangupCause.NORMAL_CLEARING: R.USER_HUNG_UP_IN_CALL,
    HangupCause.ROOM_DELETED: R.AGENT_HUNG_UP,
    HangupCause.MEDIA_LOST: R.MEDIA_LOST,
    HangupCause.ORDERED: R.INTERNAL_ERROR,
}


@pytest.mark.parametrize("cause", HangupCause, ids=lambda cause: cause.name)
def test_every_cause_has_a_reason_before_and_after_the_answer(cause: HangupCause) -> None:
    assert cause in CAUSE_TO_REASON
    assert reason_for_cause(cause, answered=False) is CAUSES[cause]
    assert reason_for_cause(cause, answered=True) is CAUSES_AFTER_THE_ANSWER.get(cause, R.LEG_LOST)


@pytest.mark.parametrize(("cause", "answered"), list(itertools.product(HangupCause, [False, True])))
def test_the_reason_of_a_cause_fits_the_final_state(cause: HangupCause, answered: bool) -> None:
    reason = reason_for_cause(cause, answered=answered)
    assert final_state(reason, answered=answered) in OUTCOMES[reason].final_states


def test_every_reason_is_reached_by_a_cause_or_decided_by_ourselves() -> None:
    by_cause = {reason_for_cause(cause, answered=answered) for cause in HangupCause for answered in (False, True)}
    decided_by_ourselves = {
        R.AGENT_HUNG_UP_SILENCE_DETECTED,
        R.AGENT_HUNG_UP_VOICEMAIL_DETECTED,
        R.MAX_DURATION_REACHED,
        R.IDLE_TIMEOUT,
        R.AGENT_LEFT_VOICEMAIL_MESSAGE,
        R.AGENT_HUNG_UP_BY_POLICY,
        R.FAX_DETECTED,
        R.AGENT_NEVER_JOINED,
        R.OPERATOR_HUNG_UP,
        R.CANCELED_BY_REQUEST,
        R.EXPIRED_IN_QUEUE,
        R.BLOCKED_DO_NOT_CALL,
        R.INVALID_NUMBER,
        R.CALL_TRANSFERRED,
        R.HANDOVER_FAILED,
        R.WORKER_LOST,
        R.WORKER_SHUT_DOWN,
    }
    assert not by_cause & decided_by_ourselves
    assert by_cause | decided_by_ourselves == set(EndReason)


# LIVEKIT.md, section 0: what a real server, SIP service and far end said, and the end reason in the last column.

TIMED_OUT = "twirp error canceled: sip request timed out"


@pytest.mark.parametrize(
    ("signal", "answered", "ring_s", "reason"),
    [
        pytest.param(Signal(disconnect_reason="CLIENT_INITIATED"), True, 1.5, R.USER_HUNG_UP_IN_CALL, id="180 200 BYE"),
        pytest.param(Signal(486, "Busy Here", disconnect_reason="USER_REJECTED"), False, 1.5, R.USER_BUSY, id="180 486"),
        pytest.param(
            Signal(603, "Decline", disconnect_reason="USER_REJECTED"), False, 1.5, R.USER_HUNG_UP_RINGING, id="180 603"
        ),
        pytest.param(
            Signal(603, "Decline", disconnect_reason="USER_REJECTED"), False, None, R.SIP_FAILED_NUMBER_BLOCKED, id="603 32203"
        ),
        pytest.param(
            Signal(404, "Not Found", disconnect_reason="USER_UNAVAILABLE"), False, None, R.SIP_FAILED_WRONG_NUMBER, id="404"
        ),
        pytest.param(
            Signal(403, "Forbidden", disconnect_reason="USER_REJECTED"), False, None, R.SIP_FAILED_TRUNK_CONFIG, id="403"
        ),
        pytest.param(
            Signal(480, "Temporarily Unavailable", disconnect_reason="USER_UNAVAILABLE"),
            False,
            3.0,
            R.VOICEMAIL_DETECTED_PRECONNECT,
            id="180 480",
        ),
        pytest.param(
            Signal(480, disconnect_reason="USER_UNAVAILABLE"), False, 3.0, R.VOICEMAIL_DETECTED_PRECONNECT, id="183 480"
        ),
        pytest.param(
            Signal(503, "Service Unavailable", disconnect_reason="CLIENT_INITIATED"),
            False,
            None,
            R.SIP_FAILED_SERVER_ERROR,
            id="503",
        ),
        pytest.param(
            Signal(text=TIMED_OUT, disconnect_reason="USER_UNAVAILABLE"), False, 8.0, R.USER_DID_NOT_PICK_UP, id="180 silence"
        ),
        pytest.param(
            Signal(text=TIMED_OUT, disconnect_reason="USER_UNAVAILABLE"),
            False,
            None,
            R.SIP_FAILED_TRUNK_UNREACHABLE,
            id="silence",
        ),
        # "none yet: back to the queue, unspent"; the reason is for when it expires there.
        pytest.param(
            Signal(text="twirp error unavailable: cpu exhausted"), False, None, R.MEDIA_SERVER_UNAVAILABLE, id="cpu exhausted"
        ),
    ],
)
def test_what_a_real_far_end_did_ends_in_the_documents_reason(
    signal: Signal, answered: bool, ring_s: float | None, reason: EndReason
) -> None:
    reading = hangup_cause(
        signal, answered=answered, rang=ring_s is not None, ring_s=ring_s, ring_timeout_s=8.0, rules=TrunkRules()
    )
    assert reason_for_cause(reading.cause, answered=answered) is reason
