"""End reasons, and the one total table from them to every public vocabulary and to a redial class.

The source of every value here is OUTCOMES.md; `sip.causes` says what happened on the line, this module what that means to
whoever reads the call. It decides nothing about a live call (the conductor does) and knows neither store nor clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from orchestrator.lifecycle import State
from sip.causes import HangupCause
from sip.voicemail.events import Kind


class EndReason(enum.Enum):
    """The one reason why a call ended (OUTCOMES.md, End reasons). Values equal names; they are stored and published as such."""

    USER_HUNG_UP_IN_CALL = "USER_HUNG_UP_IN_CALL"
    """The other party hung up during the conversation."""
    USER_DID_NOT_PICK_UP = "USER_DID_NOT_PICK_UP"
    """Rang out, by our timer or the network's."""
    USER_HUNG_UP_RINGING = "USER_HUNG_UP_RINGING"
    """The callee rejected it while ringing."""
    AGENT_HUNG_UP_SILENCE_DETECTED = "AGENT_HUNG_UP_SILENCE_DETECTED"
    """Prolonged silence of the other party."""
    AGENT_HUNG_UP_VOICEMAIL_DETECTED = "AGENT_HUNG_UP_VOICEMAIL_DETECTED"
    """Voicemail found after connect; hung up."""
    VOICEMAIL_DETECTED_PRECONNECT = "VOICEMAIL_DETECTED_PRECONNECT"
    """Voicemail found while ringing; never connected."""
    MAX_DURATION_REACHED = "MAX_DURATION_REACHED"
    """The hard cap of a call."""
    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    """Nothing from either party for too long; reaped."""
    SIP_FAILED_WRONG_NUMBER = "SIP_FAILED_WRONG_NUMBER"
    """The number is invalid, unallocated or unreachable for good."""
    SIP_FAILED_NUMBER_BLOCKED = "SIP_FAILED_NUMBER_BLOCKED"
    """The carrier blocks calls to this number from us."""
    USER_BUSY = "USER_BUSY"
    """Busy."""
    AGENT_HUNG_UP = "AGENT_HUNG_UP"
    """Our agent ended the conversation on purpose."""
    AGENT_LEFT_VOICEMAIL_MESSAGE = "AGENT_LEFT_VOICEMAIL_MESSAGE"
    """Voicemail; a message was left."""
    AGENT_HUNG_UP_BY_POLICY = "AGENT_HUNG_UP_BY_POLICY"
    """A menu, screening, full mailbox or announcement after connect, and the policy says hang up; evidence says which."""
    FAX_DETECTED = "FAX_DETECTED"
    """Fax or modem answered."""
    AGENT_NEVER_JOINED = "AGENT_NEVER_JOINED"
    """No agent came in time, until the call expired; nobody was dialled."""
    AGENT_LOST = "AGENT_LOST"
    """The agent vanished, while it rang or during the conversation, and did not return."""
    OPERATOR_HUNG_UP = "OPERATOR_HUNG_UP"
    """An operator or the API ended a live call."""
    CANCELED_BY_REQUEST = "CANCELED_BY_REQUEST"
    """Withdrawn before it connected."""
    EXPIRED_IN_QUEUE = "EXPIRED_IN_QUEUE"
    """Its time ran out before it could be dialled; evidence says what it waited for."""
    BLOCKED_DO_NOT_CALL = "BLOCKED_DO_NOT_CALL"
    """On a do-not-call or suppression list, or outside the allowed destinations, when its turn came."""
    INVALID_NUMBER = "INVALID_NUMBER"
    """Not a number that can be dialled, found after it was queued (the SQL door)."""
    CALL_TRANSFERRED = "CALL_TRANSFERRED"
    """Handed over; our leg ended as intended."""
    HANDOVER_FAILED = "HANDOVER_FAILED"
    """A transfer failed and the call could not go on."""
    SIP_FAILED_UNREACHABLE = "SIP_FAILED_UNREACHABLE"
    """Phone off, not registered, out of coverage."""
    SIP_FAILED_SPAM_REJECTED = "SIP_FAILED_SPAM_REJECTED"
    """An analytics engine or the callee's carrier rejected our caller id."""
    SIP_FAILED_CAPACITY = "SIP_FAILED_CAPACITY"
    """The trunk's own limit, until the call expired."""
    SIP_FAILED_TRUNK_AUTH = "SIP_FAILED_TRUNK_AUTH"
    """Credentials or account of the trunk."""
    SIP_FAILED_TRUNK_CONFIG = "SIP_FAILED_TRUNK_CONFIG"
    """The trunk refuses how we call: permission, caller id, codec, protocol."""
    SIP_FAILED_TRUNK_UNREACHABLE = "SIP_FAILED_TRUNK_UNREACHABLE"
    """DNS, TCP or TLS failure, or no answer at all from the trunk."""
    SIP_FAILED_SERVER_ERROR = "SIP_FAILED_SERVER_ERROR"
    """An error inside the network."""
    SIP_FAILED_UNKNOWN = "SIP_FAILED_UNKNOWN"
    """Any other final answer; the raw cause is stored."""
    MEDIA_SERVER_UNAVAILABLE = "MEDIA_SERVER_UNAVAILABLE"
    """LiveKit or its SIP service could not take the call, until it expired; nothing was dialled."""
    MEDIA_LOST = "MEDIA_LOST"
    """Answered, then no audio packets for too long, as reported."""
    LEG_LOST = "LEG_LOST"
    """An active leg is gone and nothing says why."""
    WORKER_LOST = "WORKER_LOST"
    """The worker died before the answer and the leg was not found."""
    WORKER_SHUT_DOWN = "WORKER_SHUT_DOWN"
    """A forced shutdown hung up a live call."""
    INTERNAL_ERROR = "INTERNAL_ERROR"
    """A defect of ours; logged with its trace."""


