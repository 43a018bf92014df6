"""Calls as tests make them: open a room, await its agent, dial, read what is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

from sip.events import AgentJoined, AgentLeft, Ended, RoomEvent
from sip.leg import DialPlan, Leg, LiveRoom, Room, RoomPlan
from sip.simulated.steps import Script
from tests.conformance.rig import PATIENCE_REAL_S, FarEnd, Rig, dial_plan, room_plan

E = TypeVar("E")
_LOOK_REAL_S = 0.02


class TestCall:
    """One room of a rig, and what was told of it so far."""

    __test__ = False

    def __init__(self, *, rig: Rig, plan: RoomPlan, room: Room) -> None:
        self.rig = rig
        self.plan = plan
        self.room = room
        self.events: list[RoomEvent] = []
        self.dial_plan: DialPlan | None = None
        self.leg: Leg | None = None
        self.dialled_at_s = 0.0

    @classmethod
    async def open(cls, rig: Rig, **changes: Any) -> TestCall:
        """A room whose agent has not come yet."""
        plan = room_plan(rig, **changes)
        return cls(rig=rig, plan=plan, room=await rig.carrier.open_room(plan))

    @classmethod
    async def with_agent(cls, rig: Rig, **changes: Any) -> TestCall:
        """A room whose agent is there."""
        call = await cls.open(rig, **changes)
        await call.until(AgentJoined)
        return call

    @classmethod
    async def dialled(cls, rig: Rig, script: Script, *, line: int = 0, **changes: Any) -> TestCall:
        """A room whose agent is there and whose callee is being dialled."""
        call = await cls.with_agent(rig)
        await call.dial(script, line=line, **changes)
        return call

    async def dial(self, script: Script, *, line: int = 0, **changes: Any) -> None:
        """Dial; the plan is kept even if it is refused."""
        self.dial_plan = dial_plan(self.rig, script, call_id=self.plan.call_id, line=line, **changes)
        self.dialled_at_s = self.rig.clock.now_s()
        self.leg = await self.rig.carrier.dial(self.room, self.dial_plan)

    async def hang_up(self) -> None:
        assert self.leg is not None
        await self.leg.hang_up()

    async def close(self) -> None:
        await self.rig.carrier.close_room(self.room.name)

    async def until(self, kind: type[E], *, patience_real_s: float = PATIENCE_REAL_S) -> E:
        """The next event of this kind, which must be a new one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_real_s):
                while True:
                    event = await self.room.next_event()
                    self.events.append(event)
                    if isinstance(event, kind):
                        return event
        raise AssertionError(f"no {kind.__name__} within {patience_real_s} s of {self.dial_plan}: {self.events}")

    async def rest(self) -> Sequence[RoomEvent]:
        """What else is told until it is quiet."""
        more: list[RoomEvent] = []
        with contextlib.suppress(TimeoutError):
            while True:
                async with self.rig.clock.timeout(self.rig.quiet_s):
                    more.append(await self.room.next_event())
        self.events += more
        return more

    async def far_end(self) -> FarEnd:
        assert self.dial_plan is not None
        return await self.rig.far_end(self.dial_plan.dial_id)

    async def far_end_over(self) -> FarEnd:
        """What the far end knows, once nobody rings or talks there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_REAL_S):
                while not (known := await self.far_end()).over:
                    await asyncio.sleep(_LOOK_REAL_S)
                return known
        raise AssertionError(f"the far end still rings or talks: {self.dial_plan}")

    async def until_invited(self) -> None:
        """Until a phone may ring."""
        async with asyncio.timeout(PATIENCE_REAL_S):
            while not (await self.far_end()).invites:
                await asyncio.sleep(_LOOK_REAL_S)

    async def listed(self) -> LiveRoom | None:
        """The room as the carrier lists it."""
        return next((room for room in await self.rig.carrier.list_rooms() if room.name == self.room.name), None)

    async def until_listed(self, *, has_leg: bool, has_agent: bool, leg_state: str) -> None:
        """Until the list shows it so; it may trail what was told by a moment."""
        seen = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_REAL_S / 3):
                while True:
                    seen = await self.listed()
                    if seen and (seen.has_leg, seen.has_agent, seen.leg_state) == (has_leg, has_agent, leg_state):
                        return
                    await asyncio.sleep(_LOOK_REAL_S)
        raise AssertionError(f"not listed as {has_leg=} {has_agent=} {leg_state=}: {seen}")

    @property
    def of_the_leg(self) -> list[RoomEvent]:
        """What was told of the leg, without the agents."""
        return [event for event in self.events if not isinstance(event, AgentJoined | AgentLeft)]

    @property
    def ended(self) -> Ended:
        """The one end that was told."""
        (ended,) = [event for event in self.events if isinstance(event, Ended)]
        return ended
