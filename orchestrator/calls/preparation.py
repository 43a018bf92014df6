"""From the claim to the written intent: everything that happens before a phone can ring.

Nothing here is final for the callee, so every way out is either a dial that is granted, or the call's return to the queue,
unspent (`GoBack`), or its end without a dial (`EndUndialled`). An agent that says that the callee wants no calls ends it so,
also after the intent: the do-not-call list is written before the call's end.

The last gate is asked twice. What it would say at the claim comes with the call, so that no room is opened and no agent fetched
for a call that cannot be dialled now; what it says at the intent counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.caller_ids import caller_id_candidates
from orchestrator.calls.inbox import Agents, Inbox, Release
from orchestrator.calls.orders import Order
from orchestrator.calls.pen import ClaimLost, Pen
from orchestrator.calls.plans import dial_plan
from orchestrator.calls.refusals import WHY, EndUndialled, GoBack, refusal
from orchestrator.errors import DatabaseUnavailable, DestinationForbidden, InvalidNumber
from orchestrator.ids import E164
from orchestrator.logs import call_logger
from orchestrator.metrics import Metrics
from orchestrator.numbers import check_destination
from orchestrator.outcomes import EndReason
from orchestrator.store.gate import GateStore
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall, DialForbidden, DialGranted, Gate, WaitingFor
from sip.clock import Clock, boot_time_s
from sip.events import AgentJoined, AgentLeft, ListeningLost, ListeningStarted, OptOut, RoomClosed, RoomEvent
from sip.leg import DialPlan, Room

LEAST_SLACK_S = 0.05
"""What an event loop may be late by. A trunk whose own slack is less has a rate that is met on the average only."""


@dataclass(frozen=True, slots=True)
class PreparationTimes:
    """Clock seconds, unless the name says real."""

    agent_join_timeout_s: float
    post_dial_allowance_s: float
    gate_delay_s: float
    """How long a call waits that the gate sent back, where the gate cannot tell how long that will be."""
    intent_max_age_real_s: float
    """A request that cannot leave within this after its dial time is not sent at all (DESIGN.md: 2 s)."""


def check_number(call: ClaimedCall, *, fiction_allowed: bool) -> E164:
    """The number to dial, checked again: calls queued by SQL were checked for their shape only. Raises EndUndialled."""
    to = E164(call.to)
    try:
        check_destination(
            to,
            country=call.country,
            allowed_countries=call.allowed_countries,
            allowed_specials=call.allowed_specials,
            fiction_allowed=fiction_allowed,
        )
    except InvalidNumber as error:
        raise EndUndialled(EndReason.INVALID_NUMBER, str(error)) from error
    except DestinationForbidden as error:
        raise EndUndialled(EndReason.BLOCKED_DO_NOT_CALL, str(error)) from error
    return to


class Preparation:
    """Brings one claimed call to its last gate, in a room that is already open."""

    def __init__(
        self,
        *,
        call: ClaimedCall,
        room: Room,
        inbox: Inbox,
        agents: Agents,
        gate: GateStore,
        store: QueueStore,
        pen: Pen,
        clock: Clock,
        times: PreparationTimes,
        metrics: Metrics,
    ) -> None:
        self._call = call
        self._room = room
        self._inbox = inbox
        self._agents = agents
        self._gate = gate
        self._store = store
        self._pen = pen
        self._clock = clock
        self._times = times
        self._metrics = metrics
        self._kept: list[RoomEvent] = []
        self._log = call_logger(__name__, call_id=call.call_id, account=call.account, epoch=call.epoch)

    async def plan_dial(self, to: E164) -> DialPlan:
        """Wait for the agent, write the intent, wait for the dial time. Send the plan's request at once.

        Raises GoBack, EndUndialled, ClaimLost.
        """
        await self._wait_for_agent()
        granted = await self._pass_the_gate()
        await self._wait_for_dial_time(self._clock.now_s() + granted.dial_in_s * self._clock.scale)
        late_s = boot_time_s() - (granted.asked_at_boot_s + granted.dial_in_s)
        most_late_s = min(self._times.intent_max_age_real_s, max(LEAST_SLACK_S, self._call.trunk.dial_slack_ms / 1000))
        if late_s > most_late_s:
            # The trunk's rate may be broken by it, and whoever waits for this call may have decided by now that we are dead.
            # Nothing was sent, and nothing will be.
            self._log.warning("dial_too_late", late_s=round(late_s, 3))
            raise GoBack(WaitingFor.SLOT, f"the dial time was missed by {late_s:.3f} s", delay_s=0.0)
        self._log.info("call_dialing", trunk=self._call.trunk.name, attempt=granted.attempt, dial=granted.dial_number)
        plan = dial_plan(self._call, granted, to=to, post_dial_allowance_s=self._times.post_dial_allowance_s)
        left_s = most_late_s - late_s
        self._inbox.again(self._kept)
        return replace(plan, not_after_s=self._clock.now_s() + left_s * self._clock.scale)

    async def _wait_for_agent(self) -> None:
        deadline_s = self._clock.now_s() + self._times.agent_join_timeout_s
        while not self._agents.present:
            if not await self._take_one(deadline_s):
                self._metrics.carrier_error("agent_absent")
                waited_s = self._times.agent_join_timeout_s
                why = f"no agent {self._call.agent_name!r} came within {waited_s:g} s"
                raise GoBack(WaitingFor.AGENT, why, agent_came=False)

    async def _wait_for_dial_time(self, dial_at_s: float) -> None:
        while await self._take_one(dial_at_s):
            if not self._agents.present:
                raise GoBack(WaitingFor.AGENT, "the agent left before the dial", agent_came=True)

    async def _take_one(self, deadline_s: float) -> bool:
        """Take in one event or order; False when the deadline came first."""
        event = await self._inbox.next(deadline_s)
        match event:
            case None:
                return False
            case Order.CANCEL:
                raise EndUndialled(EndReason.CANCELED_BY_REQUEST)
            case Order() | Release():
                raise GoBack(WaitingFor.SLOT, "told to give back what is not dialled yet", delay_s=0.0)
            case RoomClosed():
                raise GoBack(WaitingFor.MEDIA_SERVER, f"the room closed before the dial: {event.reason}")
            case AgentJoined() | AgentLeft():
                self._agents.note(event)
            case OptOut():
                await self._note_opt_out(event)
                raise EndUndialled(EndReason.BLOCKED_DO_NOT_CALL, WHY[Gate.DO_NOT_CALL])
            case ListeningStarted() | ListeningLost():
                self._kept.append(event)
            case _:
                self._log.error("event_before_the_dial", event_kind=type(event).__name__)
        return True

    async def _note_opt_out(self, event: OptOut) -> None:
        """On the list now, or before the call's end is written."""
        self._log.info("call_opt_out", reason=event.reason)
        await self._pen.note_first(lambda: self._store.record_opt_out(self._call, identity=event.identity, reason=event.reason))

    async def _pass_the_gate(self) -> DialGranted:
        while True:
            match await self._ask_the_gate():
                case None:
                    raise ClaimLost
                case DialGranted() as granted:
                    return granted
                case DialForbidden(gate=Gate.TRUNK_PACE, retry_in_s=float(retry_in_s)):
                    self._metrics.gate_refused(Gate.TRUNK_PACE.value, at="intent")
                    await self._wait_for_dial_time(self._clock.now_s() + retry_in_s * self._clock.scale)
                case DialForbidden() as forbidden:
                    self._metrics.gate_refused(forbidden.gate.value, at="intent")
                    raise refusal(self._call, forbidden, gate_delay_s=self._times.gate_delay_s, scale=self._clock.scale)

    async def _ask_the_gate(self) -> DialGranted | DialForbidden | None:
        call = self._call
        try:
            return await self._gate.begin_dial(
                call, room=self._room.name, caller_ids=caller_id_candidates(call), choice=call.caller_id_choice
            )
        except DatabaseUnavailable as error:
            # Perhaps it was committed, perhaps not; nothing was sent, and nothing will be on this intent.
            raise GoBack(WaitingFor.SLOT, f"the database went away at the last gate: {error}", delay_s=0.0) from error
