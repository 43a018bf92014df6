"""What we do to a call ourselves, recorded before we do it, and what end it means (OUTCOMES.md, rule 1)."""

from __future__ import annotations

import enum
from typing import assert_never

from orchestrator.outcomes import EndReason


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


REFUTABLE = frozenset({Order.RING_TIMEOUT, Order.AGENT_GONE})
"""Orders for want of something that may have come meanwhile: the answer, the agent. They are withdrawn if it has."""


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
        case _:
            assert_never(order)
