"""Writing what happened to one call, in order, even while the database is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.errors import DatabaseUnavailable
from orchestrator.metrics import Metrics

Write = Callable[[], Awaitable[bool]]
"""One operation of the store; False says that the claim is not ours any more."""


class ClaimLost(Exception):
    """The claim is not ours any more: another worker has taken the call over, and we stop touching it."""


class Pen:
    """Writes one call's changes in the order in which they happened.

    A conversation does not wait for a database: what cannot be written now is kept and written before anything newer. Raises
    ClaimLost as soon as a write finds the claim gone.
    """

    def __init__(
        self,
        *,
        pause_real_s: float,
        metrics: Metrics,
        log: structlog.stdlib.BoundLogger,
        in_doubt: Callable[[], bool] = lambda: False,
    ) -> None:
        """`pause_real_s`: between two tries while the database is away.

        `in_doubt`: whether the call may have been taken over meanwhile; then nothing is kept for later, and whoever writes down
        what it is about to do waits until the database has said that the claim is still ours.
        """
        self._pause_real_s = pause_real_s
        self._metrics = metrics
        self._log = log
        self._in_doubt = in_doubt
        self._unwritten: deque[Write] = deque()

    @property
    def retry_in_real_s(self) -> float | None:
        """When `catch_up` should be called; None when nothing waits."""
        return self._pause_real_s if self._unwritten else None

    async def write(self, operation: Write) -> None:
        """Write now, or keep it for later."""
        if self._in_doubt():
            await self.write_until_done(operation)
            return
        self._unwritten.append(operation)
        await self.catch_up()

    async def make_sure(self, operation: Write) -> None:
        """If the call may have been taken over meanwhile, wait until the database has said by this write that it has not."""
        if self._in_doubt():
            await self.write_until_done(operation)

    async def write_first(self, operation: Write) -> None:
        """Write before all that waits what must be written even if the claim turns out to be lost, or keep it for later."""
        self._unwritten.appendleft(operation)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Write what was kept, as far as the database lets us."""
        try:
            await self._write_all()
        except DatabaseUnavailable as error:
            self._postponed(error)

    async def write_until_done(self, operation: Write) -> None:
        """Write it after all that waits, for as long as that takes: the end of a call is not to be lost."""
        self._unwritten.append(operation)
        while True:
            try:
                return await self._write_all()
            except DatabaseUnavailable as error:
                self._postponed(error)
                await asyncio.sleep(self._pause_real_s)

    def _postponed(self, error: DatabaseUnavailable) -> None:
        self._metrics.database_error()
        self._log.warning("write_postponed", waiting=len(self._unwritten), error=str(error))

    async def _write_all(self) -> None:
        while self._unwritten:
            if not await self._unwritten[0]():
                raise ClaimLost
            self._unwritten.popleft()
