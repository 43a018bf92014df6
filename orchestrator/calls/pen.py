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

    A conversation does not wait for a database: what cannot be written now is kept and written before anything newer. What the
    database refuses is not asked again, so that it does not stand in the way of the call's end: the refusal is logged, counted
    and raised, whatever it is, and what waits behind it is still written. Raises ClaimLost as soon as a write finds the claim
    gone.
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

    async def note(self, operation: Write) -> None:
        """As `write`, but for what nobody is to be hung up on for: a refusal is logged and counted only."""
        await self.write(self._harmless(operation))

    async def make_sure(self, operation: Write) -> None:
        """If the call may have been taken over meanwhile, wait until the database has said by this write that it has not."""
        if self._in_doubt():
            await self.write_until_done(operation)

    async def note_first(self, operation: Write) -> None:
        """As `note`, but before all that waits: what must be written even if the claim turns out to be lost."""
        self._unwritten.appendleft(self._harmless(operation))
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
            try:
                ours = await self._unwritten[0]()
            except DatabaseUnavailable:
                raise
            except Exception:
                self._unwritten.popleft()
                self._refused()
                raise
            if not ours:
                raise ClaimLost
            self._unwritten.popleft()

    def _harmless(self, operation: Write) -> Write:
        async def write() -> bool:
            try:
                return await operation()
            except DatabaseUnavailable:
                raise
            except Exception:  # noqa: BLE001  logged with its trace, counted, and no reason to end a conversation
                self._refused()
                return True

        return write

    def _refused(self) -> None:
        self._metrics.write_refused()
        self._log.exception("write_refused", waiting=len(self._unwritten))
