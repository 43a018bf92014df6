"""The simulated carrier: rooms that are only names, agents and callees that follow scripts, and a clock that may run fast.

One timer and one queue for each call, no tasks: thousands of calls at once cost little. What callees' answers become is left to
the same rules as on a real carrier (`sip.causes`), so that a test number proves the rules too.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sip.causes import HangupCause, Signal, hangup_cause
from sip.clock import Clock
from sip.errors import BadPlan, CarrierUnavailable
from sip.leg import (
    AgentJoined, AgentLeft, Answered, Dialled, DialPlan, Digit, EarlyMedia, Ended, EndSignal, Fact, Finding, Leg, LiveRoom,
    Moment, Ringing, Room, RoomClosed, RoomEvent, RoomName, RoomPlan,
)
from sip.simulated.scripts import script_for, TALKS_8_S
from sip.simulated.steps import (
    Answer, HangUp, LoseLeg, LoseMedia, NotTaken, PressDigit, Refuse, Ring, Script, StartEarlyMedia, Step,
)

AGENT = "agent-simulated"


@dataclass(frozen=True, slots=True)
class DialRecord:
    at_s: float
    plan: DialPlan
    room: RoomName
    taken: bool


class SimulatedRoom:
    def __init__(self, plan: RoomPlan, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.clock = clock
        self.loop = loop
        self.opened_at_s = clock.now_s()
        self.queue: asyncio.Queue[RoomEvent] = asyncio.Queue()
        self.agent = False
        self.leg: SimulatedLeg | None = None
        self.timers: set[asyncio.TimerHandle] = set()
        self.closed = False

    @property
    def name(self) -> RoomName:
        return self.plan.name

    async def next_event(self) -> RoomEvent:
        return await self.queue.get()

    def tell(self, event: RoomEvent) -> None:
        self.queue.put_nowait(event)

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        def fire() -> None:
            self.timers.discard(handle)
            if not self.closed:
                do()
        handle = self.loop.call_later(self.clock.real_s(delay_s), fire)
        self.timers.add(handle)

    def now(self) -> Moment:
        return Moment(self.clock.now_s())

    def join_agent(self) -> None:
        if not self.agent:
            self.agent = True
            self.tell(AgentJoined(AGENT, self.now()))

    def leave_agent(self, on_purpose: bool, reason: str) -> None:
        if self.agent:
            self.agent = False
            self.tell(AgentLeft(AGENT, self.now(), on_purpose, reason))

    def close(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        if self.leg is not None:
            self.leg.end(Signal(text="sip request timed out"), ordered=True)
        elif not self.closed:
            self.tell(RoomClosed(self.now(), "deleted"))
        self.closed = True


class SimulatedLeg:
    def __init__(self, *, room: SimulatedRoom, plan: DialPlan, script: Script) -> None:
        self.room = room
        self.plan = plan
        self.script = script
        self.state = "dialing"
        self.started_at_s = room.clock.now_s()
        self.ringing_at_s: float | None = None
        self.answered = False
        self.ended = False
        self.steps: deque[Step] = deque(script.steps)
        self.ids = {"sip_call_id": f"sim-{plan.dial_id}", "livekit_sip_call_id": f"SCL_sim{plan.dial_id}"}

    def start(self) -> None:
        self.room.after(self.plan.request_ring_s, self.ring_out)
        self.next_step()

    def next_step(self) -> None:
        if self.steps and not self.ended:
            step = self.steps.popleft()
            self.room.after(step.after_s, lambda: self.play(step))

    def play(self, step: Step) -> None:
        if self.ended:
            return
        room = self.room
        match step:
            case Ring() | StartEarlyMedia():
                self.state = "ringing"
                self.ringing_at_s = room.clock.now_s()
                room.tell(Ringing(room.now(), "script"))
                if isinstance(step, StartEarlyMedia):
                    room.tell(EarlyMedia(room.now()))
            case Answer():
                self.state = "active"
                self.answered = True
                room.tell(Answered(room.now(), "script", self.ids))
                room.after(self.plan.max_duration_s + 30, lambda: self.end(Signal(disconnect_reason="CLIENT_INITIATED")))
                if self.script.agent_ends_after_s is not None:
                    room.after(self.script.agent_ends_after_s, lambda: room.tell(EndSignal(AGENT, room.now(), "done")))
            case Refuse():
                text = step.sip_reason
                reason = step.sip_reason
                for name, value in step.headers:
                    text = f"{text} {name}: {value}"
                code: int | None = step.sip_code
                if step.sip_code in (401, 407):
                    code, reason, text = None, "", "sip server required auth, but no username or password was provided"
                self.end(Signal(sip_code=code, sip_reason=reason, text=text, q850_cause=None))
            case NotTaken():
                self.end(Signal(text=step.text), dialled=Dialled.NO)
            case PressDigit():
                room.tell(Digit(step.digit, room.now()))
            case HangUp():
                self.end(Signal(disconnect_reason="CLIENT_INITIATED"))
            case LoseMedia():
                room.after(step.noticed_after_s, lambda: self.end(Signal(text="media-timeout")))
            case LoseLeg():
                self.end(Signal())
        self.next_step()

    def ring_out(self) -> None:
        if not self.answered:
            self.end(Signal(text="sip request timed out"), dialled=None if self.ringing_at_s is not None else Dialled.UNKNOWN)

    def end(self, signal: Signal, *, ordered: bool = False, dialled: Dialled | None = None) -> None:
        if self.ended:
            return
        self.ended = True
        self.state = ""
        now_s = self.room.clock.now_s()
        rang = self.ringing_at_s is not None
        evidence: dict[str, Fact] = {}
        if ordered:
            cause = HangupCause.ORDERED
        else:
            reading = hangup_cause(
                signal, answered=self.answered, rang=rang, ring_s=None if self.ringing_at_s is None else now_s - self.ringing_at_s,
                ring_timeout_s=self.plan.ring_timeout_s, rules=self.plan.trunk.rules,
            )
            cause = reading.cause
            evidence = {"rule": reading.rule, **reading.evidence}
        self.room.tell(Ended(Moment(now_s), cause, signal, dialled or Dialled.YES, rang or self.answered, self.ids if self.answered else {}, evidence))

    async def hang_up(self) -> None:
        self.end(Signal(text="sip request timed out"), ordered=True)

    async def send_digits(self, digits: str) -> None:
        del digits


class SimulatedCarrier:
    def __init__(self, *, clock: Clock, deployment_id: UUID, seed: int = 1, agent_delay_s: float = 0.2, missing_agents: frozenset[str] = frozenset()) -> None:
        self._clock = clock
        self._deployment_id = deployment_id
        self._agent_delay_s = agent_delay_s
        self._missing = missing_agents
        self._rooms: dict[RoomName, SimulatedRoom] = {}
        self.ledger: list[DialRecord] = []

    @property
    def is_real(self) -> bool:
        return False

    def room_name(self, *, call_id: str, epoch: int) -> RoomName:
        return RoomName(f"oc-{self._deployment_id.hex[:8]}-{call_id}-{epoch}")

    async def open_room(self, plan: RoomPlan) -> Room:
        room = SimulatedRoom(plan, self._clock, asyncio.get_running_loop())
        self._rooms[plan.name] = room
        if plan.agent_name not in self._missing:
            room.after(self._agent_delay_s, room.join_agent)
        return room

    async def dial(self, room: Room, plan: DialPlan) -> Leg:
        there = self._rooms.get(room.name)
        self.ledger.append(DialRecord(self._clock.now_s(), plan, room.name, there is not None))
        if there is None:
            raise BadPlan("no room")
        leg = SimulatedLeg(room=there, plan=plan, script=script_for(plan.to) or TALKS_8_S)
        there.leg = leg
        leg.start()
        return leg

    async def close_room(self, name: RoomName) -> None:
        room = self._rooms.pop(name, None)
        if room is not None:
            room.close()

    async def list_rooms(self) -> Sequence[LiveRoom]:
        now_s = self._clock.now_s()
        return [
            LiveRoom(r.name, r.plan.call_id, r.leg is not None and not r.leg.ended, r.agent, r.leg.state if r.leg else "", now_s - r.opened_at_s)
            for r in self._rooms.values()
        ]

    async def check(self, *, trunk_ids: Sequence[str]) -> Sequence[Finding]:
        return [Finding("carrier", True, "the simulated carrier: no phone will ring")]

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        pass
