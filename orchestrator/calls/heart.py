"""This worker's sign of life. The database's clock decides whether it is late."""

from __future__ import annotations

from orchestrator.calls.switchboard import Switchboard
from orchestrator.ids import WorkerId
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.workers import WorkerStore


class Heart:
    """Beats in this worker's row, until the last call has ended."""

    def __init__(
        self, *, store: WorkerStore, worker_id: WorkerId, switchboard: Switchboard, interval_s: float, metrics: Metrics
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._switchboard = switchboard
        self.looper = Looper(name="heart", interval_s=interval_s, step=self._beat, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def _beat(self) -> None:
        await self._store.heartbeat(self._worker_id, live_calls=self._switchboard.live)
