"""Moving calls whose time has come, taking back those whose calling window has closed, ending those whose time ran out.

Does not know how calling windows are found: a Placer says when each call may be dialled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.placements import DueCall, Placement
from orchestrator.store.queue import QueueStore

log = structlog.get_logger(__name__)


class Placer(Protocol):
    """Finds calling windows."""

    def place(self, due: Sequence[DueCall]) -> list[Placement]:
        """One placement for each call, by the clock of `DueCall.asked_at`; a call that it leaves out stays due."""
        ...


class Stager:
    """Moves due calls from `scheduled` to `ready`, or back until their calling window opens; takes ready calls whose window has
    closed back.

    Runs on every worker; safe to run many times, since the statements lock what they move and skip what is locked. Told by
    NOTIFY of new calls and polling as the truth; sleeps less when a call falls due before the next poll.
    """

    def __init__(
        self,
        *,
        store: QueueStore,
        placer: Placer,
        interval_s: float,
        batch_size: int,
        on_staged: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._placer = placer
        self._batch_size = batch_size
        self._on_staged = on_staged
        self._metrics = metrics
        self.looper = Looper(name="stager", interval_s=interval_s, step=self._step, watch=metrics)

    async def run(self) -> None:
        """Loop until cancelled."""
        await self.looper.run()

    async def _step(self) -> None:
        while await self._store.close_windows(limit=self._batch_size) == self._batch_size:
            pass
        last = None
        while due := await self._store.due_calls(limit=self._batch_size, after=last):
            staged = await self._store.stage(due, self._placer.place(due))
            if staged.ready:
                self._on_staged()
            if len(due) < self._batch_size:
                return
            # Calls that could not be moved, since their account is locked, are passed over until the next round.
            last = due[-1]


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
