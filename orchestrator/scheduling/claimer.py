"""Claiming calls that there is room for."""

from __future__ import annotations

import time
from typing import Protocol

from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall


class Seats(Protocol):
    """Where claimed calls go: the switchboard."""

    @property
    def free(self) -> int:
        """How many more calls this process takes now; 0 while draining."""
        ...

    def take(self, calls: list[ClaimedCall]) -> None:
        """Start to conduct these calls."""
        ...


class Claimer:
    """Claims calls while there are calls and seats, at once when woken and every interval otherwise.

    The interval is at most half the horizon of the claim (0.5 s): a trunk's next dial time may come without anybody telling.
    """

    def __init__(self, *, store: QueueStore, seats: Seats, interval_s: float, batch_size: int, metrics: Metrics) -> None:
        self._store = store
        self._seats = seats
        self._batch_size = batch_size
        self._metrics = metrics
        self.looper = Looper(name="claimer", interval_s=interval_s, step=self._claim, watch=metrics)

    async def run(self) -> None:
        """Loop until cancelled."""
        await self.looper.run()

    async def _claim(self) -> None:
        while limit := min(self._batch_size, self._seats.free):
            started_s = time.perf_counter()
            calls = await self._store.claim_calls(limit=limit)
            self._metrics.claimed(calls=len(calls), took_s=time.perf_counter() - started_s)
            if not calls:
                return
            # Between the claim's commit and this line nothing awaits: a claimed call always has a conductor.
            self._seats.take(calls)
