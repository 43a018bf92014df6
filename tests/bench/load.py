"""One daemon under load: 200 calls a second for half a minute, 2,000 at once, on the simulated carrier at real speed."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from orchestrator.app import Daemon
from orchestrator.companion import Running
from orchestrator.settings import Settings
from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.policy import NewAccount, NewTrunk
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.views import NewCall
from sip.simulated import callees
from sip.simulated.carrier import SimulatedCarrier

STARTS_PER_S = 200
SECONDS = 30
ACCOUNTS = 20
TRUNKS = 8
LAG_INTERVAL_S = 0.01


def settings_for(directory: Path, **worker: int) -> Settings:
    return Settings.model_validate(
        {
            "database": {"data_dir": str(directory / "postgres")},
            "worker": {"max_calls": 3000, **worker},
            "simulated": {"agent_delay_s": 0.0},
            "http": {"port": 0},
        }
    )


async def furnish(running: Running, *, accounts: int) -> None:
    trunks = TrunkStore(database=running.database)
    for number in range(TRUNKS):
        await trunks.create(
            NewTrunk(
                name=f"t{number}", sip_trunk_id="ST_simulated", max_channels=1000, max_cps=100, caller_ids=("+12125550199",)
            )
        )
    store = AccountStore(database=running.database)
    for number in range(accounts):
        await store.create(
            NewAccount(
                name=f"a{number}",
                max_concurrent=500,
                country="US",
                trunk=f"t{number % TRUNKS}",
                agent_name="greeter",
                calling_hours=("always",),
                detection={"on": False},
            )
        )


class Load:
    """Queues calls at a steady pace and watches the process that conducts them."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self.most_at_once = 0
        self.most_resident_mb = 0.0
        self.dialled_in_second: list[int] = []
        self.cpu_s = 0.0

    async def accompany(self, running: Running) -> int:
        await furnish(running, accounts=ACCOUNTS)
        carrier = running.carrier
        assert isinstance(carrier, SimulatedCarrier)
        watch = asyncio.create_task(self._watch(carrier))
        calls = CallStore(database=running.database)
        started_s = time.perf_counter()
        step_s = 0.1
        for step in range(int(SECONDS / step_s)):
            await asyncio.sleep(max(0.0, started_s + step * step_s - time.perf_counter()))
            await calls.enqueue(
                [NewCall(account=f"a{(step + n) % ACCOUNTS}", to=callees.TALKS_8_S) for n in range(int(STARTS_PER_S * step_s))]
            )
        await asyncio.sleep(1.0)
        watch.cancel()
        async with asyncio.timeout(60):
            while await carrier.list_rooms():
                await asyncio.sleep(0.2)
        return 0

    async def _watch(self, carrier: SimulatedCarrier) -> None:
        process = psutil.Process()
        next_look_s = time.perf_counter()
        dialled = 0
        while True:
            before_s = time.perf_counter()
            await asyncio.sleep(LAG_INTERVAL_S)
            now_s = time.perf_counter()
            self.lags_s.append(now_s - before_s - LAG_INTERVAL_S)
            if now_s >= next_look_s:
                next_look_s = now_s + 1.0
                self.most_at_once = max(self.most_at_once, len(await carrier.list_rooms()))
                self.most_resident_mb = max(self.most_resident_mb, process.memory_info().rss / 1e6)
                self.dialled_in_second.append(len(carrier.ledger) - dialled)
                dialled = len(carrier.ledger)
                self.cpu_s = sum(process.cpu_times()[:2])


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


async def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, measured, wanted)."""
    with tempfile.TemporaryDirectory() as directory:
        load = Load()
        await Daemon(settings=settings_for(Path(directory)), companion=load.accompany, until_idle=True).run()
    return [
        ("calls at once, most", f"{load.most_at_once:,}", "2,000"),
        ("dials a second, median", f"{statistics.median(load.dialled_in_second[1:-1]):.0f}", f"{STARTS_PER_S}"),
        ("event loop lag p50", f"{percentile(load.lags_s, 0.50) * 1000:.1f} ms", ""),
        ("event loop lag p99", f"{percentile(load.lags_s, 0.99) * 1000:.1f} ms", "under 50 ms"),
        ("CPU of the process for each call", f"{load.cpu_s / (STARTS_PER_S * SECONDS) * 1000:.1f} ms", ""),
        ("resident memory, most", f"{load.most_resident_mb:.0f} MB", "under 400 MB"),
    ]
