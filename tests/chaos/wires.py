"""TCP connections with something in between that can cut them, delay them, or lose what comes back.

A wire listens on a port of its own and passes bytes on to another. It is what lies between the workers and their database or
media server, so that both can be healthy and out of reach all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

_CHUNK = 65_536
_CONNECT_TIMEOUT_S = 5.0
_HELD_S = 3.0
"""How long the connection of what was held is kept for it."""


@dataclass(slots=True)
class Wire:
    """One listening port and all connections that came through it."""

    target: str | int
    """A port of the loopback, or the path of a unix socket."""
    delay_s: float = 0.0
    """How much later bytes arrive, in each direction."""
    is_cut: bool = False
    """New connections are refused."""
    lose_answers_to: bytes = b""
    """A request in whose bytes this is found is passed on, and its connection ends before the answer comes back; once."""
    answers_lost: int = 0
    hold: bytes = b""
    """A chunk in which this is found waits for `let_go`; once. It arrives even if its sender is gone by then."""
    held: bool = False
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    is_mute: bool = False
    """Every request is passed on, and the connection on which an answer comes back ends before it arrives."""
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def close(self) -> None:
        """Cut everything and stop listening."""
        if self._server is not None:
            self._server.close()
        self.delay_s = 0.0
        self.cut_all()
        if self._tasks:  # they end by themselves once their connections are gone
            await asyncio.wait(self._tasks, timeout=_CONNECT_TIMEOUT_S)

    def cut_all(self) -> None:
        """End all connections at once, without a word (RST)."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                if isinstance(self.target, int):
                    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
                else:
                    far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        mute = asyncio.Event()
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, mute, watch=True), self._pump(far_reader, writer, mute, watch=False)
            )
        finally:
            for end in (writer, far_writer):
                self._open.discard(end)
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event, *, watch: bool
    ) -> None:
        """`watch`: this is the way of requests; after one whose answer is to be lost, nothing comes back any more."""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if watch and self.hold and self.hold in chunk:
                    self.hold, self.held = b"", True
                    await self.let_go.wait()
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(_HELD_S)
                    continue
                if watch and self.lose_answers_to and self.lose_answers_to in chunk:
                    self.lose_answers_to = b""
                    self.answers_lost += 1
                    mute.set()
                if not watch and (mute.is_set() or self.is_mute):
                    self.answers_lost += self.is_mute
                    writer.transport.abort()
                    return
                writer.write(chunk)
                await writer.drain()
        if writer.can_write_eof():
            with contextlib.suppress(OSError):
                writer.write_eof()