class EndedBy(enum.Enum):
    """Who ended a call."""

    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"
    CARRIER = "carrier"
    OPERATOR = "operator"


class AnsweredBy(enum.Enum):
    """Who or what answered; nobody answered is None."""

    HUMAN = "human"
    MACHINE = "machine"
    FAX = "fax"
    IVR = "ivr"
    SCREENING = "screening"
    UNKNOWN = "unknown"


class VisibleStatus(enum.Enum):
    """The coarse public status (OUTCOMES.md, States)."""

    PENDING = "pending"
    RINGING = "ringing"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"


class CallStatus(enum.Enum):
    """The fine public status (OUTCOMES.md, States and End reasons)."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"
    CANCELED = "canceled"


class RedialClass(enum.Enum):
    """What an end says about dialling again (OUTCOMES.md, Redial classes). Delays belong to the redial policy, not here."""

    NO = "no"
    """It served its purpose, was ended on purpose, or cannot be helped by dialling again."""
    SOON = "soon"
    LATER = "later"
    COOLDOWN = "cooldown"
    """At most one more attempt, after days."""
    NUMBER = "number"
    """The number is suppressed for the account."""
    TRUNK = "trunk"
    """Another dial of the same attempt, only after a result that proves that no phone rang."""


TestReason = Literal[
    "Main agent-ended-call",
    "Main agent-did-not-answer",
    "Main agent-busy",
    "Main agent-voicemail",
    "Main agent-silence-timed-out",
    "Main agent-invalid-phone-number",
    "Main agent-call-not-connected",
    "Testing agent-ended-call",
    "Testing agent-run-not-ready",
    "Testing agent-did-not-connect",
    "Testing agent-pipeline-error",
    "Testing agent-sip-dial-out-bot-crashed",
    "exceeded-max-duration",
    "run-cancelled-by-user",
    "call-canceled",
    "call-rejected",
    "call-failed-unknown-error",
    "sip-call-failed",
]
"""`call_ended_reason` of a test bench whose tester we are: "Main agent" is the callee under test, "Testing agent" is ours."""


@dataclass(frozen=True, slots=True)
class Row:
    """All that an end reason says by itself."""

    by: EndedBy
    call_status: CallStatus
    redial: RedialClass
    """When no phone rang, for the reasons that also have `redial_if_rung`."""
    test_reason: TestReason
    final_states: frozenset[State]
    """The terminal states in which this reason can be found."""
    answered_by: AnsweredBy | None = None
    """What the reason itself says about who answered; None: nothing."""
    redial_if_rung: RedialClass | None = None
    """Instead of `redial` when a phone may have rung."""


# The table below is OUTCOMES.md's, column for column; these names keep a row on a line.
USER, AGENT, SYSTEM, CARRIER, OPERATOR = EndedBy.USER, EndedBy.AGENT, EndedBy.SYSTEM, EndedBy.CARRIER, EndedBy.OPERATOR
COMPLETED, NO_ANSWER, FAILED = CallStatus.COMPLETED, CallStatus.NO_ANSWER, CallStatus.FAILED
NO, SOON, LATER = RedialClass.NO, RedialClass.SOON, RedialClass.LATER
COOLDOWN, NUMBER, TRUNK = RedialClass.COOLDOWN, RedialClass.NUMBER, RedialClass.TRUNK
CONNECTED, UNCONNECTED = frozenset({State.ENDED}), frozenset({State.NOT_CONNECTED})
EITHER, WITHDRAWN = CONNECTED | UNCONNECTED, frozenset({State.CANCELED})

OUTCOMES: dict[EndReason, Row] = {
    EndReason.USER_HUNG_UP_IN_CALL: Row(USER, COMPLETED, NO, "Main agent-ended-call", CONNECTED),
    EndReason.USER_DID_NOT_PICK_UP: Row(USER, NO_ANSWER, LATER, "Main agent-did-not-answer", UNCONNECTED),
    EndReason.USER_HUNG_UP_RINGING: Row(USER, NO_ANSWER, COOLDOWN, "call-rejected", UNCONNECTED),
    EndReason.AGENT_HUNG_UP_SILENCE_DETECTED: Row(AGENT, COMPLETED, NO, "Main agent-silence-timed-out", CONNECTED),
    EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED: Row(
        AGENT, NO_ANSWER, LATER, "Main agent-voicemail", CONNECTED, AnsweredBy.MACHINE
    ),
    EndReason.VOICEMAIL_DETECTED_PRECONNECT: Row(SYSTEM, NO_ANSWER, LATER, "Main agent-voicemail", UNCONNECTED),
    EndReason.MAX_DURATION_REACHED: Row(SYSTEM, COMPLETED, NO, "exceeded-max-duration", CONNECTED),
    EndReason.IDLE_TIMEOUT: Row(SYSTEM, COMPLETED, NO, "Main agent-silence-timed-out", CONNECTED),
    EndReason.SIP_FAILED_WRONG_NUMBER: Row(CARRIER, FAILED, NUMBER, "Main agent-invalid-phone-number", UNCONNECTED),
    EndReason.SIP_FAILED_NUMBER_BLOCKED: Row(CARRIER, FAILED, COOLDOWN, "sip-call-failed", UNCONNECTED),
    EndReason.USER_BUSY: Row(USER, CallStatus.BUSY, SOON, "Main agent-busy", UNCONNECTED),
    EndReason.AGENT_HUNG_UP: Row(AGENT, COMPLETED, NO, "Testing agent-ended-call", CONNECTED),
    EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE: Row(AGENT, NO_ANSWER, NO, "Main agent-voicemail", CONNECTED, AnsweredBy.MACHINE),
    EndReason.AGENT_HUNG_UP_BY_POLICY: Row(AGENT, NO_ANSWER, LATER, "Main agent-voicemail", CONNECTED),
    EndReason.FAX_DETECTED: Row(SYSTEM, NO_ANSWER, COOLDOWN, "Main agent-voicemail", CONNECTED, AnsweredBy.FAX),
    EndReason.AGENT_NEVER_JOINED: Row(SYSTEM, FAILED, NO, "Testing agent-did-not-connect", UNCONNECTED),
    EndReason.AGENT_LOST: Row(SYSTEM, FAILED, NO, "Testing agent-pipeline-error", EITHER),
    EndReason.OPERATOR_HUNG_UP: Row(OPERATOR, COMPLETED, NO, "run-cancelled-by-user", CONNECTED),
    EndReason.CANCELED_BY_REQUEST: Row(OPERATOR, CallStatus.CANCELED, NO, "call-canceled", WITHDRAWN),
    EndReason.EXPIRED_IN_QUEUE: Row(SYSTEM, FAILED, NO, "Testing agent-run-not-ready", UNCONNECTED),
    EndReason.BLOCKED_DO_NOT_CALL: Row(SYSTEM, FAILED, NO, "call-canceled", UNCONNECTED),
    EndReason.INVALID_NUMBER: Row(SYSTEM, FAILED, NO, "Main agent-invalid-phone-number", UNCONNECTED),
    EndReason.CALL_TRANSFERRED: Row(AGENT, COMPLETED, NO, "Testing agent-ended-call", CONNECTED),
    EndReason.HANDOVER_FAILED: Row(AGENT, COMPLETED, NO, "sip-call-failed", CONNECTED),
    EndReason.SIP_FAILED_UNREACHABLE: Row(CARRIER, FAILED, LATER, "Main agent-call-not-connected", UNCONNECTED),
    EndReason.SIP_FAILED_SPAM_REJECTED: Row(CARRIER, FAILED, COOLDOWN, "call-rejected", UNCONNECTED),
    EndReason.SIP_FAILED_CAPACITY: Row(CARRIER, FAILED, TRUNK, "sip-call-failed", UNCONNECTED),
    EndReason.SIP_FAILED_TRUNK_AUTH: Row(CARRIER, FAILED, TRUNK, "sip-call-failed", UNCONNECTED),
    EndReason.SIP_FAILED_TRUNK_CONFIG: Row(CARRIER, FAILED, TRUNK, "sip-call-failed", UNCONNECTED),
    EndReason.SIP_FAILED_TRUNK_UNREACHABLE: Row(CARRIER, FAILED, TRUNK, "sip-call-failed", UNCONNECTED, redial_if_rung=LATER),
    EndReason.SIP_FAILED_SERVER_ERROR: Row(CARRIER, FAILED, SOON, "sip-call-failed", UNCONNECTED),
    EndReason.SIP_FAILED_UNKNOWN: Row(CARRIER, FAILED, LATER, "call-failed-unknown-error", UNCONNECTED),
    EndReason.MEDIA_SERVER_UNAVAILABLE: Row(SYSTEM, FAILED, NO, "Testing agent-did-not-connect", UNCONNECTED),
    EndReason.MEDIA_LOST: Row(CARRIER, FAILED, NO, "sip-call-failed", CONNECTED),
    EndReason.LEG_LOST: Row(SYSTEM, FAILED, NO, "sip-call-failed", CONNECTED),
    EndReason.WORKER_LOST: Row(SYSTEM, FAILED, NO, "Testing agent-sip-dial-out-bot-crashed", UNCONNECTED, redial_if_rung=LATER),
    EndReason.WORKER_SHUT_DOWN: Row(OPERATOR, COMPLETED, NO, "run-cancelled-by-user", EITHER),
    EndReason.INTERNAL_ERROR: Row(SYSTEM, FAILED, NO, "call-failed-unknown-error", EITHER),
}
"""OUTCOMES.md, End reasons, row by row."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """What a hang-up cause means before and after the answer."""

    unanswered: EndReason
    answered: EndReason


CAUSE_TO_REASON: dict[HangupCause, Reasons] = {
    # A cause from the other side of the answer contradicts what was seen. It is told as what is certain: the leg is over and
    # nothing says why.
    HangupCause.NORMAL_CLEARING: Reasons(EndReason.SIP_FAILED_UNKNOWN, EndReason.USER_HUNG_UP_IN_CALL),
    # Whoever gave the order recorded it first and never asks here; to get here without a record is a defect.
    HangupCause.ORDERED: Reasons(EndReason.INTERNAL_ERROR, EndReason.INTERNAL_ERROR),
    # Agents end calls by deleting the room. While it still rings there is no conversation to end on purpose: the agent is gone.
    HangupCause.ROOM_DELETED: Reasons(EndReason.AGENT_LOST, EndReason.AGENT_HUNG_UP),
    HangupCause.USER_BUSY: Reasons(EndReason.USER_BUSY, EndReason.LEG_LOST),
    HangupCause.NO_ANSWER: Reasons(EndReason.USER_DID_NOT_PICK_UP, EndReason.LEG_LOST),
    HangupCause.CALL_REJECTED: Reasons(EndReason.USER_HUNG_UP_RINGING, EndReason.LEG_LOST),
    HangupCause.FORWARDED_TO_VOICEMAIL: Reasons(EndReason.VOICEMAIL_DETECTED_PRECONNECT, EndReason.LEG_LOST),
    HangupCause.UNALLOCATED_NUMBER: Reasons(EndReason.SIP_FAILED_WRONG_NUMBER, EndReason.LEG_LOST),
    HangupCause.NUMBER_BLOCKED: Reasons(EndReason.SIP_FAILED_NUMBER_BLOCKED, EndReason.LEG_LOST),
    HangupCause.SPAM_REJECTED: Reasons(EndReason.SIP_FAILED_SPAM_REJECTED, EndReason.LEG_LOST),
    HangupCause.SUBSCRIBER_ABSENT: Reasons(EndReason.SIP_FAILED_UNREACHABLE, EndReason.LEG_LOST),
    HangupCause.TRUNK_CAPACITY: Reasons(EndReason.SIP_FAILED_CAPACITY, EndReason.LEG_LOST),
    HangupCause.TRUNK_AUTH: Reasons(EndReason.SIP_FAILED_TRUNK_AUTH, EndReason.LEG_LOST),
    HangupCause.TRUNK_CONFIG: Reasons(EndReason.SIP_FAILED_TRUNK_CONFIG, EndReason.LEG_LOST),
    HangupCause.TRUNK_UNREACHABLE: Reasons(EndReason.SIP_FAILED_TRUNK_UNREACHABLE, EndReason.LEG_LOST),
    HangupCause.NETWORK_ERROR: Reasons(EndReason.SIP_FAILED_SERVER_ERROR, EndReason.LEG_LOST),
    HangupCause.MEDIA_SERVER_UNAVAILABLE: Reasons(EndReason.MEDIA_SERVER_UNAVAILABLE, EndReason.LEG_LOST),
    HangupCause.MEDIA_LOST: Reasons(EndReason.SIP_FAILED_UNKNOWN, EndReason.MEDIA_LOST),
    HangupCause.LEG_LOST: Reasons(EndReason.SIP_FAILED_UNKNOWN, EndReason.LEG_LOST),
    HangupCause.UNKNOWN: Reasons(EndReason.SIP_FAILED_UNKNOWN, EndReason.LEG_LOST),
}
"""Total. Rule 1 of OUTCOMES.md (what we did ourselves) comes before it and is the conductor's."""


