"""What a claim of 20 calls costs with 10,000 and with 1,000,000 ready calls, over 2,000 accounts and 20 trunks.

    python tests/bench/bench_claim.py

Prints the median and the 99th percentile through QueueStore.claim_calls (one round trip, 20 complete calls), and the ratio of
the medians, which should be at most 1.5. The server is the embedded one with fsync off: the figures are the statement's own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).parents[2]))

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.ends import EndsStore
from orchestrator.store.migrations import migrate
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import Outcome
from orchestrator.store.workers import WorkerStore
from sip.events import Dialled

ACCOUNTS = 2_000
TRUNKS = 20
SIZES = (10_000, 1_000_000)
CLAIM_OF = 20
CLAIMS = 200
WARM_UP = 20
MOST_RATIO = 1.5
# Seeding a million rows takes a minute, a claim a millisecond.
COMMAND_TIMEOUT_S = 600.0

END = Outcome(state=State.NOT_CONNECTED, reason=EndReason.USER_BUSY, dialled=Dialled.NO)

SEED = f"""
INSERT INTO trunks (name, sip_trunk_id) SELECT 'trunk-' || t, 'ST_' || t FROM generate_series(1, {TRUNKS}) t;
INSERT INTO trunk_channels (trunk_id, max_channels, max_cps) SELECT id, 100000, 10000 FROM trunks;
INSERT INTO trunk_groups (name) SELECT name FROM trunks ORDER BY id;
INSERT INTO trunk_group_members (trunk_group_id, trunk_id) SELECT t, t FROM generate_series(1, {TRUNKS}) t;
INSERT INTO accounts (name, country, trunk_group_id)
SELECT 'account-' || a, 'US', 1 + a % {TRUNKS} FROM generate_series(1, {ACCOUNTS}) a;
INSERT INTO account_slots (account_id, max_concurrent) SELECT id, 10 FROM accounts;
"""

# Due times are random, so that the heads of the lanes lie all over the table. As a replica, it skips the foreign keys' checks.
SEED_CALLS = f"""
SET session_replication_role = replica;
INSERT INTO calls (account_id, trunk_group_id, request_digest, to_number, agent_name, priority, state, created_at, run_at,
                   expires_at)
SELECT a, 1 + a % {TRUNKS}, '', '+12125550100', 'agent', (g % 17 = 0)::integer, 'ready', now() - interval '2 h',
       now() - random() * interval '1 h', now() + interval '1 day'
  FROM (SELECT g, 1 + g % {ACCOUNTS} AS a FROM generate_series(1, :ready) g) g;
INSERT INTO lanes (account_id, trunk_group_id, ready, share, has_room, last_claim_at)
SELECT account_id, trunk_group_id, count(*), 0, true, '-infinity' FROM calls GROUP BY account_id, trunk_group_id;
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the table."""

    ready: int
    median_ms: float
    p99_ms: float
    calls: float
    """Mean number that a claim returned."""


async def seed(url: str, ready: int) -> None:
    """A migrated database of `ready` ready calls."""
    database = Database(url, command_timeout_s=COMMAND_TIMEOUT_S)
    await migrate(database)
    connection = await database.connect()
    await connection.execute(SEED)
    await connection.execute(SEED_CALLS.replace(":ready", str(ready)))
    await connection.execute("VACUUM (ANALYZE)")
    await connection.close()


class Queue:
    """One database, and how long its claims took."""

    def __init__(self, *, database: Database, store: QueueStore, ready: int) -> None:
        self._database = database
        self._store = store
        self._ends = EndsStore(database=database)
        self._ready = ready
        self._took_ms: list[float] = []
        self._calls = 0

    @classmethod
    async def open(cls, url: str, ready: int) -> Queue:
        """With one connection, as one claimer has."""
        database = Database(url, min_size=1, max_size=1)
        await database.open()
        worker_id = await WorkerStore(database=database).register(name="bench", version="0", capacity=CLAIM_OF)
        return cls(database=database, store=QueueStore(database=database, worker_id=worker_id), ready=ready)

    async def claim(self, *, warm: bool) -> None:
        """One claim, then the ends of its calls, which are not timed."""
        started = time.perf_counter()
        claimed = await self._store.claim_calls(CLAIM_OF)
        if warm:
            self._took_ms.append((time.perf_counter() - started) * 1000)
            self._calls += len(claimed)
        for call in claimed:
            if not (await self._ends.finish(call, END)).ours:
                raise RuntimeError(f"call {call.call_id} could not be ended")

    async def close(self) -> Figures:
        """Check that the counters are right, and sum up."""
        drift = await self._store.counter_drift()
        if drift.total:
            raise RuntimeError(f"counters are wrong: {drift}")
        await self._database.close()
        took_ms = sorted(self._took_ms)
        return Figures(
            ready=self._ready,
            median_ms=took_ms[len(took_ms) // 2],
            p99_ms=took_ms[int(len(took_ms) * 0.99)],
            calls=self._calls / len(took_ms),
        )


async def run() -> list[Figures]:
    """Both sizes on one server, claim by claim in turn, so that whatever else the machine does slows both."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        settings = {"shared_buffers": "1GB", "max_wal_size": "8GB", "maintenance_work_mem": "256MB"}
        async with EmbeddedPostgres(Path(directory) / "pg", durable=False, settings=settings) as url:
            queues = []
            for ready in SIZES:
                own_url = urlunsplit(urlsplit(url)._replace(path=f"/bench_{ready}"))
                connection = await Database(url).connect()
                await connection.execute(f"CREATE DATABASE bench_{ready}")
                await connection.close()
                await seed(own_url, ready)
                queues.append(await Queue.open(own_url, ready))
            for number in range(WARM_UP + CLAIMS):
                for queue in queues:
                    await queue.claim(warm=number >= WARM_UP)
            return [await queue.close() for queue in queues]


def main() -> int:
    """Print the table; 1 if the ratio is too high."""
    figures = asyncio.run(run())
    print(f"claim of {CLAIM_OF}, {ACCOUNTS:,} accounts, {TRUNKS} trunks")
    print(f"{'ready calls':>12} {'median ms':>10} {'p99 ms':>8} {'calls':>6}")
    for line in figures:
        print(f"{line.ready:12,} {line.median_ms:10.2f} {line.p99_ms:8.2f} {line.calls:6.1f}")
    ratio = figures[-1].median_ms / figures[0].median_ms
    print(f"ratio of the medians {ratio:.2f}, at most {MOST_RATIO} wanted")
    return 0 if ratio <= MOST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
