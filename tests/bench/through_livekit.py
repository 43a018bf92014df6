"""From the commit of an enqueue to the dial request, through a real livekit-server; a real agent must join first.

Run by `python -m tests.bench livekit`, as a test since it needs the end-to-end tests' processes.
"""

from __future__ import annotations

import asyncio
import time

from tests.bench.load import percentile
from tests.e2e.conftest import daemon, example_agent, real_livekit, stand_in
from tests.e2e.daemon import Daemon, number

__all__ = ["daemon", "example_agent", "real_livekit", "stand_in"]

CALLS = 40
BUSY_AT_ONCE = 22


async def dial_one_by_one(running: Daemon) -> list[float]:
    latencies_s = []
    async with running.desk() as desk:
        for _ in range(CALLS):
            call_id = await desk.enqueue(number(BUSY_AT_ONCE))
            committed_s = time.time()
            await desk.until_ended(call_id)
            latencies_s.append(desk.stand_in.ledger.dials()[-1].received_at_s - committed_s)
            await asyncio.sleep(0.2)
    return latencies_s


def test_measure(daemon: Daemon) -> None:
    latencies_s = asyncio.run(dial_one_by_one(daemon))
    for share, name in ((0.50, "p50"), (0.95, "p95")):
        value = f"{percentile(latencies_s, share) * 1000:.0f} ms"
        print(f"\nlivekit  | {f'enqueue to dial request, {name}':<38} | {value:>12} | ", end="")
    print(f"\nlivekit  | {'calls measured':<38} | {len(latencies_s):>12} | ")
