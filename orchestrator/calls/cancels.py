"""Passing requests to cancel on to the conductor that they mean. The column is the truth, NOTIFY the hint."""

from __future__ import annotations

from orchestrator.calls.switchboard import Switchboard
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.queue import QueueStore


class Cancels:
    """Looks for this worker's calls that somebody wants canceled, at once when told and every interval otherwise."""

    def __init__(self, *, store: QueueStore, switchboard: Switchboard, interval_s: float, metrics: Metrics) -> None:
        self._store = store
        self._switchboard = switchboard
        self.looper = Looper(name="cancels", interval_s=interval_s, step=self._look, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def _look(self) -> None:
        for call_id, epoch in await self._store.canceled_calls():
            self._switchboard.cancel(call_id, epoch)
