"""Whether this process deserves to live: the watchdog is fed only while it does.

Three things must make progress. The event loop: this runs on it. The claim loop and the heartbeat: no step of theirs may take
longer than all its statements are allowed to, and they may not go on failing while the database answers.

While the database is away both fail, and the watchdog is fed all the same: a restart brings no database back, and this process
conducts live calls. That is why failing alone is not enough: the database is asked over a connection of its own, and only where
it answers, and has for longer than a loop waits before it tries again, is the fault ours (a pool that is used up, a lock that
nobody gives back, a defect), and a restart the remedy.

Must not know what the loops do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from orchestrator.errors import Error
from orchestrator.looper import MAX_PAUSE_S, Looper
from orchestrator.metrics import Metrics
from orchestrator.systemd import ServiceManager

log = structlog.get_logger(__name__)

STATEMENTS_OF_A_STEP = 4
"""A step waits at most so many times for `command_timeout_s` before it ends: connection, statements, giving back."""
PROBE_TIMEOUT_S = 3.0
MOST_MISSED = 3
"""So many probes without an answer in a row, and the database counts as away. One alone may have met a busy moment."""
FEEDINGS = 3
"""Chances to be fed before the watchdog bites."""


class Watchdog:
    """Feeds the service manager's watchdog while the loops in `loops` make progress."""

    def __init__(
        self,
        *,
        manager: ServiceManager,
        status: Callable[[], str],
        loops: Callable[[], Sequence[Looper]],
        metrics: Metrics,
        probe: Callable[[], Awaitable[object]],
        command_timeout_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`probe` asks the database over a connection of its own. `status` is what we are doing, for people."""
        self._manager = manager
        self._status = status
        self._loops = loops
        self._metrics = metrics
        self._probe = probe
        self._step_s = STATEMENTS_OF_A_STEP * command_timeout_s
        self._now_s = now_s
        self._started_s = now_s()
        self._answering_since_s: float | None = None
        """Since when the database has answered probes; None while it does not, and while nobody asks."""
        self._missed = 0

    async def run(self) -> None:
        """Look again and again, until cancelled; returns at once where nobody watches."""
        while self._manager.watchdog_s is not None:
            fault = await self.fault()
            if fault is None:
                self._manager.alive(self._status())
            else:
                log.error("watchdog_not_fed", why=fault)
                self._manager.status(f"no progress: {fault}")
            await asyncio.sleep(self._manager.watchdog_s / FEEDINGS)

    async def fault(self) -> str | None:
        """What does not make progress; None: all do."""
        loops = tuple(self._loops())
        for looper in loops:
            stuck_s = self._stuck_s(looper)
            if stuck_s > self._step_s:
                return f"{looper.name}: a step has not ended for {stuck_s:.0f} s"
        failing = {looper.name: silent_s for looper in loops if (silent_s := self._silent_s(looper)) > self._step_s}
        if not failing:
            self._answering_since_s = None
            return None
        # So long may a loop pause, and its next step take, after the database has come back.
        patience_s = self._step_s + MAX_PAUSE_S
        answering_s = await self._database_answers_for_s()
        dead = [name for name, silent_s in failing.items() if min(silent_s, answering_s) > patience_s]
        if not dead:
            return None
        return f"{', '.join(dead)}: no step has succeeded for {failing[dead[0]]:.0f} s, and the database answers"

    def _stuck_s(self, looper: Looper) -> float:
        """How long the step under way has shown no progress; 0 between steps. (A claimer shows it at each claim.)"""
        if looper.step_began_s is None:
            return 0.0
        progress = self._metrics.progress(looper.name)
        return self._now_s() - max(looper.step_began_s, progress.last_end_s if progress else 0.0)

    def _silent_s(self, looper: Looper) -> float:
        """How long ago a step ended well, beyond the pause between steps that the loop takes anyway."""
        last_s = self._started_s if looper.last_success_s is None else looper.last_success_s
        progress = self._metrics.progress(looper.name)
        if progress is not None and progress.failures == 0:
            last_s = max(last_s, progress.last_end_s)
        return self._now_s() - last_s - looper.interval_s

    async def _database_answers_for_s(self) -> float:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._probe()
        except (Error, OSError, TimeoutError):
            self._missed += 1
            if self._missed >= MOST_MISSED:
                self._answering_since_s = None
        else:
            self._missed = 0
            if self._answering_since_s is None:
                self._answering_since_s = self._now_s()
        return 0.0 if self._answering_since_s is None else self._now_s() - self._answering_since_s
