"""Time as calls see it: monotonic seconds that can run faster than the wall clock, for demos and tests.

A carrier and whoever drives it share one clock, so that a callee who rings out after 30 s and the ring timer of 30 s agree
at any scale. In production the scale is 1.
"""

from __future__ import annotations

import asyncio
import time


def boot_time_s() -> float:
    """Real seconds since the machine started, counting those for which it was suspended, where the kernel tells."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """Monotonic seconds that count the time for which the machine was suspended.

    `CLOCK_BOOTTIME` where the kernel has it: a laptop or a virtual machine that slept between the intent and the request
    must notice it (DESIGN.md, the last gate); `CLOCK_MONOTONIC` stands still while suspended.
    """

    def __init__(self, *, scale: float = 1.0) -> None:
        """`scale`: seconds of this clock for each real second, above 0."""
        if not scale > 0:
            raise ValueError(f"scale must be above 0, not {scale}")
        self.scale = scale

    def now_s(self) -> float:
        """Seconds since some fixed point in the past."""
        return boot_time_s() * self.scale

    def real_s(self, duration_s: float) -> float:
        """How long `duration_s` of this clock takes in real seconds."""
        return duration_s / self.scale

    async def sleep(self, duration_s: float) -> None:
        """Sleep for `duration_s` of this clock."""
        await asyncio.sleep(max(0.0, self.real_s(duration_s)))

    def timeout(self, duration_s: float | None) -> asyncio.Timeout:
        """`asyncio.timeout` in seconds of this clock; None never expires."""
        return asyncio.timeout(None if duration_s is None else max(0.0, self.real_s(duration_s)))
