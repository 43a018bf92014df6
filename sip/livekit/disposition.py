"""The disposition of a leg: which end it had, from all that is known of it once it is over.

What is known comes from the one request's failure, from looks at the room and from the webhook participant_left; when enough of
it is known, and what happens when some of it is missing, is `sip.livekit.leg`'s matter. Pure: it tells nobody and waits for
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sip.causes import HangupCause, Reading, Signal, hangup_cause
from sip.events import Dialled, Ended, Fact, Moment, Ringing
from sip.leg import DialPlan
from sip.livekit.failures import DialFailure
from sip.livekit.rooms import LeaveNotice, overlap

REQUEST_ERROR_S = 0.1
"""How far the waiting request's answer may trail what it tells: seen 0.05 s after a 200 (LIVEKIT.md, section 0)."""
CUT_SHORT_S = 2.0
"""A ring-out this much before its time is none: the room or the participant was taken away, which looks the same."""

TAKEN_AWAY = frozenset({"ROOM_DELETED", "PARTICIPANT_REMOVED"})


@dataclass(frozen=True, slots=True)
class Unanswered:
    """What is known of a leg that nobody answered and that is over. Moments are clock seconds."""

    plan: DialPlan
    dialled_at_s: float
    ringing: Ringing | None
    """Its first 18x, if one was seen."""
    failure: DialFailure
    """What the request said, or that nothing is known of its result."""
    failed_s: float
    ordered: bool
    """We were about to end it."""
    notice: LeaveNotice | None
    """The webhook that told of its leave, if one has come."""

    @property
    def signal(self) -> Signal:
        """The request's, with the reason that a webhook brought."""
        signal = self.failure.signal
        return signal if self.notice is None else replace(signal, disconnect_reason=self.notice.reason)

    @property
    def rang(self) -> bool:
        """An 18x was seen."""
        return self.ringing is not None

    @property
    def a_notice_would_matter(self) -> bool:
        """Whether a webhook that has not come yet could change the cause."""
        if self.ordered or self.failure.cause is not None:
            return False
        unrung = self._read(self.failure.signal, rang=False)
        if self._is_cut_short(unrung):
            return True
        return not self.rang and unrung.cause is not self._read(self.failure.signal, rang=True).cause

    @property
    def reading(self) -> Reading:
        """What the request's failure means."""
        if self.failure.cause is not None:
            return Reading(self.failure.cause, "not_sent")
        if not self.failure.over:
            return Reading(HangupCause.UNKNOWN, "result_unknown")
        reading = self._read(self.signal, rang=self.rang)
        return Reading(HangupCause.UNKNOWN, "cut_short") if self._is_cut_short(reading) else reading

    def ended(self, reading: Reading, *, ids: Mapping[str, str]) -> Ended:
        """Its end, by `reading` unless it was our order that ended it. `ids` as in `Ended`."""
        at, signal = Moment(self.failed_s, REQUEST_ERROR_S), self.signal
        if self.ordered and signal.sip_code is None:
            reading = Reading(HangupCause.ORDERED, "ordered")
        source = "request" if self.failure.over else "poll"
        evidence: dict[str, Fact] = {**reading.evidence, "rule": reading.rule, "source": source}
        if self.ringing is not None:
            evidence["ring_s"] = round(max(0.0, at.at_s - self.ringing.at.at_s), 3)
            evidence["ring_error_s"] = round(self.ringing.at.error_s + at.error_s, 3)
            evidence["ring_source"] = self.ringing.source
        elif self.notice is None and self.failure.dialled is not Dialled.NO:
            evidence["ring_unseen"] = "no look showed it ringing, and no webhook told"
        return Ended(
            at=at,
            cause=reading.cause,
            signal=signal,
            dialled=Dialled.YES if self.rang else self.failure.dialled,
            rang=self.rang,
            ids=dict(ids),
            evidence=evidence,
        )

    def _is_cut_short(self, reading: Reading) -> bool:
        early = self.failed_s < self.dialled_at_s + self.plan.request_ring_s - CUT_SHORT_S
        return early and reading.rule == "ring_limit"

    def _read(self, signal: Signal, *, rang: bool) -> Reading:
        ringing = self.ringing
        return hangup_cause(
            signal,
            answered=False,
            rang=rang,
            ring_s=None if ringing is None else max(0.0, self.failed_s - ringing.at.at_s),
            ring_error_s=0.0 if ringing is None else ringing.at.error_s + REQUEST_ERROR_S,
            ring_timeout_s=self.plan.ring_timeout_s,
            rules=self.plan.trunk.rules,
        )


def end_of_answered(
    plan: DialPlan,
    *,
    reason: str,
    source: str,
    gone: Moment,
    notice: LeaveNotice | None,
    ordered: bool,
    deleted: bool,
    ids: Mapping[str, str],
) -> Ended:
    """The end of a leg that was answered.

    `reason`: LiveKit's, why it left; empty: nobody told. `gone`: when it left. `ordered`: we were about to end it; `deleted`:
    and have deleted its room. `ids` as in `Ended`.
    """
    signal = Signal(disconnect_reason=reason)
    reading = hangup_cause(signal, answered=True, rang=True, ring_s=None, ring_timeout_s=None, rules=plan.trunk.rules)
    if notice is not None and notice.is_dropped and source == "webhook":
        reading = Reading(HangupCause.LEG_LOST, "leave_without_hangup")
    if deleted or (ordered and reason in TAKEN_AWAY):
        reading = Reading(HangupCause.ORDERED, "ordered")
    evidence: dict[str, Fact] = {**reading.evidence, "rule": reading.rule, "source": source}
    if reading.cause is HangupCause.LEG_LOST:
        told = f"the leave's reason, {reason}, says nothing certain" if reason else "no webhook told why the leg left"
        evidence["unexplained"] = told
    return Ended(
        at=gone if notice is None else overlap(gone, notice.at),
        cause=reading.cause,
        signal=signal,
        dialled=Dialled.YES,
        rang=True,
        ids=dict(ids),
        evidence=evidence,
    )
