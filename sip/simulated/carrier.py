"""The simulated carrier: the port's `Carrier`, behind which no phone rings.

Rooms are only names, agents and callees follow scripts, and the clock may run fast. A room has one timer and one queue and no
task of its own, so thousands of calls at once cost little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sip.clock import Clock
from sip.errors import BadPlan, RoomRefused
from sip.leg import DialPlan, Finding, Leg, LegRecord, LiveRoom, Room, RoomName, RoomPlan
from sip.simulated.agents import behaviour_of
from sip.simulated.faults import Faults
from sip.simulated.mix import Mix
from sip.simulated.plans import check_plan
from sip.simulated.room import SimulatedRoom
from sip.simulated.scripts import script_for

LEDGER_KEEPS = 20_000
"""At least so many of the latest dials stay in the ledger; a daemon may run for weeks."""


@dataclass(frozen=True, slots=True)
class DialRecord:
    """One request to dial, as it was received."""

    at_s: float
    """Carrier clock."""
    plan: DialPlan
    room: RoomName
    taken: bool
    """False: its room did not exist, or had been dialled into before."""


@dataclass(slots=True)
class World:
    """The rooms that exist and the requests that were received: several carriers may share one, as workers share a server."""

    rooms: dict[RoomName, SimulatedRoom] = field(default_factory=dict)
    ledger: list[DialRecord] = field(default_factory=list)


class SimulatedCarrier:
    """Dials nobody. Safe for thousands of rooms in one event loop."""

    def __init__(
        self,
        *,
        clock: Clock,
        deployment_id: UUID,
        seed: int = 1,
        agent_delay_s: float = 0.2,
        missing_agents: frozenset[str] = frozenset(),
        faults: Faults | None = None,
        world: World | None = None,
    ) -> None:
        """`seed` decides what numbers do that are no test numbers; agents named in `missing_agents` never come.

        `world`: shared with other carriers of this process and clock; None: a world of its own.
        """
        world = world or World()
        self.ledger = world.ledger
        """Every request to dial, oldest first, whatever became of it."""
        self.faults = faults or Faults()
        self._clock = clock
        self._deployment_id = deployment_id
        self._prefix = f"oc-{deployment_id.hex[:8]}-"
        self._mix = Mix(seed=seed)
        self._agent_delay_s = agent_delay_s
        self._missing_agents = missing_agents
        self._rooms = world.rooms
        self._hearing = asyncio.Lock()
        """What one call has found out of a script the next need not find out again."""

    @property
    def is_real(self) -> bool:
        """No phone can ring."""
        return False

    def room_name(self, *, call_id: str, epoch: int) -> RoomName:
        """`oc-<8 hex digits of the deployment>-<call>-<epoch>`."""
        return RoomName(f"{self._prefix}{call_id}-{epoch}")

    def room(self, name: RoomName) -> SimulatedRoom:
        """A room that exists: for tests, which have its agent do things. Raises KeyError."""
        return self._rooms[name]

    async def open_room(self, plan: RoomPlan) -> Room:
        """Make the room and ask its agent to come.

        Raises CarrierUnavailable where `faults` say so; RoomRefused for a room that is there already or is not named by this
        deployment, and for an agent without a name or one that is asked to behave in a way that nobody knows.
        """
        await self.faults.befall("open_room", clock=self._clock)
        if not plan.name.startswith(self._prefix):
            raise RoomRefused(f"room {plan.name} is not named by this deployment")
        if not plan.agent_name:
            raise RoomRefused("a room needs the name of an agent")
        if plan.name in self._rooms:
            raise RoomRefused(f"room {plan.name} exists already")
        room = SimulatedRoom(
            plan=plan,
            deployment_id=self._deployment_id,
            behaviour=behaviour_of(plan.agent_metadata),
            clock=self._clock,
            faults=self.faults,
            forget=self._forget,
        )
        self._rooms[plan.name] = room
        if plan.agent_name not in self._missing_agents:
            room.expect_agent(after_s=self._agent_delay_s)
        return room

    async def dial(self, room: Room, plan: DialPlan) -> Leg:
        """Begin the callee's script. Raises BadPlan: for a plan that cannot be dialled and for a second dial into a room."""
        if not isinstance(room, SimulatedRoom):
            raise BadPlan(f"room {room.name} is not of this carrier")
        check_plan(plan)
        script = script_for(plan.to) or self._mix.script_for(plan.to)
        asked_at_s = self._clock.now_s()
        if plan.not_after_s is not None and asked_at_s > plan.not_after_s:
            return room.refuse_dial(plan, at_s=asked_at_s)
        async with self._hearing:
            await room.prepare(script)  # which no phone would have to wait for
        exists = self._rooms.get(room.name) is room
        at_s = self._clock.now_s()
        taken = exists and room.leg is None
        self._enter(DialRecord(at_s=at_s, plan=plan, room=room.name, taken=taken))
        if not exists:
            return room.refuse_dial(plan, at_s=at_s)
        if not taken:
            raise BadPlan(f"room {room.name} has a leg already; each dial has a room of its own")
        return room.dial(plan, script, at_s=at_s)

    async def adopt(self, record: LegRecord) -> tuple[Room, Leg] | None:
        """Take over a leg that another carrier of this world dialled. Raises CarrierUnavailable where `faults` say so."""
        await self.faults.befall("list_rooms", clock=self._clock)
        room = self._rooms.get(record.room)
        if room is None or room.leg is None or room.leg.ended:
            return None
        room.take_over(room.leg, record)
        return room, room.leg

    async def has_fence(self) -> bool:
        """A dial into a room that does not exist dials nobody."""
        return True

    async def close_room(self, name: RoomName) -> None:
        """Delete the room with all that is in it. No error if it does not exist. Raises CarrierUnavailable as `faults` say."""
        await self.faults.befall("close_room", clock=self._clock)
        room = self._rooms.pop(name, None)
        if room is not None:
            room.close()

    async def list_rooms(self) -> Sequence[LiveRoom]:
        """All rooms of this deployment. Raises CarrierUnavailable where `faults` say so."""
        await self.faults.befall("list_rooms", clock=self._clock)
        now_s = self._clock.now_s()
        return [room.described(now_s) for room in self._rooms.values() if room.deployment_id == self._deployment_id]

    async def room_names(self) -> Sequence[RoomName]:
        """Their names alone. Raises CarrierUnavailable where `faults` say so."""
        await self.faults.befall("list_rooms", clock=self._clock)
        return [room.name for room in self._rooms.values() if room.deployment_id == self._deployment_id]

    async def check(self, *, trunk_ids: Sequence[str]) -> Sequence[Finding]:
        """Nothing can be wrong: there is neither server nor trunk."""
        trunks = f"; {len(trunk_ids)} trunks are not asked for" if trunk_ids else ""
        return [Finding("carrier", ok=True, text=f"simulated: no phone will ring{trunks}")]

    async def run(self) -> None:
        """Nothing to watch: rooms live by their own timers."""
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        """Nothing to release."""

    def _enter(self, record: DialRecord) -> None:
        self.ledger.append(record)
        if len(self.ledger) >= 2 * LEDGER_KEEPS:
            del self.ledger[:LEDGER_KEEPS]

    def _forget(self, room: SimulatedRoom) -> None:
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]
