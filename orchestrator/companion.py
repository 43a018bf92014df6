"""What may run beside the daemon and end it: a demo, a bench, or the wish to leave when nothing is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.drain import Occupied
from orchestrator.settings import Settings
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from sip.leg import Carrier


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that is up, for whoever accompanies it."""

    settings: Settings
    database: Database
    carrier: Carrier


Companion = Callable[[Running], Awaitable[int]]
"""Runs beside the daemon; its result becomes the exit code if it ends the daemon."""


class Company:
    """Whoever runs beside the daemon, if anybody, and the exit code that comes of it."""

    def __init__(self, *, companion: Companion | None, until_idle: bool, stop: asyncio.Event) -> None:
        """`until_idle`: set `stop` when the companion is done, or without one, when nothing is left to do."""
        self.exit_code = 0
        self._companion = companion
        self._until_idle = until_idle
        self._stop = stop

    async def run(self, running: Running, *, queue: QueueStore, switchboard: Occupied) -> None:
        """Run beside the daemon. An error of the companion ends the daemon, with exit code 1."""
        if self._companion is not None:
            try:
                exit_code = await self._companion(running)
            except Exception:
                self.exit_code = 1
                self._stop.set()
                raise
            if self._until_idle:
                self.exit_code = exit_code
                self._stop.set()
        elif self._until_idle:
            await _nothing_left(queue=queue, switchboard=switchboard, poll_s=running.settings.worker.poll_s)
            self._stop.set()


async def _nothing_left(*, queue: QueueStore, switchboard: Occupied, poll_s: float) -> None:
    """Until nothing is queued, due or not, and nothing is conducted; looked at twice, since calls move meanwhile."""
    idle_looks = 0
    while idle_looks < 2:
        await asyncio.sleep(poll_s)
        idle = switchboard.live == 0 and not (await queue.occupancy()).ready and await queue.next_due_in_s() is None
        idle_looks = idle_looks + 1 if idle else 0
