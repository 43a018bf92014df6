"""How fast calls are queued, by the SQL function and by file, and what claim and finish feel of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import asyncpg

from tests.bench.queue.layout import Layout, drop_database, furnish, new_database, quantile
from tests.bench.queue.ours import Claimant

BATCH = 1_000
ENQUEUES = 120_000
CONNECTIONS = 2
"""Of the importer: one for each core."""
LEAST = 20_000
MOST_RATIO = 2.0
CLAIMS = 400
CLAIM_PAUSE_S = 0.02
"""A daemon claims when there is something to claim, not in a closed loop that would itself take a core."""
Rows = list[tuple[str, str, str]]


async def run(server_url: str) -> Rows:
    """Rows of (what, measured, wanted)."""
    url = await new_database(server_url, "feeding")
    await furnish(url, Layout(calls=200_000, accounts=2_000))
    rate = await _enqueue(url, total=ENQUEUES)
    alone = await _claims(url)
    feeding = asyncio.create_task(_enqueue_until_cancelled(url))
    await asyncio.sleep(1.0)
    beside = await _claims(url)
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    await drop_database(server_url, "feeding")
    ratio = quantile(beside, 0.99) / quantile(alone, 0.99)
    return [
        (
            f"calls queued a second by the SQL function, 1,000 at once, {CONNECTIONS} connections",
            f"{rate:,.0f}",
            f"at least {LEAST:,}",
        ),
        (
            "claim and finish of 20, p99 ms, without and during it",
            f"{quantile(alone, 0.99):.2f} and {quantile(beside, 0.99):.2f}",
            "",
        ),
        ("ratio of the p99", f"{ratio:.2f}", f"at most {MOST_RATIO}"),
    ]


def _batch(first: int, accounts: int = 2_000) -> str:
    return json.dumps(
        [
            {
                "account": f"account-{1 + number % accounts}",
                "to_number": f"+1{4155550000 + number}",
                "agent_name": "agent",
                "metadata": {"order": number},
                "idempotency_key": f"order-{number}",
            }
            for number in range(first, first + BATCH)
        ]
    )


async def _enqueue(url: str, *, total: int) -> float:
    """Calls over the time that they took together. The requests are made before: reading a file is the importer's work."""
    batches = iter([_batch(first) for first in range(0, total, BATCH)])
    connections = [await asyncpg.connect(url) for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    await asyncio.gather(*(_enqueue_some(connection, batches) for connection in connections))
    took_s = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    return total / took_s


async def _enqueue_some(connection: asyncpg.Connection, batches: Iterator[str]) -> None:
    statement = await connection.prepare("SELECT count(*) FILTER (WHERE created) FROM enqueue_calls($1::jsonb)")
    for batch in batches:
        created = await statement.fetchval(batch)
        if created != BATCH:
            raise RuntimeError(f"{BATCH - created} calls were not queued")


async def _enqueue_until_cancelled(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        first = 10_000_000
        while True:
            await connection.fetchval("SELECT count(*) FROM enqueue_calls($1::jsonb)", _batch(first))
            first += BATCH
    finally:
        connection.terminate()


async def _claims(url: str) -> list[float]:
    claimant = await Claimant.open(url)
    took_ms = []
    for _ in range(CLAIMS):
        started = time.perf_counter()
        await claimant.claim_and_finish()
        took_ms.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(CLAIM_PAUSE_S)
    await claimant.close()
    return took_ms
