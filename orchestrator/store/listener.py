"""Hears what the database notifies: new work, and calls to cancel. A hint only; polling is the truth.

LISTEN needs a connection of its own to the server itself (a pooler in transaction mode will not do). Whenever the connection is
made anew, both callbacks are called once, since notifications may have been missed meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import asyncpg
import structlog

from orchestrator.ids import CallId
from orchestrator.store.pool import CONNECT_TIMEOUT_S, LIBRARY_ERRORS, is_unavailable

log = structlog.get_logger(__name__)

QUEUE_CHANNEL = "orchestrator_queue"
CANCEL_CHANNEL = "orchestrator_cancel"
STOP_CHANNEL = "orchestrator_stop"

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
LOOK_INTERVAL_S = 15.0
LOOK_TIMEOUT_S = 5.0


class Listener:
    """Calls back on notifications, and reconnects for ever."""

    def __init__(
        self,
        url: str,
        *,
        on_queue: Callable[[], None],
        on_cancel: Callable[[CallId | None], None],
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_queue`: there may be work. `on_cancel`: this call is to be canceled, or (None) some may be. `on_stop`: nothing is
        to be dialled any more."""
        self._url = url
        self._on_queue = on_queue
        self._on_cancel = on_cancel
        self._on_stop = on_stop
        self._connected = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Notifications arrive now. Without them, work waits for the next poll."""
        return self._connected.is_set()

    async def wait_until_connected(self) -> None:
        """Until notifications arrive."""
        await self._connected.wait()

    async def run(self) -> None:
        """Listen until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._listen()
            except LIBRARY_ERRORS as error:
                if not is_unavailable(error):
                    raise
                if self.connected:
                    pause_s = FIRST_PAUSE_S
                log.warning("listener_disconnected", error=str(error) or type(error).__name__, retry_in_s=pause_s)
            finally:
                self._connected.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _listen(self) -> None:
        """Listen until the connection is lost, which always raises."""
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=LOOK_TIMEOUT_S,
            server_settings={"application_name": "orchestrator listener"},
        )
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        try:
            await connection.add_listener(QUEUE_CHANNEL, lambda *_: self._on_queue())
            await connection.add_listener(CANCEL_CHANNEL, self._heard_cancel)
            await connection.add_listener(STOP_CHANNEL, lambda *_: self._on_stop())
            log.info("listener_connected")
            self._connected.set()
            self._on_queue()
            self._on_cancel(None)
            while not closed.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_INTERVAL_S):
                        await closed.wait()
                # A connection that the network has forgotten looks alive until something is asked of it.
                await connection.execute("SELECT")
            raise ConnectionError("the server has closed the connection")
        finally:
            connection.terminate()

    def _heard_cancel(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        self._on_cancel(CallId(int(text)) if text.isdecimal() else None)
