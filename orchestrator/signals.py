"""What a running daemon is told by signals: stop, hang up, read the settings anew.

Signals only set events; whoever awaits them decides what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import structlog

log = structlog.get_logger(__name__)


class Signals:
    """The first SIGTERM or SIGINT asks to stop, the second to hang up; SIGHUP asks to read the settings anew."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hang_up = asyncio.Event()
        self.reload = asyncio.Event()
        """Whoever reloads clears it first: signals that come meanwhile are one more reload."""

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Listen to the signals while the block runs. Needs the main thread."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _asked_to_stop(self, name: str) -> None:
        log.info("signal", name=name)
        if self.stop.is_set():
            self.hang_up.set()
        self.stop.set()

    def _asked_to_reload(self) -> None:
        log.info("signal", name="SIGHUP")
        self.reload.set()