ANSWERED_BY: dict[Kind, AnsweredBy] = {
    Kind.PERSON: AnsweredBy.HUMAN,
    Kind.VOICEMAIL: AnsweredBy.MACHINE,
    Kind.MAILBOX_FULL: AnsweredBy.MACHINE,
    Kind.MENU: AnsweredBy.IVR,
    Kind.SCREENING: AnsweredBy.SCREENING,
    Kind.ANNOUNCEMENT: AnsweredBy.MACHINE,
    Kind.FAX: AnsweredBy.FAX,
    Kind.CALL_PROGRESS: AnsweredBy.MACHINE,
    Kind.MACHINE: AnsweredBy.MACHINE,
    Kind.NOTHING: AnsweredBy.UNKNOWN,
    Kind.UNCERTAIN: AnsweredBy.UNKNOWN,
}
"""What detection heard, in the public vocabulary. Total."""

VISIBLE_STATUS: dict[State, VisibleStatus] = {
    State.SCHEDULED: VisibleStatus.PENDING,
    State.READY: VisibleStatus.PENDING,
    State.CLAIMED: VisibleStatus.PENDING,
    State.DIALING: VisibleStatus.RINGING,
    State.RINGING: VisibleStatus.RINGING,
    State.ACTIVE: VisibleStatus.ACTIVE,
    State.ENDED: VisibleStatus.COMPLETED,
    State.NOT_CONNECTED: VisibleStatus.FAILED,
    State.CANCELED: VisibleStatus.FAILED,
}
"""OUTCOMES.md, States."""

