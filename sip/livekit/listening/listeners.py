"""The pool of listeners, in the daemon: places rooms on children and tells what they heard as the port's events.

A child that dies takes no call with it: its rooms are told ListeningLost and placed anew on another child, with detection only
if their callee had not answered yet, since a greeting half heard must not produce a verdict; after the answer only for beeps,
silence, idleness and lost media.

A component: `run` must run for anything to be heard. Imports neither numpy nor the client library: no audio gets in here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from sip.clock import boot_time_s
from sip.errors import CarrierUnavailable
from sip.events import Heard, ListeningLost, ListeningStarted, MessagePlayed, Moment, RoomEvent, WentQuiet
from sip.leg import ListeningPlan
from sip.livekit.listening.child import Child
from sip.livekit.listening.fleet import Fleet
from sip.livekit.listening.limits import ListenerLimits, ListenerObserver, UnobservedListeners
from sip.livekit.listening.tokens import Tokens
from sip.livekit.listening.wire import (
    AnswerSeen,
    Beat,
    DetectionLost,
    DetectionOver,
    Gone,
    Hush,
    Joined,
    Leave,
    Listen,
    Play,
    Played,
    Playing,
    Report,
    SomeoneQuiet,
    Started,
    Told,
)

Tell = Callable[[RoomEvent], None]

JOIN_PATIENCE_S = 1.0
"""Nobody is dialled much later because his listener is slow."""
WAIT_S = 60.0
"""A room waits so long for a child that is being started; its dial does not. If the callee answers before, that is said."""
PLAY_PATIENCE_S = 8.0

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Placement:
    """A room that is to be listened to."""

    room: str
    plan: ListeningPlan
    lasts_s: float
    tell: Tell
    child: Child | None = None
    """None: it waits for one."""
    wait_until_s: float = 0.0
    joined: asyncio.Event = field(default_factory=asyncio.Event)
    """Or given up."""
    answered: bool = False
    detecting: bool = True
    """Verdicts are to be expected, or have all been given."""
    is_over: bool = False
    """They have all been given."""
    is_lost: bool = False
    """That none is to be expected has been told."""

    @property
    def is_watched_for_quiet(self) -> bool:
        """There is something to listen for when all verdicts have been given."""
        plan = self.plan
        limits = (plan.silence_warning_s, plan.silence_s, plan.idle_s, plan.media_lost_s)
        return any(limit_s is not None for limit_s in limits)


@dataclass(slots=True, eq=False)
class _Message:
    """A message that is being played."""

    child: Child
    tell: Tell
    began: asyncio.Future[None]


class Listeners:
    """Everybody who listens for one daemon."""

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        api_secret: str,
        limits: ListenerLimits | None = None,
        observer: ListenerObserver | None = None,
    ) -> None:
        """`url`: the media server's, `http(s)://` or `ws(s)://`. Moments are those of a `sip.clock.Clock` of scale 1."""
        self._url = url.replace("http", "ws", 1) if url.startswith("http") else url
        self._tokens = Tokens(api_key=api_key, api_secret=api_secret)
        self._observer = observer or UnobservedListeners()
        self._fleet = Fleet(
            limits=limits or ListenerLimits(),
            observer=self._observer,
            take=self._take,
            bury=self._bury,
            look=self._look,
        )
        self._placements: dict[str, _Placement] = {}
        self._messages: dict[str, _Message] = {}

    async def run(self) -> None:
        """Listen until cancelled."""
        try:
            await self._fleet.run()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Let go of all children; nothing is told any more."""
        self._placements.clear()
        await self._fleet.aclose()

    @property
    def are_ready(self) -> bool:
        """A room that is to be listened to would be at once."""
        return self._fleet.with_room() is not None

    @property
    def pids(self) -> list[int]:
        """The process ids of the listeners, the oldest first."""
        return [child.pid for child in self._fleet.children]

    # Orders

    async def listen(self, room: str, plan: ListeningPlan, *, lasts_s: float, tell: Tell) -> None:
        """Have a room listened to; returns once a listener is in it, at the latest after `JOIN_PATIENCE_S`.

        `lasts_s`: for so long at most the room is. Never raises: whatever goes wrong is told as ListeningLost.
        """
        placement = self._placements[room] = _Placement(room=room, plan=plan, lasts_s=lasts_s, tell=tell)
        self._place(placement)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(JOIN_PATIENCE_S):
                await placement.joined.wait()

    def leave(self, room: str) -> None:
        """Listen to it no more, if anybody does; nothing more is told of it."""
        placement = self._placements.pop(room, None)
        if placement is not None and placement.child is not None:
            placement.child.order(Leave(room))

    async def play(self, room: str, path: str, *, tell: Tell) -> None:
        """Play a file into a room; returns once it can be heard; its end is told as MessagePlayed.

        Raises CarrierUnavailable, and then nothing is told.
        """
        if room in self._messages:
            raise CarrierUnavailable(f"a message is being played in {room} already")
        placement = self._placements.get(room)
        child = (placement.child if placement is not None else None) or self._fleet.with_room()
        if child is None:
            raise CarrierUnavailable("no listener process could play the message")
        message = self._messages[room] = _Message(child, tell, asyncio.get_running_loop().create_future())
        child.order(Play(room=room, url=self._url, token=self._tokens.for_player(room, lasts_s=0.0), path=path))
        try:
            async with asyncio.timeout(PLAY_PATIENCE_S):
                await message.began
        except TimeoutError:
            raise CarrierUnavailable(f"the message could not be played within {PLAY_PATIENCE_S:g} s") from None
        finally:
            if not message.began.done() or message.began.cancelled() or message.began.exception() is not None:
                self._messages.pop(room, None)

    def hush(self, room: str) -> None:
        """Stop what plays in a room; its end is told as MessagePlayed. Nothing if nothing plays."""
        message = self._messages.get(room)
        if message is not None:
            message.child.order(Hush(room))

    # Placing

    def _place(self, placement: _Placement) -> None:
        child = self._fleet.with_room()
        if child is not None:
            placement.child = child
            child.rooms.add(placement.room)
            child.rooms_ever += 1
            token = self._tokens.for_listener(placement.room, lasts_s=placement.lasts_s)
            detect = placement.detecting and not placement.is_over
            child.order(Listen(room=placement.room, url=self._url, token=token, plan=placement.plan, detect=detect))
        elif self._fleet.may_grow:
            placement.child, placement.wait_until_s = None, boot_time_s() + WAIT_S
        elif self._fleet.children:
            self._give_up(placement, "full", "all listener processes are full")
        else:
            self._give_up(placement, "none", "no listener process runs")
        self._fleet.wake()

    def _place_those_that_wait(self) -> None:
        now_s = boot_time_s()
        for placement in [one for one in self._placements.values() if one.child is None]:
            if self._fleet.with_room() is not None:
                self._place(placement)
            elif now_s > placement.wait_until_s:
                self._give_up(placement, "full", f"no listener process had room within {WAIT_S:g} s")

    def _give_up(self, placement: _Placement, kind: str, why: str) -> None:
        """Nobody listens to it any more."""
        self._placements.pop(placement.room, None)
        placement.joined.set()
        if not placement.is_lost:
            self._lose(placement, boot_time_s(), kind, why)

    def _lose(self, placement: _Placement, at_s: float, kind: str, why: str) -> None:
        placement.detecting, placement.is_lost = False, True
        self._observer.listening_lost(kind)
        log.warning("listening_lost", room=placement.room, why=why)
        placement.tell(ListeningLost(at=Moment(at_s), why=why))

    # What children do

    def _look(self) -> None:
        self._place_those_that_wait()
        self._observer.listeners_changed(children=len(self._fleet.children), rooms=len(self._placements))

    def _bury(self, child: Child, why: str) -> None:
        why = f"the listener process died: {why}"
        for room, message in list(self._messages.items()):
            if message.child is child:
                self._play_on(Played(room, boot_time_s(), complete=False, played_s=0.0, why=why))
        for placement in [one for one in self._placements.values() if one.child is child]:
            if placement.detecting and not placement.is_over:
                self._lose(placement, boot_time_s(), "died", why)
                placement.detecting, placement.is_lost = not placement.answered, placement.answered
            if placement.is_over and not placement.is_watched_for_quiet:
                self._placements.pop(placement.room, None)
            else:
                self._place(placement)

    def _take(self, child: Child, report: Report) -> None:
        match report:
            case Beat():
                if child.beats == 1:
                    self._place_those_that_wait()
            case Playing() | Played():
                self._play_on(report)
            case _:
                placement = self._placements.get(report.room)
                if isinstance(report, Gone):
                    child.rooms.discard(report.room)
                    self._fleet.wake()
                if placement is not None and placement.child is child:
                    self._hear(placement, report)

    def _hear(
        self,
        placement: _Placement,
        report: Joined | Started | AnswerSeen | Told | DetectionLost | DetectionOver | SomeoneQuiet | Gone,
    ) -> None:
        match report:
            case Joined():
                placement.joined.set()
            case AnswerSeen():
                placement.answered = True
            case Started(at_s=at_s):
                placement.tell(ListeningStarted(at=Moment(at_s)))
            case Told(at_s=at_s, what=what, answered_s=answered_s):
                if not placement.is_over:
                    placement.tell(Heard(at=Moment(at_s), what=what, answered_s=answered_s))
            case DetectionLost(at_s=at_s, why=why):
                if placement.detecting:
                    self._lose(placement, at_s, "heard_badly", why)
            case DetectionOver():
                placement.is_over = True
            case SomeoneQuiet(at_s=at_s, quiet=quiet, for_s=for_s):
                placement.tell(WentQuiet(at=Moment(at_s), quiet=quiet, for_s=for_s))
            case Gone(why=""):
                self._placements.pop(placement.room, None)
                placement.joined.set()
            case Gone(why=why):
                self._give_up(placement, "not_joined", why)

    def _play_on(self, report: Playing | Played) -> None:
        message = self._messages.get(report.room)
        if message is None:
            return
        if isinstance(report, Playing):
            if not message.began.done():
                message.began.set_result(None)
            return
        del self._messages[report.room]
        if not message.began.done():
            message.began.set_exception(CarrierUnavailable(f"the message cannot be played: {report.why}"))
            return
        message.tell(MessagePlayed(at=Moment(report.at_s), complete=report.complete, played_s=report.played_s, why=report.why))
