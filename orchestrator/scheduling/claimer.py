"""Claiming calls that there is room for, as many as this worker is free for beside the others."""

from __future__ import annotations

import math
import time
from typing import Protocol

from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall

LOOK_EVERY_S = 1.0
"""How often it looks how free the other workers are; they say so with their heartbeats."""


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
    Work spreads by free capacity: all claim in turns, and a turn is to a whole batch as this worker's free seats are to the
    freest worker's.
    """

    def __init__(
        self, *, store: QueueStore, seats: Seats, interval_s: float, batch_size: int, lease_s: float, metrics: Metrics
    ) -> None:
        self._store = store
        self._lease_s = lease_s
        self._free_elsewhere = 0
        self._looked_at_s = -math.inf
        self._seats = seats
        self.batch_size = batch_size
        """Most calls of one claim; may be changed."""
        self._metrics = metrics
        self.looper = Looper(name="claimer", interval_s=interval_s, step=self._claim, watch=metrics)

    async def run(self) -> None:
        """Loop until cancelled."""
        await self.looper.run()

    async def _claim(self) -> None:
        while limit := await self._turn():
            started_s = time.perf_counter()
            calls = await self._store.claim_calls(limit=limit)
            self._metrics.claimed(calls=len(calls), took_s=time.perf_counter() - started_s)
            if not calls:
                return
            # Between the claim's commit and this line nothing awaits: a claimed call always has a conductor.
            self._seats.take(calls)

    async def _turn(self) -> int:
        """How many calls to claim next; 0 without a free seat."""
        if self._seats.free and time.monotonic() - self._looked_at_s >= LOOK_EVERY_S:
            self._free_elsewhere = await self._store.free_seats_elsewhere(lease_s=self._lease_s)
            self._looked_at_s = time.monotonic()
        free = self._seats.free
        return min(free, math.ceil(self.batch_size * free / max(free, self._free_elsewhere, 1)))
