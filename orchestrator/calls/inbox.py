"""Everything that reaches one conductor, in one queue: events of its room and orders from outside."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections import deque
from collections.abc import Iterable

from orchestrator.calls.orders import Order
from sip.clock import Clock
from sip.events import AgentJoined, AgentLeft, Heard, MessagePlayed, RoomEvent
from sip.leg import Room


class Release(enum.Enum):
    """Give the call back to the queue, if it has not been dialled; otherwise go on."""

    RELEASE = "release"


class Inbox:
    """One reader: the conductor."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._items: deque[RoomEvent | Order | Release | Exception] = deque()
        self._came = asyncio.Event()

    def put(self, item: Order | Release | Heard | MessagePlayed) -> None:
        """An order from outside, which may be repeated; or what became of an errand: an opinion, a message nobody can play."""
        self._add(item)

    def again(self, events: Iterable[RoomEvent]) -> None:
        """These are taken once more, before all that waits: whoever took them had no use for them, and the next one has."""
        self._items.extendleft(reversed(list(events)))
        self._came.set()

    def fail(self, error: Exception) -> None:
        """Have `next` raise this, in the conductor's own task, after what has happened so far."""
        self._add(error)

    async def read(self, room: Room) -> None:
        """Pass on the room's events until cancelled; a defect of the carrier reaches the conductor as its own."""
        try:
            while True:
                self._add(await room.next_event())
        except Exception as error:  # noqa: BLE001  raised again by `next`, in the conductor's own task
            self._add(error)

    async def next(self, deadline_s: float | None) -> RoomEvent | Order | Release | None:
        """The next event or order; None when the clock reaches the deadline first.

        What has happened comes before that: also what the room has told and the reader has not passed on yet.
        """
        if not self._items:
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(None if deadline_s is None else deadline_s - self._clock.now_s()):
                    await self._came.wait()
            if not self._items:
                await asyncio.sleep(0)  # the reader's turn
            if not self._items:
                return None
        item = self._items.popleft()
        if isinstance(item, Exception):
            raise item
        return item

    def _add(self, item: RoomEvent | Order | Release | Exception) -> None:
        self._items.append(item)
        self._came.set()


class Agents:
    """Which agents are in the room, and since when there is none."""

    def __init__(self) -> None:
        self._present: set[str] = set()
        self.gone_at_s: float | None = None
        """When the last one left, at the latest (carrier clock); None while one is there or none has come yet."""

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
            self.gone_at_s = event.at.at_s + event.at.error_s
