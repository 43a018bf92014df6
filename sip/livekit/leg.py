"""One leg: from looks at its room, webhooks' notices and the answer to its one request, to the events of a leg.

    WAITING --the request returned, or a look shows it active--> ANSWERED --a look misses it--> GONE --reason known or
    overdue--> ENDED
       |--the request failed--> [NOTICE_AWAITED, if a webhook could change the cause] --> ENDED
       `--the request's result is unknown--> RECONCILING --a look shows it active--> ANSWERED
                                                 `--a look misses it, or its ring time is over and its room deleted--> ENDED

Which signal decides what, and what happens when one is missing, is the table in `watch`; which end it was, `disposition` works
out. Decides and tells; what it orders is done by others (`LegOrders`). Knows LiveKit's words, not its messages.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Protocol

from sip.causes import Reading
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import Answered, Ended, Moment, Ringing, RoomEvent
from sip.leg import DialPlan
from sip.livekit.disposition import REQUEST_ERROR_S, Unanswered, end_of_answered
from sip.livekit.failures import DialFailure, result_unknown
from sip.livekit.rooms import ANSWERED_STATUSES, RANG_STATUSES, LeaveNotice, Occupant, Span, between
from sip.livekit.timings import LiveKitTimings


class Stage(enum.Enum):
    """How far the leg is, as far as is known."""

    WAITING = "waiting"
    """The request is under way."""
    RECONCILING = "reconciling"
    """The request's result is unknown; only looks can tell."""
    NOTICE_AWAITED = "notice_awaited"
    """The request failed, and a webhook may still say whether it rang."""
    MISSING = "missing"
    """Adopted, not answered, and not in the room any more; see `sip.livekit.adopted`."""
    ANSWERED = "answered"
    GONE = "gone"
    """Answered, and not in the room any more; a webhook may still say why."""
    ENDED = "ended"


class LegOrders(Protocol):
    """What a leg may have done to its room."""

    async def delete_room(self) -> None:
        """Delete it. Raises CarrierUnavailable."""
        ...

    async def play(self, path: str) -> None:
        """Play a file into it. Raises CarrierUnavailable."""
        ...

    def hush(self) -> None:
        """Stop what plays, if anything does."""
        ...

    async def publish(self, facts: Mapping[str, str]) -> None:
        """Tell everybody in it what is known of the callee. Raises CarrierUnavailable."""
        ...


