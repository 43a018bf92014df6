"""Moving calls whose time has come, and ending those whose time ran out."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.queue import QueueStore

log = structlog.get_logger(__name__)


class Stager:
    """Moves due calls from `scheduled` to `ready`, and ends waiting calls that have expired.

    Runs on every worker; safe to run many times, since the statements lock what they move and skip what is locked. Told by
    NOTIFY of new calls and polling as the truth; sleeps less when a call falls due before the next poll.
    """

    def __init__(
        self, *, store: QueueStore, interval_s: float, batch_size: int, on_staged: Callable[[], None], metrics: Metrics
    ) -> None:
        self._store = store
        self._batch_size = batch_size
        self._on_staged = on_staged
        self._metrics = metrics
        self.looper = Looper(name="stager", interval_s=interval_s, step=self._stage, watch=metrics)

    async def run(self) -> None:
        """Loop until cancelled."""
        await self.looper.run()

    async def _stage(self) -> None:
        while True:
            staged = await self._store.stage_due_calls(limit=self._batch_size)
            if staged:
                self._on_staged()
            if staged < self._batch_size:
                return


class Expirer:
    """Ends calls that expired while they waited, with the reason that says what they waited for."""

    def __init__(self, *, store: QueueStore, interval_s: float, batch_size: int, metrics: Metrics) -> None:
        self._store = store
        self._batch_size = batch_size
        self._metrics = metrics
        self.looper = Looper(name="expirer", interval_s=interval_s, step=self._expire, watch=metrics)

    async def run(self) -> None:
        """Loop until cancelled."""
        await self.looper.run()

    async def _expire(self) -> None:
        while True:
            expired = await self._store.expire_calls(limit=self._batch_size)
            for call_id, reason in expired:
                log.info("call_ended", call_id=call_id, end_reason=reason.value)
                self._metrics.call_ended(reason.value)
            if len(expired) < self._batch_size:
                return
