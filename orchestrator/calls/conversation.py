"""From the request to the leg's end: ring timer, maximum duration, the agent's presence, and orders from outside.

It tells the leg to end and writes down why before it does; what end it was is worked out by `orchestrator.calls.story`.
"""

from __future__ import annotations

import asyncio
from typing import assert_never

from orchestrator.calls.inbox import Agents, Inbox, Release
from orchestrator.calls.orders import Order
from orchestrator.calls.pen import Pen
from orchestrator.calls.story import Story
from orchestrator.logs import call_logger
from orchestrator.metrics import Metrics
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall
from sip.causes import HangupCause, Signal
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.leg import (
    AgentJoined,
    AgentLeft,
    Answered,
    Dialled,
    Digit,
    EarlyMedia,
    Ended,
    EndSignal,
    Fact,
    Leg,
    Moment,
    Ringing,
    RoomClosed,
)

HANG_UP_PATIENCE_S = 8.0
"""How long after our order the carrier may take to tell the end; then the room is deleted and the call ends unconfirmed."""
HANG_UP_TRIES = 3
HANG_UP_PAUSE_S = 1.0


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
        self._agent_return_grace_s = agent_return_grace_s
        self._pen = pen
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._log = call_logger(__name__, call_id=call.call_id, account=call.account, epoch=call.epoch)
        self._hang_up_deadline_s: float | None = None

    async def follow(self) -> Ended:
        """Until the leg has ended. Raises ClaimLost."""
        while True:
            event = await self._inbox.next(self._deadline_s())
            match event:
                case None:
                    await self._pen.catch_up()
                    ended = await self._on_time()
                    if ended is not None:
                        return ended
                case Ended():
                    return event
                case Order():
                    await self._give(event)
                case Release():
                    pass  # it has been dialled: it goes on
                case Ringing():
                    await self._on_ringing(event)
                case Answered():
                    await self._on_answer(event)
                case AgentJoined():
                    self._agents.note(event)
                case AgentLeft():
                    await self._on_agent_left(event)
                case EndSignal():
                    await self._give(Order.AGENT_ENDED, reason=event.reason)
                case Digit() | EarlyMedia() | RoomClosed():
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
        detail = _known_from(event)
        self._log.info("call_ringing", pdd_ms=pdd_ms)
        self._metrics.dial_to_ringing(max(0.0, event.at.at_s - story.dialed_at_s))
        await self._pen.write(lambda: self._store.record_ringing(self._call, pdd_ms=pdd_ms, detail=detail))

    async def _on_answer(self, event: Answered) -> None:
        story = self._story
        if story.answered is not None:
            return
        story.answered = event
        if story.order is not None:
            return  # it crossed our hang-up; the outcome says so
        ring_ms, ring_error_ms = story.ring(event.at)
        detail = _known_from(event)
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
            await self._give(Order.AGENT_ENDED, reason=event.reason)

    async def _note_detail(self, event: Digit | EarlyMedia | RoomClosed) -> None:
        match event:
            case Digit():
                await self._note("digit", digit=event.digit)
            case EarlyMedia():
                await self._note("early_media")
            case RoomClosed():
                self._log.error("room_closed_with_a_leg", reason=event.reason)

    async def _note(self, kind: str, **detail: str | bool) -> None:
        await self._pen.write(lambda: self._store.record_note(self._call, kind=kind, detail=detail))

    # -- time --------------------------------------------------------------------------------------------------------------

    def _deadline_s(self) -> float | None:
        """The next moment at which something must be done; None: nothing but events."""
        deadlines: list[float] = []
        if self._hang_up_deadline_s is not None:
            deadlines.append(self._hang_up_deadline_s)
        else:
            limit_s = self._limit_s()
            if limit_s is not None:
                deadlines.append(limit_s)
            if self._agents.gone_at_s is not None:
                deadlines.append(self._agents.gone_at_s + self._agent_return_grace_s)
        if self._pen.retry_in_real_s is not None:
            deadlines.append(self._clock.now_s() + self._pen.retry_in_real_s * self._clock.scale)
        return min(deadlines, default=None)

    def _limit_s(self) -> float | None:
        """When it has rung or talked long enough; the carrier itself ends a dial that never rings."""
        if self._story.answered is not None:
            return self._story.answered.at.at_s + self._call.max_duration_s
        if self._story.ringing is not None:
            return self._story.ringing.at.at_s + self._call.ring_timeout_s
        return None

    async def _on_time(self) -> Ended | None:
        """A deadline has passed and no event was waiting. The end itself, if the carrier owes it to us and does not tell."""
        now_s = self._clock.now_s()
        if self._hang_up_deadline_s is not None:
            return self._unconfirmed_end(now_s) if now_s >= self._hang_up_deadline_s else None
        limit_s = self._limit_s()
        if limit_s is not None and now_s >= limit_s:
            await self._give(Order.MAX_DURATION if self._story.answered is not None else Order.RING_TIMEOUT)
        elif self._agents.gone_at_s is not None and now_s >= self._agents.gone_at_s + self._agent_return_grace_s:
            await self._give(Order.AGENT_GONE)
        return None

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

    async def _give(self, order: Order, *, reason: str = "") -> None:
        """Write the order down, then carry it out: the carrier's answer to it looks like any other end."""
        if self._story.order is not None:
            return
        self._story.give(order)
        if reason:
            self._story.notes["order_reason"] = reason
        self._log.info("call_order", order=order.value, reason=reason)
        self._metrics.ordered(order.value)
        await self._pen.write(lambda: self._store.record_order(self._call, order=order.value, detail={"reason": reason}))
        await self._hang_up()
        self._hang_up_deadline_s = self._clock.now_s() + HANG_UP_PATIENCE_S

    async def _hang_up(self) -> None:
        for tries_left in reversed(range(HANG_UP_TRIES)):
            try:
                await self._leg.hang_up()
            except CarrierUnavailable as error:
                self._metrics.carrier_error("hang_up")
                self._log.warning("hang_up_failed", error=str(error), tries_left=tries_left)
                if tries_left:
                    await asyncio.sleep(HANG_UP_PAUSE_S)
            else:
                return


def _known_from(event: Ringing | Answered) -> dict[str, Fact]:
    """What told us of it, and how exactly."""
    return {"source": event.source, "error_ms": round(event.at.error_s * 1000)}
