"""Everything that reaches one conductor, in one queue: events of its room and orders from outside."""

from __future__ import annotations

import asyncio
import enum

from orchestrator.calls.orders import Order
from sip.clock import Clock
from sip.leg import AgentJoined, AgentLeft, Room, RoomEvent


class Release(enum.Enum):
    """Give the call back to the queue, if it has not been dialled; otherwise go on."""

    RELEASE = "release"


class Inbox:
    """One reader: the conductor."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._queue: asyncio.Queue[RoomEvent | Order | Release | Exception] = asyncio.Queue()

    def put(self, order: Order | Release) -> None:
        """An order from outside. Repeating it is harmless."""
        self._queue.put_nowait(order)

    async def read(self, room: Room) -> None:
        """Pass on the room's events until cancelled; a defect of the carrier reaches the conductor as its own."""
        try:
            while True:
                self._queue.put_nowait(await room.next_event())
        except Exception as error:  # noqa: BLE001  raised again by `next`, in the conductor's own task
            self._queue.put_nowait(error)

    async def next(self, deadline_s: float | None) -> RoomEvent | Order | Release | None:
        """The next event or order; None when the clock reaches the deadline first. What has happened comes before that."""
        if self._queue.empty():
            try:
                async with self._clock.timeout(None if deadline_s is None else deadline_s - self._clock.now_s()):
                    item = await self._queue.get()
            except TimeoutError:
                return None
        else:
            item = self._queue.get_nowait()
        if isinstance(item, Exception):
            raise item
        return item


class Agents:
    """Which agents are in the room, and since when there is none."""

    def __init__(self) -> None:
        self._present: set[str] = set()
        self.gone_at_s: float | None = None
        """When the last one left (carrier clock); None while one is there or none has come yet."""

    @property
    def present(self) -> bool:
        """Whether an agent is in the room."""
        return bool(self._present)

    def note(self, event: AgentJoined | AgentLeft) -> None:
        """Take an event into account."""
        if isinstance(event, AgentJoined):
            self._present.add(event.identity)
            self.gone_at_s = None
            return
        self._present.discard(event.identity)
        if not self._present:
            self.gone_at_s = event.at.at_s
