from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar
from uuid import UUID

import pytest

from sip.clock import Clock
from sip.events import AgentJoined, Ended, RoomEvent
from sip.leg import DialPlan, Leg, Room, RoomPlan, TrunkRoute
from sip.simulated.carrier import SimulatedCarrier

E = TypeVar("E")
SCALE = 50.0
PATIENCE_REAL_S = 90.0


class Desk:
    """Opens rooms and dials, and reads what is told."""

    def __init__(self, *, clock: Clock) -> None:
        self.clock = clock
        self.carrier = SimulatedCarrier(
            clock=clock, deployment_id=UUID(int=7 << 96), seed=1, missing_agents=frozenset({"nobody"})
        )
        self.calls = 0

    def room_plan(self, *, metadata: dict[str, Any] | None = None, **changes: Any) -> RoomPlan:
        self.calls += 1
        call_id = str(self.calls)
        told = {"call_id": call_id, "metadata": metadata or {}}
        plan: dict[str, Any] = {
            "name": self.carrier.room_name(call_id=call_id, epoch=1),
            "call_id": call_id,
            "agent_name": "greeter",
            "agent_metadata": json.dumps(told),
            "max_duration_s": 600.0,
        }
        return RoomPlan(**(plan | changes))

    def dial_plan(self, to: str, **changes: Any) -> DialPlan:
        plan: dict[str, Any] = {
            "call_id": str(self.calls),
            "dial_id": f"d{self.calls}",
            "to": to,
            "trunk": TrunkRoute(name="main", sip_trunk_id="ST_simulated"),
        }
        return DialPlan(**(plan | changes))

    async def room(self, *, behaviour: str | None = None) -> Room:
        """A room whose agent is there."""
        metadata = {} if behaviour is None else {"simulated_agent": behaviour}
        room = await self.carrier.open_room(self.room_plan(metadata=metadata))
        await until(room, AgentJoined)
        return room

    async def dialled(self, to: str, *, behaviour: str | None = None, **changes: Any) -> tuple[Room, Leg]:
        room = await self.room(behaviour=behaviour)
        return room, await self.carrier.dial(room, self.dial_plan(to, **changes))


async def until(room: Room, kind: type[E]) -> E:
    """The next event of this kind; what comes before it is not looked at."""
    return (await all_until(room, kind))[-1]  # type: ignore[return-value]


async def all_until(room: Room, kind: type[Any]) -> list[RoomEvent]:
    events: list[RoomEvent] = []
    async with asyncio.timeout(PATIENCE_REAL_S):
        while not events or not isinstance(events[-1], kind):
            events.append(await room.next_event())
    return events


async def to_the_end(room: Room) -> list[RoomEvent]:
    return await all_until(room, Ended)


@pytest.fixture
def clock() -> Clock:
    return Clock(scale=SCALE)


@pytest.fixture
def desk(clock: Clock) -> Desk:
    return Desk(clock=clock)
