from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from sip.clock import Clock
from sip.events import AgentJoined, Ended, RoomEvent
from sip.leg import E164, DialPlan, Leg, RoomPlan, TrunkRoute
from sip.livekit.carrier import LiveKitCarrier
from sip.livekit.room import LiveKitRoom
from sip.livekit.timings import LiveKitTimings
from tests.unit.sip.livekit.fake_livekit import KEY, SECRET, FakeDial, FakeLiveKit

DEPLOYMENT = UUID("0123456789abcdef0123456789abcdef")

QUICK = LiveKitTimings(
    request_timeout_s=1.0,
    look_timeout_s=0.5,
    ring_poll_s=0.05,
    sweep_s=0.1,
    looks_per_s=500.0,
    active_look_s=0.15,
    leg_reason_grace_s=0.2,
    ring_notice_s=0.2,
    order_grace_s=0.3,
    reconcile_margin_s=0.5,
)


class Tally:
    """An Observer that counts."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.webhooks: Counter[str] = Counter()
        self.looks = 0

    def carrier_error(self, kind: str) -> None:
        self.errors[kind] += 1

    def looked(self, count: int) -> None:
        self.looks += count

    def webhook(self, outcome: str) -> None:
        self.webhooks[outcome] += 1


@dataclass
class Line:
    """A carrier on a fake LiveKit, and short words for what tests do with it."""

    livekit: FakeLiveKit
    carrier: LiveKitCarrier
    tally: Tally
    _numbers = itertools.count(1)

    def room_plan(self, call_id: str = "7") -> RoomPlan:
        name = self.carrier.room_name(call_id=call_id, epoch=1)
        return RoomPlan(name=name, call_id=call_id, agent_name="sales", agent_metadata='{"call_id": "7"}', max_duration_s=600)

    def dial_plan(self, **changes: object) -> DialPlan:
        plan = DialPlan(
            call_id="7",
            dial_id=str(next(self._numbers)),
            to=E164("+12025550100"),
            trunk=TrunkRoute(name="main", sip_trunk_id="ST_main"),
            ring_timeout_s=20.0,
        )
        return replace(plan, **changes)  # type: ignore[arg-type]  # tests give fields by name

    async def open(self, call_id: str = "7") -> LiveKitRoom:
        room = await self.carrier.open_room(self.room_plan(call_id))
        assert isinstance(room, LiveKitRoom)
        return room

    async def dialled(self, **changes: object) -> tuple[LiveKitRoom, Leg, FakeDial]:
        """A room with a leg whose request has been received."""
        before = len(self.livekit.dials)
        room = await self.open(str(100 + before))
        leg = await self.carrier.dial(room, self.dial_plan(**changes))
        return room, leg, await self.livekit.dial(before)

    async def answered(self) -> tuple[LiveKitRoom, Leg, FakeDial]:
        """A room with a leg that talks, its Answered event taken."""
        room, leg, dial = await self.dialled()
        self.livekit.puts_leg(dial, "active")
        dial.answer()
        await next_event(room)
        return room, leg, dial

    def receives(self, webhook: tuple[bytes, str]) -> None:
        self.carrier.webhooks.receive(*webhook)


async def next_event(room: LiveKitRoom, *, within_s: float = 60.0) -> RoomEvent:
    async with asyncio.timeout(within_s):
        return await room.next_event()


async def ended(room: LiveKitRoom) -> tuple[Ended, list[RoomEvent]]:
    """The end of the leg, and the events before it that are not about agents."""
    before: list[RoomEvent] = []
    while True:
        event = await next_event(room)
        if isinstance(event, Ended):
            return event, before
        if not isinstance(event, AgentJoined):
            before.append(event)


@pytest.fixture
async def livekit() -> AsyncIterator[FakeLiveKit]:
    fake = FakeLiveKit()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def make_line(livekit: FakeLiveKit) -> AsyncIterator[Callable[..., Awaitable[Line]]]:
    made: list[tuple[Line, asyncio.Task[None]]] = []

    async def make(*, url: str = "", secret: str = SECRET, **timings: float) -> Line:
        tally = Tally()
        carrier = LiveKitCarrier(
            url=url or livekit.url,
            api_key=KEY,
            api_secret=secret,
            deployment_id=DEPLOYMENT,
            clock=Clock(),
            timings=replace(QUICK, **timings),  # type: ignore[arg-type]  # tests give fields by name
            observer=tally,
        )
        line = Line(livekit=livekit, carrier=carrier, tally=tally)
        made.append((line, asyncio.create_task(carrier.run())))
        return line

    yield make
    for line, watching in made:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await line.carrier.aclose()


@pytest.fixture
async def line(make_line: Callable[..., Awaitable[Line]]) -> Line:
    return await make_line()
