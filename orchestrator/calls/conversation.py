"""From the request to the leg's end: ring timer, maximum duration, the agent's presence, and orders from outside.

It tells the leg to end and writes down why before it does; what end it was is worked out by `orchestrator.calls.story`.
Nobody who has answered is hung up on because we learn of it late: between an order and the carrier's taking it all that has
happened is heard, and an answer, or an agent's return, withdraws the order that was given for want of it.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import assert_never

from orchestrator.calls.acts import Act, Ask, Give, Note, Play, Stop, Tell, Withdraw
from orchestrator.calls.answering import Answering
from orchestrator.calls.inbox import Agents, Inbox, Release
from orchestrator.calls.messenger import Messenger, Opinion
from orchestrator.calls.orders import BY_HEARING, REFUTABLE, Order
from orchestrator.calls.pen import Pen
from orchestrator.calls.story import Story, known_from
from orchestrator.logs import call_logger
from orchestrator.metrics import Metrics
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall
from sip.causes import HangupCause, Signal
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import (
    AgentJoined,
    AgentLeft,
    Answered,
    Dialled,
    Digit,
    EarlyMedia,
    Ended,
    EndSignal,
    Fact,
    Heard,
    ListeningLost,
    ListeningStarted,
    MessagePlayed,
    Moment,
    OptOut,
    Ringing,
    RoomClosed,
    RoomEvent,
    WentQuiet,
)
from sip.leg import Leg

HANG_UP_PATIENCE_S = 8.0
"""How long after our order the carrier may take to tell the end; then the room is deleted and the call ends unconfirmed."""
HANG_UP_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Until the carrier is told again, while it cannot be reached; the last one for the rest. No end is made up meanwhile."""
STOOD_STILL_REAL_S = 1.0
"""A deadline that is noticed this late was missed since this process stood still (suspended, stopped, blocked)."""
SETTLE_S = 3.0
"""So long after a standstill the carrier tells what happened meanwhile: some looks and the answers that were on their way."""


