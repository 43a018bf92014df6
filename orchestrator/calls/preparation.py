"""From the claim to the written intent: everything that happens before a phone can ring.

Nothing here is final for the callee, so every way out is either a dial that is granted, or the call's return to the queue,
unspent (`GoBack`), or its end without a dial (`EndUndialled`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from orchestrator.calls.inbox import Agents, Inbox, Release
from orchestrator.calls.orders import Order
from orchestrator.calls.pen import ClaimLost
from orchestrator.calls.plans import caller_id_of, dial_plan
from orchestrator.errors import DatabaseUnavailable, DestinationForbidden, InvalidNumber
from orchestrator.ids import E164
from orchestrator.logs import call_logger
from orchestrator.metrics import Metrics
from orchestrator.numbers import check_destination
from orchestrator.outcomes import EndReason
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import EXPIRY_REASONS, ClaimedCall, DialForbidden, DialGranted, Gate, WaitingFor
from sip.clock import Clock, boot_time_s
from sip.leg import AgentJoined, AgentLeft, DialPlan, Room, RoomClosed


@dataclass(frozen=True, slots=True)
class PreparationTimes:
    """Clock seconds, unless the name says real."""

    agent_join_timeout_s: float
    post_dial_allowance_s: float
    gate_delay_s: float
    """How long a call waits that the gate sent back (account paused, trunk disabled)."""
    intent_max_age_real_s: float
    """A request that cannot leave within this after its dial time is not sent at all (DESIGN.md: 2 s)."""


class GoBack(Exception):
    """The call returns to the queue; nothing rang, nothing is spent."""

    def __init__(self, waiting_for: WaitingFor, why: str, *, delay_s: float | None = None) -> None:
        """`delay_s`: clock seconds; None: the delay that grows with each return in a row."""
        super().__init__(why)
        self.waiting_for = waiting_for
        self.why = why
        self.delay_s = delay_s


class EndUndialled(Exception):
    """The call ends here; nobody was dialled."""

    def __init__(self, reason: EndReason, message: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


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
        store: QueueStore,
        clock: Clock,
        times: PreparationTimes,
        metrics: Metrics,
    ) -> None:
        self._call = call
        self._room = room
        self._inbox = inbox
        self._agents = agents
        self._store = store
        self._clock = clock
        self._times = times
        self._metrics = metrics
        self._log = call_logger(__name__, call_id=call.call_id, account=call.account, epoch=call.epoch)

    async def plan_dial(self, to: E164) -> DialPlan:
        """Wait for the agent, write the intent, wait for the dial time. Send the plan's request at once.

        Raises GoBack, EndUndialled, ClaimLost.
        """
        await self._wait_for_agent()
        caller_id = caller_id_of(self._call)
        granted = await self._pass_the_gate(caller_id)
        await self._wait_for_dial_time(self._clock.now_s() + granted.dial_in_s * self._clock.scale)
        late_s = boot_time_s() - (granted.asked_at_boot_s + granted.dial_in_s)
        if late_s > self._times.intent_max_age_real_s:
            # Whoever waits for this call may have decided by now that we are dead. Nothing was sent, and nothing will be.
            self._log.warning("dial_too_late", late_s=round(late_s, 3))
            raise GoBack(WaitingFor.SLOT, f"the dial time was missed by {late_s:.1f} s", delay_s=0.0)
        self._log.info("call_dialing", trunk=self._call.trunk.name, attempt=granted.attempt, dial=granted.dial_number)
        return dial_plan(
            self._call, granted, to=to, caller_id=caller_id, post_dial_allowance_s=self._times.post_dial_allowance_s
        )

    async def _wait_for_agent(self) -> None:
        deadline_s = self._clock.now_s() + self._times.agent_join_timeout_s
        while not self._agents.present:
            if not await self._take_one(deadline_s):
                self._metrics.carrier_error("agent_absent")
                waited_s = self._times.agent_join_timeout_s
                raise GoBack(WaitingFor.AGENT, f"no agent {self._call.agent_name!r} came within {waited_s:g} s")

    async def _wait_for_dial_time(self, dial_at_s: float) -> None:
        while await self._take_one(dial_at_s):
            if not self._agents.present:
                raise GoBack(WaitingFor.AGENT, "the agent left before the dial")

    async def _take_one(self, deadline_s: float) -> bool:
        """Take in one event or order; False when the deadline came first."""
        event = await self._inbox.next(deadline_s)
        match event:
            case None:
                return False
            case Order.CANCEL:
                raise EndUndialled(EndReason.CANCELED_BY_REQUEST)
            case Order() | Release():
                raise GoBack(WaitingFor.SLOT, "the worker shuts down", delay_s=0.0)
            case RoomClosed():
                raise GoBack(WaitingFor.MEDIA_SERVER, f"the room closed before the dial: {event.reason}")
            case AgentJoined() | AgentLeft():
                self._agents.note(event)
            case _:
                self._log.error("event_before_the_dial", event_kind=type(event).__name__)
        return True

    async def _pass_the_gate(self, caller_id: E164 | None) -> DialGranted:
        try:
            answer = await self._store.begin_dial(self._call, room=self._room.name, caller_id=caller_id)
        except DatabaseUnavailable as error:
            # Perhaps it was committed, perhaps not; nothing was sent, and nothing will be on this intent.
            raise GoBack(WaitingFor.SLOT, f"the database went away at the last gate: {error}", delay_s=0.0) from error
        match answer:
            case None:
                raise ClaimLost
            case DialGranted():
                return answer
            case DialForbidden():
                raise self._refusal(answer.gate)
            case _:
                assert_never(answer)

    def _refusal(self, gate: Gate) -> GoBack | EndUndialled:
        match gate:
            case Gate.CANCELED:
                return EndUndialled(EndReason.CANCELED_BY_REQUEST)
            case Gate.EXPIRED:
                return EndUndialled(EXPIRY_REASONS[self._call.waiting_for], "it expired while it was prepared")
            case Gate.ACCOUNT_PAUSED:
                return GoBack(WaitingFor.SLOT, "the account is paused", delay_s=self._times.gate_delay_s)
            case Gate.TRUNK_DISABLED:
                return GoBack(WaitingFor.SLOT, "the trunk is disabled", delay_s=self._times.gate_delay_s)
            case _:
                assert_never(gate)
