"""One listener process as the daemon sees it: started, given orders, heard, ended.

Its socket is its life line: when the daemon dies, it ends by itself. It gets a minimal environment, since it needs no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

import sip
from sip.clock import boot_time_s
from sip.livekit.listening.wire import LONGEST_LINE, Beat, Garbled, Order, Report, line_of, report_of

KEPT_VARIABLES = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "LIVEKIT_LIB_PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "COVERAGE_PROCESS_START",
)
"""Of the daemon's environment; none of them holds a secret."""
GOODBYE_S = 3.0
"""For it to end after its socket has."""

log = structlog.get_logger(__name__)


class Child:
    """One listener process."""

    def __init__(
        self, *, number: int, process: asyncio.subprocess.Process, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        self.number = number
        self.started_s = boot_time_s()
        self.last_heard_s = self.started_s
        self.beats = 0
        self.is_leaving = False
        """It gets no more rooms, and ends when it has none."""
        self.rooms: set[str] = set()
        """Those it has been given, listening or playing."""
        self.rooms_ever = 0
        self.empty_since_s = self.started_s
        self.is_expected_to_end = False
        """We have hung up on it."""
        self._killed_for = ""
        self._process = process
        self._reader, self._writer = streams

    @classmethod
    async def start(cls, *, number: int, python: str, beat_s: float) -> Child:
        """Start one. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    python,
                    *("-m", "sip.livekit.listening", "--socket", str(theirs.fileno()), "--beat", str(beat_s)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(),
                )
            ours.setblocking(False)
            streams = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        except BaseException:
            ours.close()
            raise
        return cls(number=number, process=process, streams=streams)

    @property
    def is_ready(self) -> bool:
        """It has beaten once."""
        return self.beats > 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def order(self, order: Order) -> None:
        """Give it an order; one that is dead hears nothing."""
        if not self._writer.is_closing():
            self._writer.write(line_of(order))

    async def listen(self, take: Callable[[Child, Report], None]) -> str:
        """Pass on its reports until it ends; returns why it ended."""
        try:
            while line := await self._reader.readline():
                self.last_heard_s = boot_time_s()
                report = report_of(line)
                self.beats += isinstance(report, Beat)
                take(self, report)
        except (OSError, ValueError) as error:  # ValueError: a line without an end
            self.kill(f"it cannot be heard: {error}")
        except Garbled as error:
            self.kill(f"it talks nonsense: {error}")
        code = await self._exit()
        return self._killed_for or f"it ended with {code}"

    def kill(self, why: str) -> None:
        """End it at once: it does not do its work."""
        self.is_leaving = True
        self._killed_for = self._killed_for or why
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def hang_up(self) -> None:
        """Have it leave its rooms and end."""
        self.is_leaving = self.is_expected_to_end = True
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    async def _exit(self) -> int:
        try:
            async with asyncio.timeout(GOODBYE_S):
                code = await self._process.wait()
        except TimeoutError:
            self.kill("it did not go by itself")
            code = await self._process.wait()
        finally:
            self._writer.close()
        return code


def _environment() -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    root = str(Path(sip.__file__).resolve().parents[1])
    kept["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [kept.get("PYTHONPATH", "")])])
    # One thread: many small arrays, and other children beside.
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
