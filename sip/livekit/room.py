"""One room: its agents, its leg, and the queue of what happened in it. The port's `Room`.

Takes views, notices and the passing of time; tells events in the order in which they became known; says when it wants to be
looked at next. Sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sip.clock import Clock
from sip.events import AgentJoined, AgentLeft, EndSignal, Moment, OptOut, RoomClosed, RoomEvent
from sip.leg import RoomName
from sip.livekit.leg import LiveKitLeg, Stage
from sip.livekit.rooms import LeaveNotice, Occupant, Role, Span, View, between
from sip.livekit.timings import LiveKitTimings

FIRST_LOOKS_S = (0.08, 0.2, 0.4)
"""After the dial: the SIP service joins after 20 ms, and a quick 18x is worth an exact moment."""
AGENT_LOOKS_S = ((2.0, 0.1), (5.0, 0.25), (float("inf"), 0.5))
"""While an agent is awaited: up to this age of the room, so often. An idle agent comes after 230 ms."""

_LOOKS_DECIDE = frozenset({Stage.GONE, Stage.MISSING})
"""Their deadline is that of the look that must agree."""


@dataclass(slots=True)
class _Agent:
    """An agent that was in the room."""

    seen_s: float
    signal: str = ""
    left: Moment | None = None
    deadline_s: float = 0.0
    """Once it left: until when a webhook may still say whether it meant it."""


@dataclass(frozen=True, slots=True)
class LookWish:
    """When to look at the room, and whether others may wait for it."""

    due_s: float
    urgent: bool


class LiveKitRoom:
    """A room with its agents and, once dialled, its leg."""

    def __init__(
        self,
        *,
        name: RoomName,
        clock: Clock,
        timings: LiveKitTimings,
        webhooks_work: Callable[[], bool],
        changed: Callable[[LiveKitRoom], None],
    ) -> None:
        """`changed` is called when the next look or deadline may have moved."""
        self._name = name
        self._clock = clock
        self._timings = timings
        self._webhooks_work = webhooks_work
        self._changed = changed
        self._events: asyncio.Queue[RoomEvent] = asyncio.Queue()
        self._agents: dict[str, _Agent] = {}
        self._opted_out: dict[str, bool] = {}  # all agents that ever came, and whether they have said so
        self._looked_s = clock.now_s()  # what the last successful look showed was true after this
        self._agent_came = False
        self.opened_at_s = clock.now_s()
        self.leg: LiveKitLeg | None = None
        self.closed = False
        """Deleted, by us or by others: nothing to look at any more."""

    @property
    def name(self) -> RoomName:
        """The room's name."""
        return self._name

    async def next_event(self) -> RoomEvent:
        """The next event, waiting for it. Cancelling loses nothing."""
        return await self._events.get()

    def tell(self, event: RoomEvent) -> None:
        """Add an event."""
        self._events.put_nowait(event)

    def tell_heard(self, event: RoomEvent) -> None:
        """Add what listeners tell; nothing once the leg has ended: its end is the last that is told of it."""
        if not self.closed and (self.leg is None or self.leg.stage is not Stage.ENDED):
            self.tell(event)

    # What is learnt

    def see(self, view: View) -> None:
        """A look succeeded."""
        agents = {occupant.identity: occupant for occupant in view.with_role(Role.AGENT)}
        for identity, occupant in agents.items():
            self._see_agent(identity, occupant, view.span)
        for identity, agent in self._agents.items():
            if identity not in agents and agent.left is None:
                agent.left = between(agent.seen_s, view.span.received_s)
                wait = self._webhooks_work() and not agent.signal
                agent.deadline_s = self._clock.now_s() + (self._timings.ring_notice_s if wait else 0.0)
        leg = self.leg
        if leg is not None:
            found = view.occupants.get(leg.identity)
            if found is not None:
                leg.seen(found, view.span)
            else:
                leg.missing(view.span)
        self._looked_s = view.span.sent_s
        self.expire(self._clock.now_s())

    def notice(self, notice: LeaveNotice) -> None:
        """A webhook says that somebody left."""
        if self.leg is not None and notice.identity == self.leg.identity:
            self.leg.noticed(notice)
        self._see_opt_out(notice.identity, notice.opt_out, notice.at)
        agent = self._agents.get(notice.identity)
        if agent is not None:
            agent.signal = agent.signal or notice.end_signal
            if agent.left is not None:
                self._tell_left(notice.identity, agent, notice.reason)

    def vanished(self) -> None:
        """It is in no list of rooms, and a look shows nobody in it."""
        if self.leg is None and not self.closed:
            self.closed = True
            self.tell(RoomClosed(at=between(self._looked_s, self._clock.now_s()), reason="the media server closed it"))
        elif self.leg is not None and self.leg.stage is Stage.ENDED:
            self.closed = True

    def expire(self, now_s: float) -> None:
        """Give up waiting for what has not come, if it is time."""
        for identity in [
            identity for identity, agent in self._agents.items() if agent.left is not None and now_s >= agent.deadline_s
        ]:
            self._tell_left(identity, self._agents[identity], "")
        if self.leg is not None:
            self.leg.expire(now_s)

    # What it wants

    @property
    def deadline_s(self) -> float | None:
        """When `expire` is to be called."""
        deadlines = [agent.deadline_s for agent in self._agents.values() if agent.left is not None]
        if self.leg is not None and self.leg.deadline_s is not None and self.leg.stage not in _LOOKS_DECIDE:
            deadlines.append(self.leg.deadline_s)
        return min(deadlines, default=None)

    def next_look(self, *, last_s: float) -> LookWish:
        """When to look, given when the last look was."""
        timings, leg = self._timings, self.leg
        if leg is None:
            if self._agent_came:
                return LookWish(last_s + timings.active_look_s, urgent=False)
            age_s = last_s - self.opened_at_s
            return LookWish(last_s + next(gap_s for until_s, gap_s in AGENT_LOOKS_S if age_s < until_s), urgent=True)
        match leg.stage:
            case Stage.WAITING:
                for after_s in FIRST_LOOKS_S:
                    if last_s < leg.dialled_at_s + after_s:
                        return LookWish(leg.dialled_at_s + after_s, urgent=True)
                # Once it rings, the request tells of the answer; looking is then only against a request whose answer is lost.
                return LookWish(last_s + timings.ring_poll_s, urgent=not leg.has_rung)
            case Stage.RECONCILING:
                return LookWish(last_s + timings.ring_poll_s, urgent=True)
            case Stage.GONE | Stage.MISSING:
                return LookWish(leg.deadline_s or last_s, urgent=True)
            case Stage.ANSWERED | Stage.NOTICE_AWAITED | Stage.ENDED:
                return LookWish(last_s + timings.active_look_s, urgent=False)

    def moved(self) -> None:
        """Have the next look and the deadline computed again."""
        if self.leg is not None and self.leg.stage is Stage.ENDED and self.leg.room_is_deleted and not self.leg.room_must_go:
            self.closed = True
        self._changed(self)

    def _see_agent(self, identity: str, occupant: Occupant, span: Span) -> None:
        agent = self._agents.get(identity)
        if agent is None:
            agent = self._agents[identity] = _Agent(seen_s=span.sent_s)
            self._agent_came = True
            self.tell(AgentJoined(identity=identity, at=between(self._looked_s, span.received_s)))
        agent.seen_s, agent.left = span.sent_s, None
        self._opted_out.setdefault(identity, False)
        self._see_opt_out(identity, occupant.opt_out, between(self._looked_s, span.received_s))
        if occupant.end_signal and not agent.signal:
            agent.signal = occupant.end_signal
            self.tell(EndSignal(identity=identity, at=between(self._looked_s, span.received_s), reason=agent.signal))

    def _see_opt_out(self, identity: str, reason: str, at: Moment) -> None:
        if reason and self._opted_out.get(identity) is False:
            self._opted_out[identity] = True
            self.tell(OptOut(identity=identity, at=at, reason=reason))

    def _tell_left(self, identity: str, agent: _Agent, reason: str) -> None:
        del self._agents[identity]
        left = agent.left or Moment(self._clock.now_s())
        self.tell(AgentLeft(identity=identity, at=left, on_purpose=bool(agent.signal), reason=agent.signal or reason))
