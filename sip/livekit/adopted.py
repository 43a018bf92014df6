"""One leg that another worker dialled, and died: only looks and webhooks tell of it, since no request of ours waits for it.

    RECONCILING --a look shows it active--> ANSWERED, as with any other leg; so it begins if the record knows of the answer
         `--a look misses it--> MISSING --another one misses it too, or a webhook says why--> ENDED

An end before the answer has no SIP code. Nothing is decided on one look: whoever is talking is not to be hung up on because a
list was incomplete for a moment. It must not know who the other worker was, nor how it is known that it died.
"""

from __future__ import annotations

from collections.abc import Callable

from sip.causes import Reading, cause_of_leave
from sip.clock import Clock
from sip.events import Ringing, RoomEvent
from sip.leg import LegRecord
from sip.livekit.disposition import Unanswered
from sip.livekit.leg import LegOrders, LiveKitLeg, Stage
from sip.livekit.rooms import ANSWERED_STATUSES, CALL_STATUS, LeaveNotice, Occupant, Span, between
from sip.livekit.timings import LiveKitTimings


class AdoptedLeg(LiveKitLeg):
    """A leg that was dialled by somebody else. The port's `Leg`."""

    def __init__(
        self,
        *,
        record: LegRecord,
        identity: str,
        clock: Clock,
        timings: LiveKitTimings,
        tell: Callable[[RoomEvent], None],
        orders: LegOrders,
    ) -> None:
        """`tell` takes the events."""
        super().__init__(
            plan=record.plan,
            identity=identity,
            clock=clock,
            timings=timings,
            tell=tell,
            orders=orders,
            webhooks_work=lambda: True,  # one is always waited for: nothing else tells
        )
        self.dialled_at_s = self._not_ringing_s = self._not_answered_s = record.dialled_at_s
        self._due_s = record.dialled_at_s + record.plan.request_ring_s + timings.reconcile_margin_s
        if record.ringing is not None:
            self._rang = Ringing(at=record.ringing, source="record")
            self._not_answered_s = max(record.dialled_at_s, record.ringing.earliest_s)
        if record.answered is not None:
            self.stage, self._answered = Stage.ANSWERED, True
        else:
            self.stage, self.deadline_s = Stage.RECONCILING, self._due_s

    def seen(self, occupant: Occupant, span: Span) -> None:
        """A look shows the leg in the room."""
        if self.stage is Stage.MISSING:
            self.stage, self.deadline_s = Stage.RECONCILING, self._due_s
        super().seen(occupant, span)

    def missing(self, span: Span) -> None:
        """A look at this very room succeeded, and the leg is not in it."""
        if self.stage is Stage.MISSING and self.deadline_s is not None:
            if span.sent_s >= self.deadline_s:
                self._end_unanswered()
        elif self.stage is Stage.RECONCILING and self._notice is None and self._is_newer(span):
            self.stage, self._failed_s = Stage.MISSING, span.received_s
            self.deadline_s = span.received_s + self._timings.leg_reason_grace_s
        else:
            super().missing(span)

    def noticed(self, notice: LeaveNotice) -> None:
        """A webhook says that the leg left."""
        super().noticed(notice)
        if self.stage is Stage.MISSING and self._notice is not None:
            self._end_unanswered()

    def _is_newer(self, span: Span) -> bool:
        return self._seen_s is not None and span.sent_s > self._seen_s

    def _end_unanswered(self) -> None:
        notice = self._notice
        if notice is not None and notice.attributes.get(CALL_STATUS, "") in ANSWERED_STATUSES:
            # Answered and over between two looks.
            self._gone = between(self._alive_s, self._failed_s)
            self._answer(between(self._not_answered_s, self._failed_s), source="webhook")
            self._end_answered(notice.reason, source="webhook")
        else:
            super()._end_unanswered()

    def _read_unanswered(self, unanswered: Unanswered) -> Reading:
        return cause_of_leave(unanswered.signal.disconnect_reason, rang=unanswered.rang)
