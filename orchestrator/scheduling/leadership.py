"""Who does what must not be done twice: the holder of a lease in the database, by the database's clock.

Whoever holds it counts from before it asked, by a clock that goes on while the machine is suspended, and steps down a margin
early: two never lead at once, for a while nobody may.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from orchestrator.errors import DatabaseUnavailable
from orchestrator.ids import WorkerId
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.workers import WorkerStore
from sip.clock import boot_time_s

log = structlog.get_logger(__name__)

MARGIN = 0.2
"""Share of the lease by which its holder steps down early: clocks differ in speed, statements wait."""


class Leadership:
    """Holds, or waits for, one lease."""

    def __init__(
        self,
        *,
        store: WorkerStore,
        worker_id: WorkerId,
        name: str,
        ttl_s: float,
        interval_s: float,
        metrics: Metrics,
        now_s: Callable[[], float] = boot_time_s,
    ) -> None:
        """`interval_s`: between renewals, well under `ttl_s`."""
        self._store = store
        self._worker_id = worker_id
        self._name = name
        self._ttl_s = ttl_s
        self._metrics = metrics
        self._now_s = now_s
        self._until_s = float("-inf")
        self._term: int | None = None
        self.looper = Looper(name=name, interval_s=interval_s, step=self._renew, watch=metrics)

    @property
    def leads(self) -> bool:
        """Whether this worker leads now; ask again before each thing that must not be done twice."""
        return self._now_s() < self._until_s

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def resign(self) -> None:
        """Step down now, so that another need not wait; harmless if this worker does not lead."""
        led, self._until_s = self._until_s > float("-inf"), float("-inf")
        self._metrics.leads(False)
        if not led:
            return
        try:
            await self._store.release_lease(self._name, self._worker_id)
        except DatabaseUnavailable as error:
            log.warning("lease_not_released", name=self._name, error=str(error))  # it runs out by itself

    async def _renew(self) -> None:
        asked_s = self._now_s()
        self._metrics.leads(self.leads)  # it may have run out while the database could not be asked
        term = await self._store.take_lease(self._name, self._worker_id, ttl_s=self._ttl_s)
        if term is None:
            self._until_s = float("-inf")
        else:
            self._until_s = asked_s + self._ttl_s * (1 - MARGIN)
        if term != self._term:
            log.info("leadership", lease=self._name, leads=term is not None, term=term)
        self._term = term
        self._metrics.leads(self.leads)
