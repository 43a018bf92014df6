"""The ways out of a call before anybody's phone can ring: back to the queue unspent, or to an end without a dial."""

from __future__ import annotations

from typing import assert_never

from orchestrator.outcomes import EndReason, final_state
from orchestrator.store.records import EXPIRY_REASONS, Aftermath, ClaimedCall, DialForbidden, Gate, Outcome, WaitingFor
from sip.events import Dialled


class GoBack(Exception):
    """The call returns to the queue; nothing rang, nothing is spent."""

    def __init__(
        self,
        waiting_for: WaitingFor,
        why: str,
        *,
        delay_s: float | None = None,
        agent_came: bool | None = None,
        aftermath: Aftermath | None = None,
    ) -> None:
        """`delay_s`: clock seconds; None: the delay that grows with each return in a row. `agent_came`: None says nothing of
        the agents. `aftermath`: what it says of the trunk; None: nothing."""
        super().__init__(why)
        self.waiting_for = waiting_for
        self.why = why
        self.delay_s = delay_s
        self.agent_came = agent_came
        self.aftermath = Aftermath() if aftermath is None else aftermath


class EndUndialled(Exception):
    """The call ends here; nobody was dialled."""

    def __init__(self, reason: EndReason, message: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def outcome(self) -> Outcome:
        """The end as it is written."""
        return Outcome(
            state=final_state(self.reason, answered=False),
            reason=self.reason,
            dialled=Dialled.NO,
            error_message=self.message,
            evidence={"detail": self.message} if self.message else {},
        )


WHY: dict[Gate, str] = {
    Gate.STOPPED: "all dialling is stopped",
    Gate.HELD: "the database was restored or failed over, and nobody has confirmed it yet",
    Gate.CANCELED: "it was canceled",
    Gate.EXPIRED: "it expired while it was prepared",
    Gate.ACCOUNT_PAUSED: "the account is paused",
    Gate.TRUNK_DISABLED: "the trunk is disabled",
    Gate.TRUNK_CIRCUIT: "the trunk's circuit is open",
    Gate.AGENTS_PAUSED: "the agent pool is paused",
    Gate.AGENTS_CIRCUIT: "the agent pool's circuit is open: no agents came for other calls",
    Gate.DO_NOT_CALL: "the number is on a do-not-call or suppression list",
    Gate.CALLING_WINDOW: "it is outside its calling window, or its account's calling hours have changed",
    Gate.NUMBER_BUSY: "another call to the number is under way",
    Gate.NUMBER_GAP: "the number was called too short a time ago",
    Gate.NUMBER_CAP: "the number has been called as often as it may be for now",
    Gate.CALLER_ID_CAP: "all its caller ids have been shown as often as they may be today",
    Gate.TRUNK_PACE: "the trunk's next dial time is too far ahead",
}
"""For the timeline and the log. Total."""

TRUNK_MATTERS = frozenset(
    {WaitingFor.TRUNK_CAPACITY, WaitingFor.TRUNK_AUTH, WaitingFor.TRUNK_CONFIG, WaitingFor.TRUNK_UNREACHABLE}
)
"""What a call waits for whose trunk refused it."""


MOST_DOUBLINGS = 4


def refusal(call: ClaimedCall, forbidden: DialForbidden, *, gate_delay_s: float, scale: float) -> GoBack | EndUndialled:
    """What becomes of a call that the gate refuses.

    `gate_delay_s`: clock seconds to wait where the gate cannot tell. `scale`: the clock's; the gate speaks of real seconds.
    """
    gate = forbidden.gate
    delay_s = gate_delay_s if forbidden.retry_in_s is None else forbidden.retry_in_s * scale
    match gate:
        case Gate.CANCELED:
            return EndUndialled(EndReason.CANCELED_BY_REQUEST)
        case Gate.DO_NOT_CALL:
            return EndUndialled(EndReason.BLOCKED_DO_NOT_CALL, WHY[gate])
        case Gate.EXPIRED:
            if call.earlier_ends:  # it ends as its last attempt did, which the expiry of waiting calls knows
                return GoBack(call.waiting_for, WHY[gate], delay_s=delay_s)
            return EndUndialled(EXPIRY_REASONS[call.waiting_for], WHY[gate])
        case Gate.TRUNK_DISABLED | Gate.TRUNK_CIRCUIT:
            # At once: the claim gives it a trunk that is open, or lets it wait. But never at once again and again.
            waiting_for = call.waiting_for if call.waiting_for in TRUNK_MATTERS else WaitingFor.PAUSED
            return GoBack(waiting_for, WHY[gate], delay_s=delay_s if call.deferrals else 0.0)
        case Gate.STOPPED | Gate.HELD | Gate.ACCOUNT_PAUSED | Gate.AGENTS_PAUSED:
            return GoBack(WaitingFor.PAUSED, WHY[gate], delay_s=delay_s)
        case Gate.AGENTS_CIRCUIT:
            return GoBack(WaitingFor.AGENT, WHY[gate], delay_s=delay_s)
        case Gate.CALLING_WINDOW:
            return GoBack(WaitingFor.CALLING_WINDOW, WHY[gate], delay_s=delay_s)
        case Gate.NUMBER_BUSY:
            # Longer each time: many calls to one number shall not take their trunk's dial times from others again and again.
            return GoBack(WaitingFor.SPACING, WHY[gate], delay_s=delay_s * 2 ** min(call.deferrals, MOST_DOUBLINGS))
        case Gate.NUMBER_GAP | Gate.NUMBER_CAP:
            return GoBack(WaitingFor.SPACING, WHY[gate], delay_s=delay_s)
        case Gate.CALLER_ID_CAP:
            return GoBack(WaitingFor.CALLER_ID, WHY[gate], delay_s=delay_s)
        case Gate.TRUNK_PACE:
            return GoBack(WaitingFor.SLOT, WHY[gate], delay_s=delay_s)
        case _:
            assert_never(gate)
