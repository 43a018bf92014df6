"""The watch: one component that looks at all rooms, as often as it matters and never more than allowed.

Which signal decides what, and what happens when one is missing:

    what                     decided by                                   if that is missing
    an agent is there        a look: kind AGENT, connected                never assumed; the conductor's limit ends the wait
    an agent left            a look that misses it                        seen at the next look; never assumed
      on purpose             the end signal in a look, or in the latest   without a webhook only if a look caught it: at the
                             attributes of the webhook participant_left   `active_look_s` after it was set, if looks suffice
    an opt-out               `orchestrator.do_not_call` in a look, or in  as for the end signal; told once for each agent, and
                             the attributes of participant_left           ends nothing here
    ringing                  a look: callStatus `ringing`; the moment     if the request fails first: callStatus in the
                             is between the last look without and         webhook's attributes, waited for `ring_notice_s` if it
                             the first with it                            changes the cause and webhooks work; else it counts as
                                                                          not rung
    answered                 the first of the request's return and a      the other one; told once
                             look (`active`, or `automation`)
    over before the answer   the request's error (failures.py)            result unknown: looks until it is active, or was seen
                                                                          and is gone, or its ring time is over; then the room
                                                                          is deleted. Never dialled again
    an answered leg is over  a look at that very room that succeeded      two such looks `leg_reason_grace_s` apart must agree.
                             and misses it, or shows `hangup`             LiveKit unreachable: looks fail, nothing ends. A lost
                                                                          server: its rooms are empty, its legs are LEG_LOST
      why                    the webhook participant_left:                LEG_LOST, with evidence that no webhook told; `hangup`
                             CLIENT_INITIATED is a hang-up,               in a look is as good as CLIENT_INITIATED
                             ROOM_DELETED somebody's order
    what we ended ourselves  the deletion of the room that succeeded      -; its request is waited for `order_grace_s` at most

What is looked at, and how often: rooms that wait for an agent or do not ring yet come first, then rooms that ring, then active
ones; all of it within `looks_per_s` and `looks_at_once`. One listing of our rooms each `sweep_s`, whatever their number, finds
rooms that are gone or whose number of participants changed (LiveKit brings that up to date every 5 s only), and looks at those.

Knows rooms and their wishes; what the answers mean is the rooms' and legs' matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Iterable

import structlog

from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.leg import RoomName
from sip.livekit.api import LiveKitRefusal, LiveKitServer
from sip.livekit.room import LiveKitRoom
from sip.livekit.rooms import LeaveNotice, Span, read_view
from sip.livekit.timings import LiveKitTimings, Observer

log = structlog.get_logger(__name__)

HINT_AGAIN_S = (0.05, 0.2, 0.6)
"""After a hint: LiveKit may send a webhook before its list of participants has changed."""
NO_ROOM = -1
"""In place of a number of participants: the listing does not have the room."""
LONGEST_PAUSE_S = 5.0
"""Between looks while LiveKit cannot be reached."""


class _Watched:
    """A room under watch."""

    __slots__ = ("hints", "last_s", "looking", "participants", "removing", "room", "turn")

    def __init__(self, room: LiveKitRoom) -> None:
        self.room = room
        self.last_s = room.opened_at_s
        """When the last look at it began."""
        self.looking = False
        self.removing = False
        self.hints: list[float] = []
        """Moments of looks that webhooks or listings ask for."""
        self.turn = 0
        """Of its entry in a queue; older entries are void."""
        self.participants: int | None = None
        """By the last listing."""


class Watch:
    """Looks at rooms and tells them what it saw. A component: `run` must run for anything to be seen."""

    def __init__(self, *, server: LiveKitServer, clock: Clock, timings: LiveKitTimings, observer: Observer) -> None:
        self._server = server
        self._clock = clock
        self._timings = timings
        self._observer = observer
        self._rooms: dict[str, _Watched] = {}
        self._queues: tuple[list[tuple[float, int, str]], list[tuple[float, int, str]]] = ([], [])  # urgent, the others
        self._deadlines: list[tuple[float, int, str]] = []
        self._must_go: set[str] = set()
        self._turns = itertools.count(1)
        self._wake = asyncio.Event()
        self._looking = 0
        self._allowance = 1.0
        self._allowance_s = clock.now_s()
        self._failures = 0
        self._paused_until_s = 0.0

    def __len__(self) -> int:
        return len(self._rooms)

    def add(self, room: LiveKitRoom) -> None:
        """Watch over a room from now on."""
        self._rooms[room.name] = _Watched(room)
        self.reschedule(room)

    def remove(self, name: RoomName) -> None:
        """Watch over it no more."""
        self._rooms.pop(name, None)

    def find(self, name: str) -> LiveKitRoom | None:
        """The room of that name, if it is under watch."""
        watched = self._rooms.get(name)
        return watched.room if watched else None

    def rooms(self) -> Iterable[LiveKitRoom]:
        """All rooms under watch."""
        return [watched.room for watched in self._rooms.values()]

    def hint(self, name: str) -> None:
        """A webhook came about the room: look at it as soon as may be, and again shortly after."""
        self._look_soon(name, HINT_AGAIN_S)

    def _look_soon(self, name: str, again_s: tuple[float, ...] = ()) -> None:
        watched = self._rooms.get(name)
        if watched is not None:
            now_s = self._clock.now_s()
            watched.hints = [now_s, *(now_s + after_s for after_s in again_s)]
            self.reschedule(watched.room)

    def notice(self, name: str, notice: LeaveNotice) -> None:
        """A webhook says why somebody left a room."""
        watched = self._rooms.get(name)
        if watched is not None:
            watched.room.notice(notice)
            self.reschedule(watched.room)

    def reschedule(self, room: LiveKitRoom) -> None:
        """Compute again when to look at a room and when its next deadline is."""
        watched = self._rooms.get(room.name)
        if watched is None or watched.room is not room:
            return
        if room.closed:
            self.remove(room.name)
            return
        if room.leg is not None and room.leg.room_must_go:
            self._must_go.add(room.name)
        watched.turn = next(self._turns)
        if not watched.looking:
            wish = room.next_look(last_s=watched.last_s)
            due_s, urgent = wish.due_s, wish.urgent
            if watched.hints and watched.hints[0] < due_s:
                due_s, urgent = watched.hints[0], True
            heapq.heappush(self._queues[0 if urgent else 1], (due_s, watched.turn, room.name))
        deadline_s = room.deadline_s
        if deadline_s is not None:
            heapq.heappush(self._deadlines, (deadline_s, watched.turn, room.name))
        self._wake.set()

    async def run(self) -> None:
        """Look and listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._list_rooms(), name="livekit-list-rooms")
            while True:
                self._wake.clear()
                now_s = self._clock.now_s()
                self._expire(now_s)
                self._remove_rooms(tasks)
                wait_s = self._start_looks(now_s, tasks)
                deadline_s = self._head(self._deadlines)
                if deadline_s is not None:
                    wait_s = min(wait_s, deadline_s - now_s)
                with contextlib.suppress(TimeoutError):
                    async with self._clock.timeout(max(0.0, wait_s)):
                        await self._wake.wait()

    # Looks

    def _head(self, queue: list[tuple[float, int, str]]) -> float | None:
        while queue:
            due_s, turn, name = queue[0]
            watched = self._rooms.get(name)
            if watched is not None and watched.turn == turn:
                return due_s
            heapq.heappop(queue)
        return None

    def _start_looks(self, now_s: float, tasks: asyncio.TaskGroup) -> float:
        """Start all looks that are due and allowed; return for how long there is nothing to do."""
        if now_s < self._paused_until_s:
            return self._paused_until_s - now_s
        rate = self._timings.looks_per_s
        self._allowance = min(max(1.0, rate / 5), self._allowance + (now_s - self._allowance_s) * rate)
        self._allowance_s = now_s
        while True:
            heads = [self._head(queue) for queue in self._queues]
            queue = next(
                (queue for queue, due_s in zip(self._queues, heads, strict=True) if due_s is not None and due_s <= now_s), None
            )
            if queue is None:
                return min([due_s - now_s for due_s in heads if due_s is not None], default=60.0)
            if self._looking >= self._timings.looks_at_once:
                return 60.0  # the end of a look wakes us
            if self._allowance < 1.0:
                return (1.0 - self._allowance) / rate
            self._allowance -= 1.0
            watched = self._rooms[heapq.heappop(queue)[2]]
            watched.looking, watched.last_s = True, now_s
            watched.hints = [at_s for at_s in watched.hints if at_s > now_s]
            self._looking += 1
            self.reschedule(watched.room)
            tasks.create_task(self._look(watched), name=f"livekit-look {watched.room.name}")

    async def _look(self, watched: _Watched) -> None:
        room = watched.room
        try:
            sent_s = self._clock.now_s()
            participants = await self._server.list_participants(room.name)
            self._succeeded()
            room.see(read_view(participants, Span(sent_s, self._clock.now_s())))
            if watched.participants == NO_ROOM and not participants:
                room.vanished()
        except (CarrierUnavailable, LiveKitRefusal) as error:
            self._failed(error)
        except Exception:  # a defect in what one room makes of a look must not blind us to all others
            self._observer.carrier_error("defect")
            log.exception("livekit_look_failed", room=room.name)
        finally:
            self._observer.looked(1)
            self._looking -= 1
            watched.looking = False
            self.reschedule(room)
            self._wake.set()

    def _succeeded(self) -> None:
        if self._failures:
            log.info("livekit_reachable_again", failed_looks=self._failures)
        self._failures = 0

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        pause_s = min(LONGEST_PAUSE_S, 0.1 * 2 ** min(self._failures, 10))
        self._paused_until_s = self._clock.now_s() + pause_s
        if self._failures in (1, 10) or self._failures % 100 == 0:
            log.warning("livekit_look_impossible", failed_looks=self._failures, pause_s=pause_s, error=str(error))

    # Deadlines

    def _expire(self, now_s: float) -> None:
        while (deadline_s := self._head(self._deadlines)) is not None and deadline_s <= now_s:
            watched = self._rooms[heapq.heappop(self._deadlines)[2]]
            room = watched.room
            try:
                room.expire(now_s)
            except Exception:
                self._observer.carrier_error("defect")
                log.exception("livekit_deadline_failed", room=room.name)
            self.reschedule(room)

    def _remove_rooms(self, tasks: asyncio.TaskGroup) -> None:
        for name in self._must_go:
            watched = self._rooms.get(name)
            if watched is not None and not watched.removing:
                watched.removing = True
                tasks.create_task(self._remove_room(watched), name=f"livekit-remove {name}")
        self._must_go.clear()

    async def _remove_room(self, watched: _Watched) -> None:
        """Delete a room that must go; again and again until LiveKit takes it."""
        room = watched.room
        pause_s = 0.5
        try:
            while room.leg is not None and room.leg.room_must_go:
                try:
                    await self._server.delete_room(room.name)
                except (CarrierUnavailable, LiveKitRefusal) as error:
                    log.warning("livekit_room_not_deleted", room=room.name, error=str(error), again_in_s=pause_s)
                    await self._clock.sleep(pause_s)
                    pause_s = min(30.0, pause_s * 2)
                else:
                    room.leg.room_deleted()
        finally:
            watched.removing = False
        room.moved()

    # Listings

    async def _list_rooms(self) -> None:
        """Each `sweep_s`, find rooms that are gone or changed, by one request."""
        while True:
            await self._clock.sleep(self._timings.sweep_s)
            began_s = self._clock.now_s()
            try:
                await self._list_once()
            except (CarrierUnavailable, LiveKitRefusal) as error:
                log.debug("livekit_listing_failed", error=str(error))
            except Exception:
                self._observer.carrier_error("defect")
                log.exception("livekit_listing_failed")
            # A listing that takes long is made less often.
            await self._clock.sleep(min(10.0, 4 * (self._clock.now_s() - began_s)))

    async def _list_once(self) -> None:
        asked = dict(self._rooms)
        if not asked:
            return
        listed = {room.name: room.num_participants for room in await self._server.list_rooms(list(asked))}
        for name, watched in asked.items():
            before, watched.participants = watched.participants, listed.get(name, NO_ROOM)
            changed = watched.participants != before
            if changed and (before is not None or watched.participants == NO_ROOM) and self._rooms.get(name) is watched:
                self._look_soon(name)
