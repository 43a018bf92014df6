"""Looks at the queue and the server again and again, and tells the metrics what is there.

Every worker looks, so that whichever is asked can answer: every two seconds at counters, every 15 at how the queue stands, by a
handful of bounded statements.
"""

from __future__ import annotations

import time

import structlog

from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.metrics_queue import MOST_ACCOUNTS
from orchestrator.store.age import AgeStore
from orchestrator.store.bottlenecks import BottleneckStore
from orchestrator.store.queue import QueueStore
from orchestrator.store.queue_view import QueueViewStore

log = structlog.get_logger(__name__)

OCCUPANCY_INTERVAL_S = 2.0
QUEUE_INTERVAL_S = 15.0
OLD_SNAPSHOT_S = 300.0
"""A snapshot as old as this is worth a word: dead rows of the queue have piled up behind it, and claims read past them."""
WARN_AGAIN_S = 600.0


class Lookout:
    """Measures how the queue stands and how old the oldest snapshot is."""

    def __init__(
        self, *, calls: QueueStore, bottlenecks: BottleneckStore, queue: QueueViewStore, age: AgeStore, metrics: Metrics
    ) -> None:
        self._calls = calls
        self._bottlenecks = bottlenecks
        self._queue = queue
        self._age = age
        self._metrics = metrics
        self._warned_s: float | None = None
        self.loopers = (
            Looper(name="occupancy", interval_s=OCCUPANCY_INTERVAL_S, step=self.measure, watch=metrics),
            Looper(name="lookout", interval_s=QUEUE_INTERVAL_S, step=self.look, watch=metrics),
        )

    async def measure(self) -> None:
        """Read the counters once."""
        self._metrics.occupancy(await self._calls.occupancy())
        self._metrics.calls_by_state(await self._calls.live_calls_by_state())
        self._metrics.bottlenecks(await self._bottlenecks.read())

    async def look(self) -> None:
        """Look at the queue and for old snapshots once."""
        self._metrics.queue.look(
            system=await self._queue.system(),
            accounts=await self._queue.accounts(limit=MOST_ACCOUNTS),
            trunks=await self._queue.trunks(),
            agent_pools=await self._queue.agent_pools(limit=MOST_ACCOUNTS),
            held=await self._queue.held(),
        )
        snapshot = await self._age.oldest_snapshot()
        self._metrics.queue.snapshot(snapshot)
        now_s = time.monotonic()
        if snapshot.age_s > OLD_SNAPSHOT_S and (self._warned_s is None or now_s - self._warned_s > WARN_AGAIN_S):
            self._warned_s = now_s
            log.warning(
                "snapshot_old",
                age_s=round(snapshot.age_s),
                who=snapshot.who,
                remedy="end that transaction: until then no vacuum cleans up after the queue, and claims get slower",
            )
