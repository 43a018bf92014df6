"""How many calls a second go through claim and finish: some workers at once, for a set time, on one database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

Step = Callable[[], Coroutine[None, None, int]]
"""Takes and ends some calls; how many."""


@dataclass(slots=True)
class Tally:
    """What the workers did while it counted."""

    took_s: float = 0.0
    calls: int = 0
    steps: int = 0
    empty: int = 0
    slices: list[float] = field(default_factory=list)
    """Calls a second, second by second."""

    @property
    def median(self) -> float:
        """Calls a second in the median second; the mean where the time was shorter than that."""
        if not self.slices:
            return self.calls / self.took_s if self.took_s else 0.0
        return sorted(self.slices)[len(self.slices) // 2]


async def measure(steps: list[Step], *, warm_s: float, for_s: float, slice_s: float = 1.0) -> Tally:
    """Run each step again and again beside the others; what falls into the first `warm_s` is not counted."""
    tally = Tally()
    start = time.perf_counter() + warm_s
    end = start + for_s

    async def work(step: Step) -> None:
        while True:
            begun = time.perf_counter()
            if begun >= end:
                return
            calls = await step()
            done = time.perf_counter()
            if start <= done < end:
                tally.calls += calls
                tally.steps += 1
                tally.empty += calls == 0
                index = int((done - start) / slice_s)
                tally.slices.extend([0.0] * (index + 1 - len(tally.slices)))
                tally.slices[index] += calls / slice_s
            if not calls:
                await asyncio.sleep(0.001)

    await asyncio.gather(*(work(step) for step in steps))
    tally.took_s = for_s
    return tally
