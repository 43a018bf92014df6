"""The inside of a listener process: takes orders, has an ear for each room, beats. Knows neither who the daemon is nor why."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine

import structlog

from sip.clock import boot_time_s
from sip.livekit.listening.ear import Ear
from sip.livekit.listening.player import Player
from sip.livekit.listening.reception import RATE_HZ, Detector
from sip.livekit.listening.wire import Beat, Garbled, Hush, Leave, Listen, Play, Report, line_of, order_of
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings

GOODBYE_S = 1.0
"""To leave rooms politely once the daemon has hung up."""

log = structlog.get_logger(__name__)


def new_detector(settings: DetectorSettings) -> Detector:
    """The detector of one call."""
    return CallDetector(sample_rate_hz=RATE_HZ, settings=settings)


class Station:
    """All ears and players of one process."""

    def __init__(
        self,
        *,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        beat_s: float,
        new_detector: Callable[[DetectorSettings], Detector] = new_detector,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._beat_s = beat_s
        self._new_detector = new_detector
        self._ears: dict[str, Ear] = {}
        self._players: weakref.WeakValueDictionary[str, Player] = weakref.WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the daemon hangs up: whatever is heard after that, nobody would be told."""
        beating = asyncio.create_task(self._beat())
        try:
            while line := await self._reader.readline():
                self._obey(line)
        except OSError:
            pass  # it hung up in the middle of a line
        finally:
            beating.cancel()
        for ear in self._ears.values():
            ear.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GOODBYE_S)

    def _obey(self, line: bytes) -> None:
        try:
            order = order_of(line)
        except Garbled:
            log.exception("order_not_understood")
            return
        match order:
            case Listen():
                ear = Ear(order=order, tell=self._tell, new_detector=self._new_detector)
                self._ears[order.room] = ear
                self._start(self._listen(order.room, ear))
            case Leave(room=room):
                if room in self._ears:
                    self._ears[room].stop()
            case Play(room=room):
                player = self._players[room] = Player(order=order, tell=self._tell)
                self._start(player.run())
            case Hush(room=room):
                if room in self._players:
                    self._players[room].stop()

    async def _listen(self, room: str, ear: Ear) -> None:
        try:
            await ear.run()
        finally:
            if self._ears.get(room) is ear:
                del self._ears[room]

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("listening_failed", exc_info=error)

    async def _beat(self) -> None:
        while True:
            self._tell(Beat(boot_time_s(), len(self._ears)))
            await asyncio.sleep(self._beat_s)

    def _tell(self, report: Report) -> None:
        if not self._writer.is_closing():
            self._writer.write(line_of(report))
