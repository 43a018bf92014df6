"""One room: a name, an agent that was asked to come, at most one leg, and the queue of what happened. The port's `Room`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from uuid import UUID

from sip.clock import Clock
from sip.events import AgentJoined, Answered, Moment, Ringing, RoomClosed, RoomEvent
from sip.leg import DialPlan, LegRecord, LiveRoom, RoomName, RoomPlan
from sip.simulated.agenda import Agenda
from sip.simulated.agents import IDENTITY, Behaviour, SimulatedAgent
from sip.simulated.faults import Faults
from sip.simulated.hearing import SimulatedListener, hear
from sip.simulated.leg import NO_ROOM, SimulatedLeg
from sip.simulated.steps import Script


class SimulatedRoom:
    """A room with its agent and, once dialled, its leg."""

    def __init__(
        self,
        *,
        plan: RoomPlan,
        deployment_id: UUID,
        behaviour: Behaviour,
        clock: Clock,
        faults: Faults,
        forget: Callable[[SimulatedRoom], None],
    ) -> None:
        """`forget` is called when the agent has deleted the room."""
        self.leg: SimulatedLeg | None = None
        self.deployment_id = deployment_id
        self._plan = plan
        self._clock = clock
        self._faults = faults
        self._forget = forget
        self._opened_at_s = clock.now_s()
        self._events: asyncio.Queue[RoomEvent] = asyncio.Queue()
        self._agenda = Agenda(clock=clock)
        self._listener = None
        if plan.listening is not None:
            self._listener = SimulatedListener(plan=plan.listening, agenda=self._agenda, tell=self._tell)
        self.facts: dict[str, str] = {}
        """What the agent has been told of the callee, the latest values."""
        self.facts_told: list[dict[str, str]] = []
        """All of it, in order."""
        self.agent = SimulatedAgent(behaviour=behaviour, agenda=self._agenda, tell=self._tell, delete_room=self.delete)

    @property
    def name(self) -> RoomName:
        """The room's name."""
        return self._plan.name

    @property
    def is_quiet(self) -> bool:
        """Nothing more will happen by itself."""
        return len(self._agenda) == 0

    async def next_event(self) -> RoomEvent:
        """The next event, waiting for it. Cancelling loses nothing."""
        return await self._events.get()

    def expect_agent(self, *, after_s: float) -> None:
        """The agent comes after so long."""
        self._agenda.at(self._opened_at_s + after_s, self.agent.join)

    async def prepare(self, script: Script) -> None:
        """Find out what is to be heard of a callee, if somebody listens: not in the event loop, which has other calls."""
        if self._plan.listening is not None:
            await asyncio.to_thread(hear, script, self._plan.listening.detector)

    def dial(self, plan: DialPlan, script: Script, *, at_s: float) -> SimulatedLeg:
        """Begin the room's one leg."""
        self.leg = self._begin(plan, script, at_s)
        return self.leg

    def refuse_dial(self, plan: DialPlan, *, at_s: float) -> SimulatedLeg:
        """A dial into this room although it does not exist any more: its end is told, nothing is dialled."""
        return self._begin(plan, NO_ROOM, at_s)

    def take_over(self, leg: SimulatedLeg, record: LegRecord) -> None:
        """Another worker reads its events from now on; the one before hears nothing more."""
        self._events = asyncio.Queue()
        if self._listener is not None:
            self._listener.leave()  # it was the other worker's
        if self.agent.present:
            self._events.put_nowait(AgentJoined(IDENTITY, Moment(self._clock.now_s())))
        for event in leg.take_over(record):
            self._events.put_nowait(event)

    def close(self) -> None:
        """We delete it, with all that is in it."""
        self._agenda.clear()
        if self.leg is not None:
            self.leg.end_by_order()
        else:
            self._tell(RoomClosed(Moment(self._clock.now_s()), "deleted"))

    def delete(self, at_s: float) -> None:
        """Somebody else deletes it, as agents do."""
        self._agenda.clear()
        self._forget(self)
        if self.leg is not None:
            self.leg.end_with_its_room(at_s)
        else:
            self._tell(RoomClosed(Moment(at_s), "deleted by an agent"))

    def described(self, now_s: float) -> LiveRoom:
        """The room as it is listed."""
        leg = None if self.leg is None or self.leg.ended else self.leg
        return LiveRoom(
            name=self.name,
            call_id=self._plan.call_id,
            has_leg=leg is not None,
            has_agent=self.agent.present,
            leg_state="" if leg is None else leg.state.value,
            age_s=now_s - self._opened_at_s,
        )

    def _begin(self, plan: DialPlan, script: Script, at_s: float) -> SimulatedLeg:
        leg = SimulatedLeg(
            plan=plan,
            script=script,
            clock=self._clock,
            agenda=self._agenda,
            tell=self._tell,
            faults=self._faults,
            tell_agent=self._tell_agent,
            early_finding=lambda at_s: None if self._listener is None else self._listener.early_finding(at_s),
        )
        leg.begin(at_s)
        if self._listener is not None:
            self._listener.listen(script, dialled_at_s=at_s)
        return leg

    def _tell_agent(self, at_s: float, facts: Mapping[str, str]) -> None:
        self.facts |= facts
        self.facts_told.append(dict(facts))
        self.agent.hear_facts(at_s, facts)

    def _tell(self, event: RoomEvent) -> None:
        self._events.put_nowait(event)
        # The agent is in the room: it notices what its callee does.
        if isinstance(event, Ringing):
            self.agent.hear_ringing(event.at.at_s)
        elif isinstance(event, Answered) and self.leg is not None:
            self.agent.hear_answer(event.at.at_s, ends_after_s=self.leg.script.agent_ends_after_s)
