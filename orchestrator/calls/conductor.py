"""Driving one call from its claim to its one end (DESIGN.md, the life of a call).

    check the number -> open the room -> Preparation: agent, last gate, intent -> one request -> Conversation: ring, talk -> end

Before the request everything can be undone: the call goes back to the queue, unspent. After it, the attempt ends here, whatever
happens to the database or the media server meanwhile, unless the result proves that no phone rang. The call ends with its last
attempt (orchestrator.redial).

It must not know: SQL, LiveKit, other calls.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.calls.aftermath import aftermath, redial_class_of, unspent_aftermath
from orchestrator.calls.answering import Answering
from orchestrator.calls.conversation import Conversation
from orchestrator.calls.ending import end_leg, is_told
from orchestrator.calls.inbox import Agents, Inbox, Release
from orchestrator.calls.messenger import Opinion
from orchestrator.calls.orders import Order
from orchestrator.calls.pen import ClaimLost, Pen
from orchestrator.calls.plans import ListeningTimes, room_plan
from orchestrator.calls.preparation import Preparation, PreparationTimes, check_number
from orchestrator.calls.refusals import EndUndialled, GoBack, refusal
from orchestrator.calls.story import Story, outcome_of_defect
from orchestrator.detection import NO_DETECTION
from orchestrator.errors import ForbiddenTransition
from orchestrator.ids import E164
from orchestrator.lifecycle import State
from orchestrator.logs import call_logger
from orchestrator.looper import was_cancelled
from orchestrator.metrics import Metrics
from orchestrator.outcomes import EndReason
from orchestrator.store.ends import Ends
from orchestrator.store.gate import GateStore
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import Aftermath, ClaimedCall, Outcome, WaitingFor
from sip.causes import HangupCause, TrunkRules, proves_nothing_rang
from sip.clock import Clock
from sip.errors import BadPlan, CarrierUnavailable, RoomRefused
from sip.events import Dialled, Ended
from sip.leg import Carrier, Room, RoomName

UNSPENT = {
    HangupCause.MEDIA_SERVER_UNAVAILABLE: WaitingFor.MEDIA_SERVER,
    HangupCause.TRUNK_CAPACITY: WaitingFor.TRUNK_CAPACITY,
    HangupCause.TRUNK_AUTH: WaitingFor.TRUNK_AUTH,
    HangupCause.TRUNK_CONFIG: WaitingFor.TRUNK_CONFIG,
    HangupCause.TRUNK_UNREACHABLE: WaitingFor.TRUNK_UNREACHABLE,
}
"""Causes after which the call waits and is dialled again within the same attempt, if it is proven that no phone rang
(OUTCOMES.md, redial class trunk, and "until it expired")."""


@dataclass(frozen=True, slots=True)
class CallStores:
    """All that a conductor asks of the database."""

    gate: GateStore
    queue: QueueStore
    """What happens to a call between its intent and its end."""
    ends: Ends


@dataclass(frozen=True, slots=True)
class Delays:
    """How long a call waits that went back unspent: `first_s`, doubling with each return in a row, up to `most_s`."""

    first_s: float
    most_s: float

    def after(self, deferrals: int) -> float:
        """The delay after `deferrals` returns in a row before this one."""
        return min(self.most_s, self.first_s * 2.0 ** min(deferrals, 32))


@dataclass(frozen=True, slots=True)
class ConductorTimes:
    """Times that are the same for all calls of a deployment; clock seconds unless the name says real."""

    preparation: PreparationTimes
    agent_return_grace_s: float
    agent_delays: Delays
    trunk_delays: Delays
    listening: ListeningTimes | None = None
    """None: nobody listens to any call, whatever its policy."""
    write_pause_real_s: float = 1.0
    """Between two tries of a write while the database is away."""


class Conductor:
    """Conducts one claimed call. Run it once."""

    def __init__(
        self,
        *,
        call: ClaimedCall,
        carrier: Carrier,
        stores: CallStores,
        clock: Clock,
        times: ConductorTimes,
        leftovers: set[RoomName],
        metrics: Metrics,
        in_doubt: Callable[[], bool] = lambda: False,
        opinion: Opinion | None = None,
    ) -> None:
        """`leftovers`: where rooms are named that could not be closed; somebody else tries again. `in_doubt`: as in `Pen`.

        `opinion`: whom to ask about verdicts that are not sure; None: nobody.
        """
        self._opinion = opinion
        self.call = call
        self._carrier = carrier
        self._stores = stores
        self._clock = clock
        self._times = times
        self._leftovers = leftovers
        self._metrics = metrics
        self._log = call_logger(__name__, call_id=call.call_id, account=call.account, epoch=call.epoch)
        self._room_name = carrier.room_name(call_id=str(call.call_id), epoch=call.epoch)
        self._room_open = False
        self._inbox = Inbox(clock=clock)
        self._agents = Agents()
        self._pen = Pen(pause_real_s=times.write_pause_real_s, metrics=metrics, log=self._log, in_doubt=in_doubt)
        self._story: Story | None = None
        self._claimed_at_s = time.monotonic()
        self._detection = NO_DETECTION if times.listening is None else call.detection

    def order(self, order: Order | Release) -> None:
        """Cancel, release or shut down, at any stage. Repeating it is harmless."""
        self._inbox.put(order)

    def drop(self) -> None:
        """The claim is not ours any more: stop touching the call."""
        self._inbox.fail(ClaimLost())

    async def run(self) -> None:
        """Conduct the call to its end, or back to the queue. Raises nothing but cancellation."""
        try:
            await self._conduct()
        except ClaimLost:
            self._log.warning("claim_lost")
            self._metrics.claim_lost()
            if self._story is None:
                await self._close_room()  # nothing was dialled in it; a dialled room may have been adopted with its leg
        except asyncio.CancelledError as error:
            if was_cancelled():
                raise
            self._log.exception("conductor_cut_off")  # what it awaited was cancelled, not the conductor
            await self._end_after_defect(error)
        except Exception as error:  # noqa: BLE001  a defect here ends its own call, truthfully, and no other
            self._log.exception("conductor_failed")
            await self._end_after_defect(error)

    # -- the steps ---------------------------------------------------------------------------------------------------------

    async def _conduct(self) -> None:
        try:
            self._ask_the_gate_early()
            to = check_number(self.call, fiction_allowed=not self._carrier.is_real)
            room = await self._open_room()
            reader = asyncio.create_task(self._inbox.read(room), name=f"read {self._room_name}")
            try:
                await self._conduct_in(room, to)
            finally:
                reader.cancel()
        except GoBack as back:
            await self._go_back(back)
        except EndUndialled as end:
            await self._finish(end.outcome, Aftermath())

    def _ask_the_gate_early(self) -> None:
        """Whatever forbids the dial already is no reason to open a room and fetch an agent."""
        forbidden = self.call.forbidden
        if forbidden is not None:
            self._metrics.gate_refused(forbidden.gate.value, at="claim")
            delay_s = self._times.preparation.gate_delay_s
            raise refusal(self.call, forbidden, gate_delay_s=delay_s, scale=self._clock.scale)

    async def _open_room(self) -> Room:
        plan = room_plan(
            self.call,
            name=self._room_name,
            post_dial_allowance_s=self._times.preparation.post_dial_allowance_s,
            listening=self._times.listening,
        )
        try:
            room = await self._carrier.open_room(plan)
        except (CarrierUnavailable, RoomRefused) as error:
            self._metrics.carrier_error("open_room")
            raise GoBack(WaitingFor.MEDIA_SERVER, str(error)) from error
        self._room_open = True
        return room

    async def _conduct_in(self, room: Room, to: E164) -> None:
        preparation = Preparation(
            call=self.call,
            room=room,
            inbox=self._inbox,
            agents=self._agents,
            gate=self._stores.gate,
            store=self._stores.queue,
            pen=self._pen,
            clock=self._clock,
            times=self._times.preparation,
            metrics=self._metrics,
        )
        plan = await preparation.plan_dial(to)
        # From here on a phone may ring. Nothing may come between this line and the request.
        self._story = story = Story(dialed_at_s=self._clock.now_s(), max_duration_s=self.call.max_duration_s)
        try:
            leg = await self._carrier.dial(room, plan)
        except BadPlan as error:
            self._story = None
            raise EndUndialled(EndReason.SIP_FAILED_TRUNK_CONFIG, str(error)) from error
        self._metrics.dialled(after_s=self.call.enqueued_to_claim_s + time.monotonic() - self._claimed_at_s)
        conversation = Conversation(
            call=self.call,
            leg=leg,
            story=story,
            inbox=self._inbox,
            agents=self._agents,
            answering=Answering(policy=self._detection, story=story),
            opinion=self._opinion,
            agent_return_grace_s=self._times.agent_return_grace_s,
            pen=self._pen,
            store=self._stores.queue,
            clock=self._clock,
            metrics=self._metrics,
        )
        ended = await conversation.follow()
        if _is_unspent(ended, story, plan.trunk.rules):
            self._metrics.carrier_error(ended.cause.value)
            signal = ended.signal
            said = " ".join(str(part) for part in (signal.sip_code, signal.sip_reason, signal.text) if part)
            raise GoBack(UNSPENT[ended.cause], said, aftermath=unspent_aftermath(ended))
        outcome = story.outcome(ended)
        after = aftermath(story, ended, outcome, call=self.call, clock=self._clock, chance=random.random())
        await self._finish(outcome, after, leg_is_over=is_told(ended, story))

    # -- ends --------------------------------------------------------------------------------------------------------------

    async def _finish(self, outcome: Outcome, aftermath: Aftermath, *, leg_is_over: bool = True) -> None:
        """Close the room, then write the end, which frees slot, agent, channel and number.

        Unless the leg is over for certain, nothing is freed before the room is closed. Raises ClaimLost.
        """
        if not leg_is_over and self._room_open and self._story is not None:
            await end_leg(
                self.call,
                room=self._room_name,
                carrier=self._carrier,
                over_by_s=self._story.over_by_s,
                inbox=self._inbox,
                pen=self._pen,
                store=self._stores.queue,
                clock=self._clock,
                metrics=self._metrics,
            )
        await self._close_room()
        redialled = False

        async def write() -> bool:
            nonlocal redialled
            finished = await self._stores.ends.finish(self.call, outcome, aftermath)
            redialled = finished.state is State.SCHEDULED
            return finished.ours

        await self._pen.write_until_done(write)
        if redialled:
            redial = redial_class_of(outcome)
            self._metrics.redialled(redial.value)
            self._log.info(
                "call_redialled",
                end_reason=outcome.reason.value,
                redial=redial.value,
                attempts=len(self.call.earlier_ends) + 1,
                delay_s=aftermath.redial_delay_s,
            )
            return
        self._metrics.call_ended(outcome.reason.value)
        self._log.info(
            "call_ended",
            end_reason=outcome.reason.value,
            sip_code=outcome.sip_code,
            ring_ms=outcome.ring_ms,
            talk_ms=outcome.talk_ms,
        )

    async def _go_back(self, back: GoBack) -> None:
        """Give the call back unspent; nothing of it rang anywhere."""
        delays = self._times.agent_delays if back.waiting_for is WaitingFor.AGENT else self._times.trunk_delays
        delay_s = delays.after(self.call.deferrals) if back.delay_s is None else back.delay_s
        await self._close_room()
        await self._pen.write_until_done(
            lambda: self._stores.ends.requeue(
                self.call,
                delay_s=self._clock.real_s(delay_s),
                waiting_for=back.waiting_for,
                detail={"why": back.why},
                aftermath=back.aftermath,
                agent_came=back.agent_came,
            )
        )
        self._metrics.requeued(back.waiting_for.value)
        self._log.info("call_requeued", waiting_for=back.waiting_for.value, why=back.why, delay_s=delay_s)

    async def _end_after_defect(self, error: BaseException) -> None:
        """INTERNAL_ERROR: hang up, free everything, and keep the truth about whether a phone may have rung."""
        story = self._story
        answered = story is not None and story.was_answered
        try:
            try:
                await self._finish(outcome_of_defect(error, story, answered=answered), Aftermath(), leg_is_over=story is None)
            except ForbiddenTransition:  # whether it was answered is what could not be written
                await self._finish(outcome_of_defect(error, story, answered=not answered), Aftermath())
        except ClaimLost:
            self._log.warning("claim_lost")
            self._metrics.claim_lost()
        except Exception:  # noqa: BLE001  the last resort: recovery finds the call by its worker
            self._log.exception("end_after_defect_failed")

    async def _close_room(self) -> None:
        if not self._room_open:
            return
        try:
            await self._carrier.close_room(self._room_name)
            self._room_open = False
        except CarrierUnavailable as error:
            # The dial's own ring, duration and media limits end an orphan; it is tried again at every sweep (I6).
            self._leftovers.add(self._room_name)
            self._metrics.carrier_error("close_room")
            self._log.warning("room_not_closed", room=self._room_name, error=str(error))


def _is_unspent(ended: Ended, story: Story, rules: TrunkRules) -> bool:
    """Whether only a limit stood in the way and no phone rang for certain."""
    return (
        ended.cause in UNSPENT
        and story.order is None
        and story.ringing is None
        and story.answered is None
        and (ended.dialled is Dialled.NO or proves_nothing_rang(ended.signal, rang=ended.rang, rules=rules))
    )
