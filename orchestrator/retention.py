"""Retention: what is over leaves after so many days, a little at a time.

Runs on one worker at a time (the leader); two would do no harm, since every statement skips what the other holds. Between two
statements it rests three times as long as the last one took, so that it never has more than a quarter of one connection's time.

Must not know how rows are found, nor what they mean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.ids import CallId
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.settings import Retention as RetentionSettings
from orchestrator.store.age import Aged, AgeStore

log = structlog.get_logger(__name__)

REST = 3.0
"""Pause after a statement, as a multiple of what it took."""

IDLE_ROUTES_DAYS = 7
"""Nobody looks at an idle lane; it is made again with its next call."""


class Retention:
    """Removes what is older than the settings say."""

    def __init__(
        self,
        *,
        store: AgeStore,
        settings: RetentionSettings,
        metrics: Metrics,
        may_run: Callable[[], bool] = lambda: True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`may_run`: whether this worker is the one that may; asked before every statement."""
        self.settings = settings
        """May be changed."""
        self._store = store
        self._metrics = metrics
        self._may_run = may_run
        self._sleep = sleep
        self.looper = Looper(name="retention", interval_s=settings.interval_s, step=self.prune, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def prune(self) -> None:
        """Remove all that is old enough now."""
        kept_days = {
            Aged.SYSTEM_EVENTS: self.settings.system_events_days,
            Aged.CALLER_ID_DAYS: self.settings.caller_id_days,
            Aged.TRUNK_FAILURES: self.settings.trunk_failures_days,
            Aged.DO_NOT_CALL: self.settings.do_not_call_days,
            Aged.ROUTES: IDLE_ROUTES_DAYS,
        }
        await self._prune_calls()
        for what, days in kept_days.items():
            await self._prune(what, days)
        await self._prune(Aged.WORKERS, self.settings.workers_days)

    async def _prune_calls(self) -> None:
        days, removed = self.settings.calls_days, 0
        after: CallId | None = CallId(0)
        while days and after is not None and self._may_run():
            started_s = time.perf_counter()
            pruned = await self._store.prune_calls(after=after, days=days, limit=self.settings.batch)
            after, removed = pruned.next_after, removed + pruned.removed
            self._metrics.pruned("calls", pruned.removed)
            await self._sleep(REST * (time.perf_counter() - started_s))
        if removed:
            log.info("pruned", what="calls", removed=removed, older_than_days=days)

    async def _prune(self, what: Aged, days: int) -> None:
        removed, batch = 0, self.settings.batch
        last = batch
        while days and last == batch and self._may_run():
            started_s = time.perf_counter()
            last = await self._store.prune(what, days=days, limit=batch)
            removed += last
            self._metrics.pruned(what.value, last)
            await self._sleep(REST * (time.perf_counter() - started_s))
        if removed:
            log.info("pruned", what=what.value, removed=removed, older_than_days=days)
