"""How fast calls are queued, by the SQL function and by file, and what claim and finish feel of it."""

from __future__ import annotations

import asyncio
import json
import time

import asyncpg

from tests.bench.queue.layout import Layout, drop_database, furnish, new_database, quantile
from tests.bench.queue.ours import Claimant

BATCH = 1_000
ENQUEUES = 60_000
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
        ("calls queued a second by the SQL function, 1,000 at once", f"{rate:,.0f}", f"at least {LEAST:,}"),
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
    connection = await asyncpg.connect(url)
    statement = await connection.prepare("SELECT count(*) FILTER (WHERE created) FROM enqueue_calls($1::jsonb)")
    batches = [_batch(first) for first in range(0, total, BATCH)]
    rates = []
    for batch in batches:
        started = time.perf_counter()
        created = await statement.fetchval(batch)
        rates.append(BATCH / (time.perf_counter() - started))
        if created != BATCH:
            raise RuntimeError(f"{BATCH - created} calls were not queued")
    await connection.close()
    return quantile(rates, 0.5)


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