class LiveKitLeg:
    """A leg dialled through LiveKit's SIP service. The port's `Leg`."""

    def __init__(
        self,
        *,
        plan: DialPlan,
        identity: str,
        clock: Clock,
        timings: LiveKitTimings,
        tell: Callable[[RoomEvent], None],
        orders: LegOrders,
        webhooks_work: Callable[[], bool],
    ) -> None:
        """`tell` takes the events; `webhooks_work` says whether waiting for a webhook is worth while."""
        self.identity = identity
        self.stage = Stage.WAITING
        self.dialled_at_s = clock.now_s()
        self.deadline_s: float | None = None
        """When `expire` is to be called."""
        self.room_must_go = False
        """Its result is unknown and its ring time over: the room must be deleted, lest a callee answers with nobody there."""
        self._plan = plan
        self._clock = clock
        self._timings = timings
        self._tell = tell
        self._orders = orders
        self._webhooks_work = webhooks_work
        self._ids: dict[str, str] = {}
        self._seen_s: float | None = None  # when we last learnt that it was in the room
        self._alive_s = self.dialled_at_s  # it had not ended then
        self._not_ringing_s = self.dialled_at_s
        self._not_answered_s = self.dialled_at_s
        self._rang: Ringing | None = None
        self._answered = False
        self._failure: DialFailure | None = None
        self._failed_s = self.dialled_at_s
        self._gone: Moment | None = None
        self._notice: LeaveNotice | None = None
        self._ordered = False
        self._deleted_s: float | None = None  # when its room was last deleted by us
        self._looked_s = self.dialled_at_s  # its room was last looked at
        self._overdue_s: float | None = None  # its result was due; a look after that decides

    async def hang_up(self) -> None:
        """End the leg by deleting its room: that ends it at every stage, and no late request can dial into it.

        Removing the participant would miss a leg that has not joined yet, and leaves agents waiting in the room.
        """
        if self.stage is not Stage.ENDED:
            await self._orders.delete_room()

    async def send_digits(self, digits: str) -> None:
        """Not possible: LiveKit's server API sends no digits, only somebody in the room can. Raises CarrierUnavailable."""
        raise CarrierUnavailable(
            f"LiveKit's server API sends no digits ({len(digits)} given); put them in the dial plan, or let the agent send them"
        )

    async def leave_message(self, path: str) -> None:
        """Have a player join the room and play the file; its end is a MessagePlayed. Raises CarrierUnavailable."""
        await self._orders.play(path)

    async def stop_message(self) -> None:
        """Have the player leave."""
        self._orders.hush()

    async def tell_agents(self, facts: Mapping[str, str]) -> None:
        """Set the facts as attributes of the leg's participant, and send them as a data packet. Raises CarrierUnavailable."""
        await self._orders.publish(facts)

    @property
    def may_be_sent(self) -> bool:
        """Its end has not been ordered; asked in the moment before the request leaves."""
        return not self._ordered

    @property
    def _may_be_joining(self) -> bool:
        return self._seen_s is None and self._clock.now_s() < self.dialled_at_s + self._timings.order_grace_s

    @property
    def room_is_deleted(self) -> bool:
        """By us."""
        return self._deleted_s is not None

    @property
    def has_rung(self) -> bool:
        """An 18x was seen."""
        return self._rang is not None

    # What the request says

    def request_answered(self, ids: Mapping[str, str]) -> None:
        """The waiting request returned: the callee answered."""
        now_s = self._clock.now_s()
        self._ids.update({name: value for name, value in ids.items() if value})
        self._seen_s = now_s
        self.room_must_go = self._deleted_s is not None  # it was joining while its room was deleted
        if self.stage is Stage.WAITING:
            # With digits to send, it returns after them.
            earliest_s = self._not_answered_s if self._plan.dtmf else max(self._not_answered_s, now_s - 2 * REQUEST_ERROR_S)
            self._answer(between(earliest_s, now_s), source="request")

    def request_failed(self, failure: DialFailure) -> None:
        """The waiting request failed. Says nothing new once a look has shown the answer: looks decide from there on."""
        if self.stage is not Stage.WAITING:
            return
        self._failure, self._failed_s = failure, self._clock.now_s()
        if not failure.over and (self._deleted_s is None or self._may_be_joining):
            self.stage = Stage.RECONCILING
            if self._deleted_s is None:
                self.deadline_s = self.dialled_at_s + self._plan.request_ring_s + self._timings.reconcile_margin_s
        elif self._notice is None and self._webhooks_work() and self._unanswered(failure).a_notice_would_matter:
            self.stage = Stage.NOTICE_AWAITED
            self.deadline_s = self._failed_s + self._timings.ring_notice_s
        else:
            self._end_unanswered()

    # What looks say

    def seen(self, occupant: Occupant, span: Span) -> None:
        """A look shows the leg in the room."""
        if self.stage in (Stage.ENDED, Stage.NOTICE_AWAITED):
            return
        self._seen_s = max(self._seen_s or 0.0, span.received_s)
        self._looked_s = max(self._looked_s, span.sent_s)
        self._ids.update(occupant.leg_ids)
        if self.stage is Stage.GONE:
            # It had only dropped out of the list, as while its connection moves.
            self.stage, self._gone, self.deadline_s = Stage.ANSWERED, None, None
        elif self.stage is Stage.WAITING and self._deleted_s is None:
            self.deadline_s = None
        if self._deleted_s is not None and span.sent_s > self._deleted_s:
            # It was joining while its room was deleted, which brings the room to life again; or the server lacks the fence.
            self.room_must_go = True
        status = occupant.call_status
        if status == "hangup":
            if self.stage is Stage.ANSWERED:
                # The SIP service sets it exactly when it will leave as CLIENT_INITIATED.
                self._gone = between(self._alive_s, span.received_s)
                self._end_answered("CLIENT_INITIATED", source="poll")
            return
        self._alive_s = max(self._alive_s, span.sent_s)
        if status not in RANG_STATUSES:
            self._not_ringing_s = max(self._not_ringing_s, span.sent_s)
        if status not in ANSWERED_STATUSES:
            self._not_answered_s = max(self._not_answered_s, span.sent_s)
        if self.stage in (Stage.WAITING, Stage.RECONCILING):
            if status == "ringing":
                self._ring(between(self._not_ringing_s, span.received_s), source="poll")
            elif status in ANSWERED_STATUSES:
                self._answer(between(self._not_answered_s, span.received_s), source="poll")

    def missing(self, span: Span) -> None:
        """A look at this very room succeeded, and the leg is not in it."""
        self._looked_s = max(self._looked_s, span.sent_s)
        if self._seen_s is None or span.sent_s <= self._seen_s:
            return  # not joined yet, or the look is older than what we know
        if self.stage is Stage.ANSWERED:
            self.stage = Stage.GONE
            self._gone = between(self._alive_s, span.received_s)
            self.deadline_s = span.received_s + self._timings.leg_reason_grace_s
            if self._notice is not None:
                self._end_answered(self._notice.reason, source="webhook")
        elif self.stage is Stage.GONE and self.deadline_s is not None and span.sent_s >= self.deadline_s:
            self._end_answered("", source="poll")
        elif self.stage is Stage.RECONCILING:
            self._failed_s = span.received_s
            self._end_unanswered()
        elif self.stage is Stage.WAITING and self.deadline_s is None:
            # The request's answer decides; but one that does not come although the leg is gone is as good as lost.
            self.deadline_s = span.received_s + self._timings.order_grace_s

    # What webhooks say

    def noticed(self, notice: LeaveNotice) -> None:
        """A webhook says that the leg left. It brings the reason; that the leg is gone, a look or the request must say."""
        known_sid = self._ids.get("participant_sid")
        if self.stage is Stage.ENDED or (known_sid and notice.sid and notice.sid != known_sid):
            return
        self._notice = notice
        if self.stage is Stage.NOTICE_AWAITED:
            self._end_unanswered()
        elif self.stage is Stage.GONE:
            self._end_answered(notice.reason, source="webhook")

    # What we and time do

    def order_end(self) -> None:
        """Its room is about to be deleted by us. Noted first, since the answer to it looks like a ring-out."""
        self._ordered = True

    def room_deleted(self) -> None:
        """Its room has been deleted by us: it is over, or will be as soon as its request says so."""
        self.room_must_go = False
        if self.stage is Stage.ENDED:
            return
        again = self._deleted_s is not None and self.deadline_s is None
        self._deleted_s = self._clock.now_s()
        if self.stage in (Stage.ANSWERED, Stage.GONE):
            self._gone = self._gone or Moment(self._deleted_s, REQUEST_ERROR_S)
            self._end_answered("", source="order")
        elif (
            self.stage in (Stage.NOTICE_AWAITED, Stage.MISSING)
            or again
            or (self.stage is Stage.RECONCILING and not self._may_be_joining)
        ):
            self._failed_s = self._deleted_s
            self._end_unanswered()
        elif self.stage in (Stage.WAITING, Stage.RECONCILING):
            self.deadline_s = self._deleted_s + self._timings.order_grace_s

    def expire(self, now_s: float) -> None:
        """Give up waiting for what has not come, if it is time."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return
        if self.stage is Stage.RECONCILING and self._deleted_s is None and not self._looked_since_due(now_s):
            self.deadline_s = now_s + self._timings.ring_poll_s
        elif self.stage is Stage.RECONCILING:
            self.deadline_s, self.room_must_go = None, True
        elif self.stage is Stage.WAITING and self._deleted_s is not None:
            # The request says nothing. Once more, in case the room came to life again.
            self.deadline_s, self.room_must_go = None, True
        elif self.stage is Stage.WAITING:
            self._failure = result_unknown("the leg was gone, and the dial request got no answer")
            self._failed_s = now_s
            self._end_unanswered()
        elif self.stage is Stage.NOTICE_AWAITED:
            self._end_unanswered()

    def _looked_since_due(self, now_s: float) -> bool:
        """Whether a look has been made since its result was due: after a standstill of this process it may have been answered
        long ago, and a room with a conversation in it must not go."""
        if self._overdue_s is None:
            self._overdue_s = now_s
        return self._looked_s >= self._overdue_s

    # Telling

    def _ring(self, at: Moment, *, source: str) -> None:
        if self._rang is None:
            self._rang = Ringing(at=at, source=source)
            self._tell(self._rang)

    def _answer(self, at: Moment, *, source: str) -> None:
        self.stage, self.deadline_s, self._answered = Stage.ANSWERED, None, True
        self._alive_s = max(self._alive_s, at.at_s - at.error_s)
        self._tell(Answered(at=at, source=source, ids=dict(self._ids)))

    def _unanswered(self, failure: DialFailure) -> Unanswered:
        return Unanswered(
            plan=self._plan,
            dialled_at_s=self.dialled_at_s,
            ringing=self._rang,
            failure=failure,
            failed_s=self._failed_s,
            ordered=self._ordered,
            notice=self._notice,
        )

    def _end_unanswered(self) -> None:
        if self._notice is not None and self._notice.rang:
            self._ring(between(self._not_ringing_s, self._failed_s), source="webhook")
        unanswered = self._unanswered(self._failure or result_unknown(""))
        self._end(unanswered.ended(self._read_unanswered(unanswered), ids=self._ids))

    def _read_unanswered(self, unanswered: Unanswered) -> Reading:
        return unanswered.reading

    def _end_answered(self, reason: str, *, source: str) -> None:
        self._end(
            end_of_answered(
                self._plan,
                reason=reason,
                source=source,
                gone=self._gone or Moment(self._clock.now_s(), REQUEST_ERROR_S),
                notice=self._notice,
                ordered=self._ordered,
                deleted=self._deleted_s is not None,
                ids=self._ids,
            )
        )

    def _end(self, ended: Ended) -> None:
        self.stage, self.deadline_s = Stage.ENDED, None
        self._tell(ended)
