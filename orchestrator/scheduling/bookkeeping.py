"""Counters against counts: compared every minute by the leader, put right where they differ, and reported (DESIGN.md, I5).

They never differ unless there is a defect or somebody changed rows by hand; the metric stays 0.
"""

from __future__ import annotations

import structlog

from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.scheduling.leadership import Leadership
from orchestrator.store.upkeep import UpkeepStore

log = structlog.get_logger(__name__)

INTERVAL_S = 60.0
LANES_EVERY = 15
"""Lanes of a very long queue are compared at every so-manyth repair: that reads the whole of it."""


class Bookkeeper:
    """Compares counters with what they count. Works on the leader only."""

    def __init__(self, *, store: UpkeepStore, leadership: Leadership, metrics: Metrics, interval_s: float = INTERVAL_S) -> None:
        self._store = store
        self._leadership = leadership
        self._metrics = metrics
        self._turn = 0
        self.looper = Looper(name="bookkeeper", interval_s=interval_s, step=self._compare, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def _compare(self) -> None:
        if not self._leadership.leads:
            return
        repairs = await self._store.repair_counters(lanes=self._turn % LANES_EVERY == 0)
        self._turn += 1
        for kind, wrong in repairs.by_kind().items():
            if wrong:
                log.error("counters_repaired", kind=kind, wrong=wrong)
                self._metrics.counters_repaired(kind, wrong)
