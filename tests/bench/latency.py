"""From the commit of an enqueue to the dial request, on an idle daemon whose simulated agents are there at once."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from orchestrator.app import Daemon
from orchestrator.companion import Running
from orchestrator.store.calls import CallStore
from orchestrator.store.views import NewCall
from sip.simulated import callees
from sip.simulated.carrier import SimulatedCarrier
from tests.bench.load import furnish, percentile, settings_for

CALLS = 300
PAUSE_S = 0.05


class Latency:
    """Queues one call at a time and waits for its request to reach the carrier."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []

    async def accompany(self, running: Running) -> int:
        await furnish(running, accounts=1)
        carrier = running.carrier
        assert isinstance(carrier, SimulatedCarrier)
        calls = CallStore(database=running.database)
        await asyncio.sleep(1.0)
        for _ in range(CALLS):
            dialled = len(carrier.ledger)
            await calls.enqueue([NewCall(account="a0", to=callees.BUSY_AT_ONCE)])
            committed_s = time.perf_counter()
            async with asyncio.timeout(10):
                while len(carrier.ledger) == dialled:
                    await asyncio.sleep(0.0005)
            self.latencies_s.append(time.perf_counter() - committed_s)
            await asyncio.sleep(PAUSE_S)
        return 0


async def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, measured, wanted)."""
    with tempfile.TemporaryDirectory() as directory:
        latency = Latency()
        await Daemon(settings=settings_for(Path(directory)), companion=latency.accompany, until_idle=True).run()
    return [
        ("enqueue to dial request, idle, p50", f"{percentile(latency.latencies_s, 0.50) * 1000:.1f} ms", "under 25 ms"),
        ("enqueue to dial request, idle, p99", f"{percentile(latency.latencies_s, 0.99) * 1000:.1f} ms", "under 150 ms"),
    ]
