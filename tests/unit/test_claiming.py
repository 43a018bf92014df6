"""How many calls a worker claims at a time: by its own seats, beside those of the others."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.metrics import Metrics
from orchestrator.scheduling.claimer import Claimer


class Queue:
    """A queue that never ends, and how much it was asked for."""

    def __init__(self, *, free_elsewhere: int) -> None:
        self.free_elsewhere = free_elsewhere
        self.asked: list[int] = []

    async def free_seats_elsewhere(self, *, lease_s: float) -> int:
        return self.free_elsewhere

    async def claim_calls(self, *, limit: int) -> list[int]:
        self.asked.append(limit)
        return [0] * limit


class Seats:
    def __init__(self, free: int) -> None:
        self.free = free

    def take(self, calls: list[Any]) -> None:
        self.free -= len(calls)
        assert self.free >= 0


async def asked(*, free: int, free_elsewhere: int) -> list[int]:
    queue: Any = Queue(free_elsewhere=free_elsewhere)
    seats: Any = Seats(free)
    claimer = Claimer(store=queue, seats=seats, interval_s=1, batch_size=20, lease_s=15, metrics=Metrics())
    await claimer._claim()
    return queue.asked


@pytest.mark.parametrize(
    ("free", "free_elsewhere", "first"),
    [(100, 0, 20), (100, 50, 20), (50, 100, 10), (10, 100, 2), (1, 1000, 1), (7, 0, 7), (0, 100, None)],
)
async def test_a_turn_is_as_large_as_the_worker_is_free_beside_the_freest(free: int, free_elsewhere: int, first: int | None):
    turns = await asked(free=free, free_elsewhere=free_elsewhere)
    assert (turns[0] if turns else None) == first
    assert sum(turns) == free, "no seat stays empty while there are calls"
