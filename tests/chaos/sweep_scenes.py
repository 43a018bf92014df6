"""What goes wrong where the sweep lacks one of its two protections (orchestrator.calls.sweeper): the scene takes it out itself.

No way is known in which a room is seen before its claim can be: the claim is committed first. Seeing it twice is for what
nobody has thought of, so that the harness cannot provoke it; here a claim comes while the sweep is under way.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from orchestrator.calls.sweeper import Sweeper
from orchestrator.metrics import Metrics
from orchestrator.store.records import ClaimedCall, DialGranted
from orchestrator.store.upkeep import UpkeepStore
from sip.leg import RoomName
from tests.chaos.limits import Limits
from tests.chaos.rehearsal import Rehearsal, room_named
from tests.chaos.scenarios import Scenario
from tests.chaos.verdict import Sweep

ROOMS_SWEPT = 2


class _Leader:
    leads = True


class _PaperRooms:
    """Rooms that only the sweeper knows."""

    def __init__(self, stage: Rehearsal, names: list[RoomName]) -> None:
        self._stage = stage
        self._names = names
        self._closing: list[str] = []
        self.before_closing: Callable[[], Awaitable[None]] | None = None

    async def room_names(self) -> list[RoomName]:
        return list(self._names)

    async def close_room(self, name: RoomName) -> None:
        if self.before_closing is not None:
            await self.before_closing()
        self._closing.append(name)
        self._names.remove(name)
        self._stage.swept[-1] = Sweep(at_s=time.time(), rooms=tuple(self._closing))

    def begin(self) -> None:
        self._closing = []
        self._stage.swept.append(Sweep(at_s=time.time(), rooms=()))


def _sweeper(stage: Rehearsal, rooms: _PaperRooms, *, most_rooms: int) -> Sweeper:
    return Sweeper(
        store=UpkeepStore(database=stage.database),
        carrier=rooms,  # type: ignore[arg-type]  # all of a carrier that a sweep needs
        leadership=_Leader(),
        most_rooms=most_rooms,
        interval_s=1.0,
        metrics=Metrics(),
    )


async def _claimed_while_it_sweeps(stage: Rehearsal, missing: bool) -> None:
    hand = stage.hands[0]
    (call_id,) = await stage.enqueue()
    name = room_named(call_id, epoch=1)
    rooms = _PaperRooms(stage, [name])
    sweeper = _sweeper(stage, rooms, most_rooms=ROOMS_SWEPT)
    if missing:
        sweeper._lost = frozenset({name})  # as if it had been seen before
    claimed: list[ClaimedCall] = []

    async def claim_and_dial() -> None:
        (call,) = await hand.claim()
        granted = await hand.begin(call)
        assert isinstance(granted, DialGranted)
        stage.ring(call, granted)
        claimed.append(call)

    rooms.before_closing = claim_and_dial
    rooms.begin()
    await sweeper._sweep()
    if not claimed:
        await claim_and_dial()
    rooms.before_closing = None
    rooms.begin()
    await sweeper._sweep()
    await hand.end(claimed[0])


async def _rooms_of_nobody(stage: Rehearsal, missing: bool) -> None:
    (call_id,) = await stage.enqueue()
    names = [room_named(call_id, epoch=epoch) for epoch in range(2, 3 + ROOMS_SWEPT)]
    rooms = _PaperRooms(stage, names)
    sweeper = _sweeper(stage, rooms, most_rooms=10 * ROOMS_SWEPT if missing else ROOMS_SWEPT)
    for _ in range(3):
        rooms.begin()
        await sweeper._sweep()
    (call,) = await stage.hands[0].claim()
    await stage.hands[0].conduct(call)


SWEEP_SCENES = {
    "two sweeps before a room ends": Scenario("room of a live call swept", _claimed_while_it_sweeps),
    "brake of the sweep": Scenario(
        "more rooms swept at once than allowed",
        _rooms_of_nobody,
        limits=Limits(accounts={"north": 50}, channels=50, cps=50, rooms_swept=ROOMS_SWEPT),
    ),
}
"""Protections of the program, which each scene takes out by itself."""
