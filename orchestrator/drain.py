"""Leaving: the live calls of this worker may finish, for a bounded time, and are hung up then.

stop signal     calls that were not dialled go back to the queue (the switchboard's `close`), live ones go on
drain time over, or the second signal: live calls are hung up (WORKER_SHUT_DOWN)
30 s later      what still will not end is left to the other workers' recovery
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

HANG_UP_ALL_PATIENCE_S = 30.0
REPORT_INTERVAL_S = 5.0


class Occupied(Protocol):
    """Where live calls are: the switchboard."""

    @property
    def live(self) -> int:
        """How many calls are being conducted."""
        ...

    def close(self) -> None:
        """Take no more calls, and give back those that have not been dialled."""
        ...

    def hang_up_all(self) -> None:
        """End all calls now."""
        ...

    async def wait_until_empty(self) -> None:
        """Until no call is being conducted."""
        ...


async def drain(
    switchboard: Occupied, *, drain_s: Callable[[], float], hang_up: asyncio.Event, on_wait: Callable[[int], None]
) -> None:
    """Empty the switchboard. `drain_s` is asked again all the time, since it can be reloaded; `hang_up` cuts it short.

    `on_wait` is told every few seconds how many calls are still live, so that a supervisor knows that this is no hang.
    """
    switchboard.close()
    clock = asyncio.get_running_loop()
    started_s = clock.time()
    emptied = asyncio.ensure_future(switchboard.wait_until_empty())
    told = asyncio.ensure_future(hang_up.wait())
    try:
        while not emptied.done() and not told.done():
            left_s = started_s + drain_s() - clock.time()
            if left_s <= 0:
                break
            on_wait(switchboard.live)
            await asyncio.wait({emptied, told}, timeout=min(left_s, REPORT_INTERVAL_S), return_when=asyncio.FIRST_COMPLETED)
        if emptied.done():
            return
        log.warning("worker_hanging_up", live_calls=switchboard.live)
        switchboard.hang_up_all()
        given_up_s = clock.time() + HANG_UP_ALL_PATIENCE_S
        while not emptied.done() and clock.time() < given_up_s:
            on_wait(switchboard.live)
            await asyncio.wait({emptied}, timeout=REPORT_INTERVAL_S)
        if not emptied.done():
            log.error("worker_leaves_calls_behind", live_calls=switchboard.live)
    finally:
        emptied.cancel()
        told.cancel()
