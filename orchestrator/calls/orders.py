"""What we do to a call ourselves, recorded before we do it, and what end it means (OUTCOMES.md, rule 1)."""

from __future__ import annotations

import enum
from typing import assert_never

from orchestrator.outcomes import EndReason
from sip.voicemail.events import Kind


class Order(enum.Enum):
    """A decision of ours to end a call that has been dialled."""

    CANCEL = "cancel"
    """Somebody asked for it: the command line, the API."""
    RING_TIMEOUT = "ring_timeout"
    MAX_DURATION = "max_duration"
    AGENT_ENDED = "agent_ended"
    """The agent gave its end signal, or left and its account trusts leaves."""
    AGENT_GONE = "agent_gone"
    """The agent vanished and did not come back in its grace time."""
    SHUT_DOWN = "shut_down"
    """This process is told to stop at once."""
    VOICEMAIL_HANG_UP = "voicemail_hang_up"
    """A voicemail, or a machine of unknown kind, and the policy hangs up on it."""
    POLICY_HANG_UP = "policy_hang_up"
    """A menu, screening, full mailbox or announcement, and the policy hangs up on it."""
    FAX = "fax"
    """A fax or modem, and the policy hangs up on it."""
    MESSAGE_LEFT = "message_left"
    """The message has been left: played to its end, or the agent says that it is done."""
    SILENCE = "silence"
    """The callee has been silent for too long."""
    IDLE = "idle"
    """Neither callee nor agents have been heard for too long."""
    MEDIA_LOST = "media_lost"
    """No audio packets came from the callee for too long."""


BY_VERDICT = frozenset({Order.VOICEMAIL_HANG_UP, Order.POLICY_HANG_UP, Order.FAX, Order.MESSAGE_LEFT})
"""Orders that rest on a verdict: withdrawn when a person turns out to be on the line."""
FOR_QUIET = frozenset({Order.SILENCE, Order.IDLE, Order.MEDIA_LOST})
"""Orders for want of sound: withdrawn when something is heard."""
BY_HEARING = BY_VERDICT | FOR_QUIET
REFUTABLE = frozenset({Order.RING_TIMEOUT, Order.AGENT_GONE}) | BY_HEARING
"""Orders for want of something that may have come meanwhile: the answer, the agent, a person. They are withdrawn if it has."""


def order_on(kind: Kind) -> Order:
    """The order by which a policy hangs up on a kind."""
    match kind:
        case Kind.VOICEMAIL | Kind.MACHINE:
            return Order.VOICEMAIL_HANG_UP
        case Kind.FAX:
            return Order.FAX
        case _:
            return Order.POLICY_HANG_UP


def reason_for_order(order: Order, *, answered: bool) -> EndReason:
    """The end reason of a call that `order` ended. `answered`: it was, when the order was given."""
    match order:
        case Order.CANCEL:
            return EndReason.OPERATOR_HUNG_UP if answered else EndReason.CANCELED_BY_REQUEST
        case Order.RING_TIMEOUT:
            return EndReason.USER_DID_NOT_PICK_UP
        case Order.MAX_DURATION:
            return EndReason.MAX_DURATION_REACHED
        case Order.AGENT_ENDED:
            # Before the answer there is no conversation to end: the agent withdrew the call.
            return EndReason.AGENT_HUNG_UP if answered else EndReason.CANCELED_BY_REQUEST
        case Order.AGENT_GONE:
            return EndReason.AGENT_LOST
        case Order.SHUT_DOWN:
            return EndReason.WORKER_SHUT_DOWN
        case Order.VOICEMAIL_HANG_UP:
            return EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED
        case Order.POLICY_HANG_UP:
            return EndReason.AGENT_HUNG_UP_BY_POLICY
        case Order.FAX:
            return EndReason.FAX_DETECTED
        case Order.MESSAGE_LEFT:
            return EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE
        case Order.SILENCE:
            return EndReason.AGENT_HUNG_UP_SILENCE_DETECTED
        case Order.IDLE:
            return EndReason.IDLE_TIMEOUT
        case Order.MEDIA_LOST:
            return EndReason.MEDIA_LOST
        case _:
            assert_never(order)
