"""Driving a call on whose worker died: from what was written down of it to its one end (DESIGN.md, Postgres and The fence).

    look into its room --leg alive--> Conversation, as if nothing had happened, with times as exactly as they are known
         `--no leg--> look on for as long as a request may be on its way -> the fence -> look again -> WORKER_LOST, LEG_LOST

Nobody dials here. Before the call is ended its room is deleted, and nothing is ended while the media server cannot be asked.
It must not know: SQL, LiveKit, how it is known that the worker died.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from orchestrator.calls.aftermath import aftermath
from orchestrator.calls.answering import Answering
from orchestrator.calls.conductor import CallStores, Conductor, ConductorTimes
from orchestrator.calls.conversation import Conversation
from orchestrator.calls.ending import is_told
from orchestrator.calls.inbox import Release
from orchestrator.calls.orders import BY_HEARING, Order
from orchestrator.calls.plans import dial_plan
from orchestrator.calls.story import Story
from orchestrator.ids import E164
from orchestrator.lifecycle import State
from orchestrator.metrics import Metrics
from orchestrator.outcomes import EndReason, final_state
from orchestrator.store.records import Outcome
from orchestrator.store.recovery import AdoptedCall
from sip.causes import HangupCause, Signal
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import Answered, Dialled, Ended, ListeningLost, Moment, Ringing, RoomEvent
from sip.leg import Carrier, Leg, LegRecord, Room, RoomName
from sip.voicemail.events import Kind

LOOK_S = 1.0
"""Between looks for a leg."""
AGAIN_S = 2.0
"""A leg that rang or talked and is not in its room is looked for again so much later: one list may be incomplete."""
ON_ITS_WAY_S = 10.0
"""How long after its dial time a request may take to show a leg: 2 s for the intent, 2 to connect, 5 for the SIP service."""
UNCERTAIN_S = 95.0
"""The same where nothing fences late requests off: the longest ring time of a request (75 s), the server's own patience with a
dial (80 s) and a margin."""
REVIVED_S = 7.0
"""How long after its room was deleted a leg may still come to join it, which brings the room to life again: the SIP service
gives up joining after 5 s."""


class _Left(Exception):
    """This process shuts down before the leg was found: the call is left to the next worker."""


class Adoption(Conductor):
    """Conducts one call that another worker dialled. Run it once."""

    def __init__(
        self,
        *,
        adopted: AdoptedCall,
        carrier: Carrier,
        stores: CallStores,
        clock: Clock,
        times: ConductorTimes,
        leftovers: set[RoomName],
        metrics: Metrics,
        in_doubt: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(
            call=adopted.call,
            carrier=carrier,
            stores=stores,
            clock=clock,
            times=times,
            leftovers=leftovers,
            metrics=metrics,
            in_doubt=in_doubt,
        )
        self._adopted = adopted
        self._room_name = RoomName(adopted.room)
        self._room_open = bool(adopted.room)
        self._told = story_of(adopted, clock=clock)
        self._story = self._told

    async def _conduct(self) -> None:
        self._log.info("call_adopted", state=self._adopted.state.value, since_dial_s=round(self._adopted.since_dial_s, 1))
        try:
            found = await self._find_leg()
        except _Left:
            self._log.warning("adoption_left")
            return
        if found is None:
            await self._end(self._gone())
            self._metrics.recovered("ended")
            return
        self._metrics.recovered("adopted")
        room, leg = found
        # Until one is seen there, which takes a moment: it is the first thing that the room tells.
        self._agents.gone_at_s = self._clock.now_s() + LOOK_S
        if self._detection.on or self._told.order in BY_HEARING:
            self._inbox.again([ListeningLost(at=Moment(self._clock.now_s()), why="taken over from a worker that died")])
        reader = asyncio.create_task(self._inbox.read(room), name=f"read {self._room_name}")
        try:
            conversation = Conversation(
                call=self.call,
                leg=leg,
                story=self._told,
                inbox=self._inbox,
                agents=self._agents,
                answering=Answering(policy=self._detection, story=self._told),
                opinion=None,
                agent_return_grace_s=self._times.agent_return_grace_s,
                pen=self._pen,
                store=self._stores.queue,
                clock=self._clock,
                metrics=self._metrics,
            )
            await self._end(await conversation.follow())
        finally:
            reader.cancel()

    async def _find_leg(self) -> tuple[Room, Leg] | None:
        """The leg; None: it is gone for certain, and no late request can bring it back."""
        record = self._record()
        if record is None:
            return None
        missed_s: float | None = None
        fenced_s: float | None = None
        orders: list[RoomEvent | Order | Release] = []
        while True:
            try:
                found = await self._carrier.adopt(record)
                now_s = self._clock.now_s()
                if found is not None and fenced_s is None:
                    for order in orders:
                        if isinstance(order, Order):
                            self._inbox.put(order)
                    return found
                missed_s = missed_s or now_s
                if found is not None or (fenced_s is None and now_s >= await self._fence_at_s(missed_s)):
                    await self._carrier.close_room(record.room)
                    fenced_s = self._clock.now_s()
                elif fenced_s is not None and now_s >= fenced_s + REVIVED_S:
                    return None
            except CarrierUnavailable as error:
                self._metrics.carrier_error("adopt")
                self._log.warning("adoption_postponed", error=str(error))
            event = await self._inbox.next(self._clock.now_s() + LOOK_S)
            if event is Order.SHUT_DOWN:
                raise _Left
            if event is not None:
                orders.append(event)

    async def _fence_at_s(self, missed_s: float) -> float:
        """From when on it is certain enough that no leg comes."""
        if self._adopted.state is not State.DIALING:
            return missed_s + AGAIN_S
        on_its_way_s = ON_ITS_WAY_S if await self._carrier.has_fence() else UNCERTAIN_S
        return max(missed_s + AGAIN_S, self._told.dialed_at_s + on_its_way_s)

    def _record(self) -> LegRecord | None:
        adopted = self._adopted
        if adopted.granted is None or not adopted.room:
            return None
        plan = dial_plan(
            self.call,
            adopted.granted,
            to=E164(self.call.to),
            post_dial_allowance_s=self._times.preparation.post_dial_allowance_s,
        )
        return LegRecord(
            room=self._room_name,
            plan=plan,
            dialled_at_s=self._told.dialed_at_s,
            ringing=None if self._told.ringing is None else self._told.ringing.at,
            answered=None if self._told.answered is None else self._told.answered.at,
        )

    def _gone(self) -> Ended:
        """The end of a leg that was not found: when it was is not known, only that it is over."""
        now_s = self._clock.now_s()
        known_s = max(
            moment.at_s
            for moment in (
                Moment(self._told.dialed_at_s),
                *(event.at for event in (self._told.ringing, self._told.answered) if event is not None),
            )
        )
        return Ended(
            at=Moment((known_s + now_s) / 2, (now_s - known_s) / 2),
            cause=HangupCause.LEG_LOST if self._told.order is None else HangupCause.ORDERED,
            signal=Signal(),
            dialled=Dialled.UNKNOWN,
            rang=self._told.ringing is not None or self._told.answered is not None,
            evidence={"found": False},
        )

    async def _end(self, ended: Ended) -> None:
        story, call = self._told, self.call
        outcome = self._outcome(ended)
        after = aftermath(story, ended, outcome, call=call, clock=self._clock, chance=random.random())
        await self._finish(outcome, after, leg_is_over=is_told(ended, story))

    def _outcome(self, ended: Ended) -> Outcome:
        story, adopted = self._told, self._adopted
        story.notes["adopted"] = True
        if story.answered is not None:
            story.notes["answer_error_s"] = round(story.answered.at.error_s, 3)
        outcome = story.outcome(ended)
        if ended.cause is HangupCause.LEG_LOST and story.order is None and story.answered is None:
            # Nothing says what it was; the one request that could have died with its worker.
            reason = EndReason.WORKER_LOST
            outcome = replace(outcome, reason=reason, state=final_state(reason, answered=False))
        if not ended.evidence.get("found", True):
            outcome = replace(outcome, ring_ms=None, ring_error_ms=None, talk_ms=None)
        # What the dead worker measured is stored, and is better than what its moments as written add up to.
        if adopted.pdd_ms is not None:
            outcome = replace(outcome, pdd_ms=None)
        if adopted.since_answer_s is not None:
            outcome = replace(outcome, ring_ms=None, ring_error_ms=None)
        return outcome


def story_of(adopted: AdoptedCall, *, clock: Clock) -> Story:
    """The call's story as far as it was written down. What was written was true at the latest then."""
    now_s = clock.now_s()

    def moment(age_real_s: float, error_s: float) -> Moment:
        return Moment(now_s - age_real_s * clock.scale - error_s, error_s)

    story = Story(
        dialed_at_s=now_s - adopted.since_dial_s * clock.scale,
        max_duration_s=adopted.call.max_duration_s,
    )
    if adopted.since_ringing_s is not None:
        story.ringing = Ringing(at=moment(adopted.since_ringing_s, adopted.ringing_error_s), source="record")
    if adopted.since_answer_s is not None:
        story.answered = Answered(at=moment(adopted.since_answer_s, adopted.answer_error_s), source="record")
    order = next((order for order in Order if order.value == adopted.ordered_end), None)
    if order is not None:
        story.give(order)
    if (heard := next((kind for kind in Kind if kind.value == adopted.verdict.get("kind")), None)) is not None:
        story.heard = heard
        story.notes |= {"verdict": heard.value, "verdict_stage": adopted.verdict.get("stage")}
    return story