LIVE_CALL_STATUS: dict[State, CallStatus] = {
    State.SCHEDULED: CallStatus.QUEUED,
    State.READY: CallStatus.QUEUED,
    State.CLAIMED: CallStatus.QUEUED,
    State.DIALING: CallStatus.INITIATED,
    State.RINGING: CallStatus.RINGING,
    State.ACTIVE: CallStatus.IN_PROGRESS,
}
"""OUTCOMES.md, States; the call status of a call that is over comes from its end reason."""


def visible_status(state: State) -> VisibleStatus:
    """The coarse public status of a call in `state`."""
    return VISIBLE_STATUS[state]


def call_status(state: State, reason: EndReason | None) -> CallStatus:
    """The fine public status. `reason` is None if and only if `state` is not terminal (I3); ValueError otherwise."""
    if state.is_terminal != (reason is not None):
        raise ValueError(f"a call in state {state.value} cannot have the end reason {reason.value if reason else None}")
    if reason is None:
        return LIVE_CALL_STATUS[state]
    status = OUTCOMES[reason].call_status
    if status is CallStatus.COMPLETED and state is not State.ENDED:
        # A forced shutdown while it rang: WORKER_SHUT_DOWN, but nothing that never connected is published as completed.
        return CallStatus.FAILED
    return status