class Conversation:
    """Watches one dialled leg until it has ended."""

    def __init__(
        self,
        *,
        call: ClaimedCall,
        leg: Leg,
        story: Story,
        inbox: Inbox,
        agents: Agents,
        answering: Answering,
        opinion: Opinion | None,
        agent_return_grace_s: float,
        pen: Pen,
        store: QueueStore,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._call = call
        self._leg = leg
        self._story = story
        self._inbox = inbox
        self._agents = agents
        self._answering = answering
        self._messenger = Messenger(call=call, leg=leg, opinion=opinion, inbox=inbox, clock=clock, metrics=metrics)
        self._agent_return_grace_s = agent_return_grace_s
        self._pen = pen
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._log = call_logger(__name__, call_id=call.call_id, account=call.account, epoch=call.epoch)
        self._order_deadline_s: float | None = None
        """With an order: when the carrier is to be told (again), or by when it owes us the end."""
        self._order_taken = False
        self._tries = 0
        self._agent_ended = ""
        """Why the agent ends the call, which is being ended anyway: it counts if that is withdrawn."""
        self._unwritten_answer: Answered | None = None
        """One that came while an order stood; to be written if that is withdrawn."""
        self._settled_s = float("-inf")
        """Before this no want of something counts: this process stood still, and may not have heard of it yet."""

    async def follow(self) -> Ended:
        """Until the leg has ended. Raises ClaimLost."""
        async with contextlib.aclosing(self._messenger):
            return await self._follow()

    async def _follow(self) -> Ended:
        if self._story.order is not None:
            # Whoever conducted it before us may have died between writing the order and doing it, and that may be long ago.
            self._order_deadline_s = self._clock.now_s()
            if self._story.answered is not None:
                await self._withdraw(Order.RING_TIMEOUT)
        while True:
            event = await self._inbox.next(self._deadline_s())
            if event is None:
                ended = await self._on_time()
                if ended is not None:
                    return ended
            elif isinstance(event, Ended):
                return event
            else:
                await self._take(event)

    async def _take(self, event: RoomEvent | Order | Release) -> None:
        match event:
            case Order():
                await self._give(event)
            case Release() | Ended():
                pass  # it has been dialled: it goes on; an end is `follow`'s
            case Ringing():
                await self._on_ringing(event)
            case Answered():
                await self._on_answer(event)
            case AgentJoined():
                self._agents.note(event)
                await self._withdraw(Order.AGENT_GONE)
            case AgentLeft():
                await self._on_agent_left(event)
            case EndSignal():
                await self._give(self._answering.agent_ends(event.at.at_s), reason=event.reason)
            case ListeningStarted() | ListeningLost() | Heard() | WentQuiet() | MessagePlayed():
                self._metrics.listening.count(event, late_s=self._clock.real_s(self._clock.now_s() - event.at.at_s))
                await self._do(self._answering.hear(event))
            case OptOut() | Digit() | EarlyMedia() | RoomClosed():
                await self._note_detail(event)
            case _:
                assert_never(event)

    # -- what happens to the leg -------------------------------------------------------------------------------------------

    async def _on_ringing(self, event: Ringing) -> None:
        story = self._story
        if story.ringing is not None or story.answered is not None:
            return
        story.ringing = event
        pdd_ms = story.pdd_ms
        detail = known_from(event)
        self._log.info("call_ringing", pdd_ms=pdd_ms)
        self._metrics.dial_to_ringing(max(0.0, event.at.at_s - story.dialed_at_s))
        await self._pen.write(lambda: self._store.record_ringing(self._call, pdd_ms=pdd_ms, detail=detail))

    async def _on_answer(self, event: Answered) -> None:
        story = self._story
        if story.answered is not None:
            return
        await self._withdraw(Order.RING_TIMEOUT)
        story.answered = event
        if story.order is None:
            await self._record_answer(event)
        else:
            self._unwritten_answer = event  # it crosses our hang-up; the outcome says so
        await self._do(self._answering.answered())

    async def _record_answer(self, event: Answered) -> None:
        story = self._story
        ring_ms, ring_error_ms = story.ring(event.at)
        detail = known_from(event)
        self._log.info("call_answered", ring_ms=ring_ms, source=event.source)
        self._metrics.dial_to_answer(max(0.0, event.at.at_s - story.dialed_at_s))
        await self._pen.write(
            lambda: self._store.record_answer(
                self._call, ring_ms=ring_ms, ring_error_ms=ring_error_ms, ids=event.ids, detail=detail
            )
        )

    async def _on_agent_left(self, event: AgentLeft) -> None:
        self._agents.note(event)
        await self._note("agent_left", on_purpose=event.on_purpose, reason=event.reason)
        trusted = self._call.trust_agent_leave and self._story.answered is not None and not self._agents.present
        if event.on_purpose or trusted:
            await self._give(self._answering.agent_ends(event.at.at_s), reason=event.reason)

    async def _note_detail(self, event: OptOut | Digit | EarlyMedia | RoomClosed) -> None:
        match event:
            case OptOut(identity=identity, reason=reason):
                self._log.info("call_opt_out", reason=reason)
                await self._pen.note_first(lambda: self._store.record_opt_out(self._call, identity=identity, reason=reason))
            case Digit():
                await self._note("digit", digit=event.digit)
            case EarlyMedia():
                await self._note("early_media")
            case RoomClosed():
                self._log.error("room_closed_with_a_leg", reason=event.reason)

    async def _note(self, kind: str, **detail: Fact) -> None:
        await self._pen.note(lambda: self._store.record_note(self._call, kind=kind, detail=detail))

    async def _do(self, acts: list[Act]) -> None:
        for act in acts:
            match act:
                case Note():
                    self._log.info(f"call_{act.kind}", **act.detail)
                    await self._pen.note(partial(self._store.record_note, self._call, kind=act.kind, detail=act.detail))
                case Tell() | Play() | Stop() | Ask():
                    self._messenger.send(act)
                case Give():
                    await self._give(act.order, reason=act.reason, heard_s=act.heard_s)
                case Withdraw():
                    await self._withdraw(*act.orders)
                case _:
                    assert_never(act)

    # -- time --------------------------------------------------------------------------------------------------------------

    def _deadline_s(self) -> float | None:
        """The next moment at which something must be done; None: nothing but events."""
        if self._order_deadline_s is not None:
            deadlines = [self._order_deadline_s]
        else:
            limits_s = (self._limit_s(), self._agent_limit_s(), self._answering.deadline_s)
            deadlines = [at_s for at_s in limits_s if at_s is not None]
        if self._pen.retry_in_real_s is not None:
            deadlines.append(self._clock.now_s() + self._pen.retry_in_real_s * self._clock.scale)
        return min(deadlines, default=None)

    def _limit_s(self) -> float | None:
        """When it has rung or talked long enough, from the earliest moment at which it may have begun.

        The carrier itself ends a dial that never rings.
        """
        if self._story.answered is not None:
            return self._story.answered.at.earliest_s + self._call.max_duration_s
        if self._story.ringing is not None:
            return max(self._settled_s, self._story.ringing.at.earliest_s + self._call.ring_timeout_s)
        return None

    def _agent_limit_s(self) -> float | None:
        """When the agent has been away long enough; None while one is there, or none is needed."""
        if self._agents.gone_at_s is None or self._answering.needs_no_agent:
            return None
        return max(self._settled_s, self._agents.gone_at_s + self._agent_return_grace_s)

    async def _on_time(self) -> Ended | None:
        """A deadline has passed and no event was waiting. The end itself, if the carrier owes it to us and does not tell."""
        now_s = self._clock.now_s()
        if self._order_deadline_s is not None and now_s >= self._order_deadline_s:
            if self._order_taken or now_s >= self._story.over_by_s:
                return self._unconfirmed_end(now_s)
            await self._carry_out()
            return None
        await self._pen.catch_up()
        if self._order_deadline_s is not None:
            return None
        limit_s, agent_limit_s = self._limit_s(), self._agent_limit_s()
        if limit_s is not None and now_s >= limit_s:
            if self._story.answered is not None:
                await self._give(Order.MAX_DURATION)
            else:
                await self._give_unless_late(Order.RING_TIMEOUT, due_s=limit_s)
        elif agent_limit_s is not None and now_s >= agent_limit_s:
            await self._give_unless_late(Order.AGENT_GONE, due_s=agent_limit_s)
        else:
            await self._do(self._answering.on_time(now_s))
        return None

    async def _give_unless_late(self, order: Order, *, due_s: float) -> None:
        """After a standstill, hear first what happened meanwhile."""
        now_s = self._clock.now_s()
        late_real_s = self._clock.real_s(now_s - due_s)
        if late_real_s > STOOD_STILL_REAL_S:
            self._log.warning("call_order_late", order=order.value, late_s=round(late_real_s, 3))
            self._settled_s = now_s + SETTLE_S
        else:
            await self._give(order)

    def _unconfirmed_end(self, now_s: float) -> Ended:
        self._story.notes["end_confirmed"] = False
        return Ended(
            at=Moment(now_s - HANG_UP_PATIENCE_S, HANG_UP_PATIENCE_S),
            cause=HangupCause.ORDERED,
            signal=Signal(),
            dialled=Dialled.UNKNOWN,
            rang=self._story.ringing is not None,
        )

    # -- orders ------------------------------------------------------------------------------------------------------------

    async def _give(self, order: Order, *, reason: str = "", heard_s: float | None = None) -> None:
        """Write the order down, to carry it out once all has been heard that has come in meanwhile: the carrier's answer to it
        looks like any other end. `heard_s`: when that was heard on which it rests."""
        given = self._story.order
        if given is not None:
            if self._order_taken or given not in REFUTABLE or order in REFUTABLE:
                return
            if order is Order.AGENT_ENDED and given in BY_HEARING:
                self._agent_ended = reason or "ended"  # who was told that we hang up may do so, too
                return
            self._story.withdraw()  # what was asked for stays asked for, whether or not the other is refuted
        self._story.give(order)
        if reason:
            self._story.notes["order_reason"] = reason
        self._log.info("call_order", order=order.value, reason=reason)
        self._metrics.ordered(order.value)
        await self._pen.write(lambda: self._store.record_order(self._call, order=order.value, detail={"reason": reason}))
        self._order_deadline_s = self._clock.now_s()
        if heard_s is not None and self._clock.real_s(self._order_deadline_s - heard_s) > STOOD_STILL_REAL_S:
            self._order_deadline_s += SETTLE_S  # who spoke meanwhile is to be heard first

    async def _withdraw(self, *orders: Order) -> None:
        """What they were given for want of has come. Nothing happens if none was given, or the carrier has taken it."""
        order = self._story.order
        if order is None or order not in orders or self._order_taken:
            return
        self._story.withdraw()
        self._order_deadline_s, self._tries = None, 0
        self._log.warning("call_order_withdrawn", order=order.value)
        await self._pen.write(lambda: self._store.withdraw_order(self._call, order=order.value, detail={}))
        answered, self._unwritten_answer = self._unwritten_answer, None
        if answered is not None:
            await self._record_answer(answered)
        if self._agent_ended:
            await self._give(Order.AGENT_ENDED, reason=self._agent_ended)

    async def _carry_out(self) -> None:
        """Tell the carrier; if it cannot be reached, again later, since a leg that was not told goes on."""
        if self._tries:
            await self._pen.make_sure(lambda: self._store.record_note(self._call, kind="hang_up_again", detail={}))
        try:
            await self._leg.hang_up()
        except CarrierUnavailable as error:
            pause_s = HANG_UP_PAUSES_S[min(self._tries, len(HANG_UP_PAUSES_S) - 1)]
            self._tries += 1
            self._metrics.carrier_error("hang_up")
            self._log.warning("hang_up_failed", error=str(error), again_in_s=pause_s)
            self._order_deadline_s = self._clock.now_s() + pause_s
        else:
            self._order_taken = True
            self._order_deadline_s = self._clock.now_s() + HANG_UP_PATIENCE_S
