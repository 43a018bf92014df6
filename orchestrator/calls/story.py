"""What is known of one dialled call so far, and the outcome that follows from it.

Pure: events and times in, an `Outcome` out. It knows neither carrier nor store.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.calls.orders import Order, reason_for_order
from orchestrator.outcomes import EndReason, answered_by, final_state, reason_for_cause
from orchestrator.store.records import Outcome
from sip.causes import HangupCause
from sip.events import Answered, Dialled, Ended, Fact, Moment, Ringing
from sip.voicemail.events import Kind

LEG_LIMITS_S = 150.0
"""Beyond our maximum duration: 75 s that a request rings at most, 30 s after which the carrier ends a leg that we do not, and
a margin."""
MAX_DURATION_EDGE_S = 1.0
"""An end this close to the maximum duration, or after it, is the maximum's (OUTCOMES.md, rule 1)."""


@dataclass(slots=True)
class Story:
    """One dial as it was seen: when it was sent, rang, was answered, and what we ordered. Clock seconds."""

    dialed_at_s: float
    max_duration_s: float
    ringing: Ringing | None = None
    answered: Answered | None = None
    order: Order | None = None
    answered_at_order: bool = False
    heard: Kind | None = None
    """Who answered, by the last verdict of detection; None: there was none."""
    notes: dict[str, Fact] = field(default_factory=dict)

    def give(self, order: Order) -> None:
        """Note that we decide to end it; the first order stands, unless it is withdrawn."""
        if self.order is None:
            self.order = order
            self.answered_at_order = self.answered is not None

    def withdraw(self) -> None:
        """The order was not carried out, and is not to be."""
        if self.order is not None:
            self.notes["order_withdrawn"] = self.order.value
        self.order, self.answered_at_order = None, False

    @property
    def over_by_s(self) -> float:
        """When its carrier has ended the leg by itself for certain, whatever we do."""
        return self.dialed_at_s + self.max_duration_s + LEG_LIMITS_S

    @property
    def was_answered(self) -> bool:
        """Whether it counts as answered: an answer that crossed our own order to stop ringing does not."""
        if self.order is not None:
            return self.answered_at_order
        return self.answered is not None

    @property
    def pdd_ms(self) -> int | None:
        """Post-dial delay: request to first 18x."""
        return None if self.ringing is None else _ms(self.ringing.at.at_s - self.dialed_at_s)

    def ring(self, until: Moment) -> tuple[int | None, int | None]:
        """Ring time in ms and the bound of its error; (None, None) when no 18x was seen."""
        if self.ringing is None:
            return None, None
        end = self.answered.at if self.answered is not None else until
        return _ms(end.at_s - self.ringing.at.at_s), round((end.error_s + self.ringing.at.error_s) * 1000)

    def reason(self, ended: Ended) -> EndReason:
        """The end reason: our own order first, then what the signals say."""
        if self.order is not None:
            return reason_for_order(self.order, answered=self.answered_at_order)
        if self.answered is not None and ended.cause in _ENDS_OF_UNKNOWN_HAND:
            talked_s = ended.at.at_s - self.answered.at.at_s
            if talked_s >= self.max_duration_s - MAX_DURATION_EDGE_S:
                return EndReason.MAX_DURATION_REACHED
        return reason_for_cause(ended.cause, answered=self.answered is not None)

    def outcome(self, ended: Ended) -> Outcome:
        """The one true end, as far as it can be known."""
        reason = self.reason(ended)
        ring_ms, ring_error_ms = self.ring(ended.at)
        talk_ms = None
        if self.was_answered and self.answered is not None:
            talk_ms = _ms(ended.at.at_s - self.answered.at.at_s)
        evidence: dict[str, Fact] = {**ended.evidence, **self.notes}
        if self.order is not None:
            evidence["order"] = self.order.value
        if self.answered is not None and not self.was_answered:
            evidence["answered_while_hanging_up"] = True
        if ended.signal.disconnect_reason:
            evidence["disconnect_reason"] = ended.signal.disconnect_reason
        answered_ids = self.answered.ids if self.answered is not None else {}
        ids = {**answered_ids, **ended.ids}
        return Outcome(
            state=final_state(reason, answered=self.was_answered),
            reason=reason,
            dialled=Dialled.YES if (self.ringing or self.answered) else ended.dialled,
            answered_by=answered_by(reason, answered=self.was_answered, heard=self.heard),
            sip_code=ended.signal.sip_code,
            sip_reason=ended.signal.sip_reason,
            q850_cause=ended.signal.q850_cause,
            hangup_cause=ended.cause.value,
            error_message=ended.signal.text,
            pdd_ms=self.pdd_ms,
            ring_ms=ring_ms,
            ring_error_ms=ring_error_ms,
            talk_ms=talk_ms,
            sip_call_id=ids.get("sip_call_id", ""),
            livekit_sip_call_id=ids.get("livekit_sip_call_id", ""),
            participant_sid=ids.get("participant_sid", ""),
            evidence=evidence,
        )


def known_from(event: Ringing | Answered) -> dict[str, Fact]:
    """What told us of it, and how exactly."""
    return {"source": event.source, "error_ms": round(event.at.error_s * 1000)}


def outcome_of_defect(error: BaseException, story: Story | None, *, answered: bool) -> Outcome:
    """INTERNAL_ERROR, and the truth about whether a phone may have rung. `story`: None before the request.

    `answered`: whether the answer is written down, which is what decides the terminal states that are allowed.
    """
    dialled = Dialled.UNKNOWN
    if story is None:
        dialled = Dialled.NO
    elif story.answered is not None or story.ringing is not None:
        dialled = Dialled.YES
    return Outcome(
        state=final_state(EndReason.INTERNAL_ERROR, answered=answered),
        reason=EndReason.INTERNAL_ERROR,
        dialled=dialled,
        answered_by=answered_by(EndReason.INTERNAL_ERROR, answered=answered, heard=None if story is None else story.heard),
        error_code=type(error).__name__,
        error_message=str(error)[:500],
    )


_ENDS_OF_UNKNOWN_HAND = frozenset({HangupCause.NORMAL_CLEARING, HangupCause.LEG_LOST, HangupCause.ORDERED})
"""Ends that the carrier's own maximum (our backstop) looks like."""


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