def reason_for_cause(cause: HangupCause, *, answered: bool) -> EndReason:
    """What an end that nobody here ordered is called."""
    reasons = CAUSE_TO_REASON[cause]
    return reasons.answered if answered else reasons.unanswered


def final_state(reason: EndReason, *, answered: bool) -> State:
    """`ended` if it was answered, `canceled` for CANCELED_BY_REQUEST, else `not_connected` (OUTCOMES.md, States)."""
    if answered:
        return State.ENDED
    return State.CANCELED if reason is EndReason.CANCELED_BY_REQUEST else State.NOT_CONNECTED


def answered_by(reason: EndReason, *, answered: bool, heard: Kind | None = None) -> AnsweredBy | None:
    """Who answered: as the reason itself tells, else as was heard (the last verdict of detection). None: nobody answered."""
    if not answered:
        return None
    return OUTCOMES[reason].answered_by or (AnsweredBy.UNKNOWN if heard is None else ANSWERED_BY[heard])


def redial_class(reason: EndReason, *, may_have_rung: bool) -> RedialClass:
    """What the end says about dialling again; `may_have_rung`: nothing proves that no phone rang."""
    row = OUTCOMES[reason]
    return row.redial_if_rung if may_have_rung and row.redial_if_rung is not None else row.redial
