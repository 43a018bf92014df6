"""How fast calls are queued, by the SQL function and by file, and what claim and finish feel of it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

import asyncpg

from tests.bench.queue.layout import Layout, drop_database, furnish, new_database, quantile
from tests.bench.queue.ours import Claimant

BATCH = 1_000
ENQUEUES = 120_000
CONNECTIONS = 2
"""Of the importer: one for each core."""
LEAST = 20_000
MOST_RATIO = 2.0
PAIRS = 3
CLAIMS = 600
CLAIM_PAUSE_S = 0.01
"""A daemon claims when there is something to claim, not in a closed loop that would itself take a core."""
Rows = list[tuple[str, str, str]]


async def run(server_url: str) -> Rows:
    """Rows of (what, measured, wanted)."""
    url = await new_database(server_url, "feeding")
    await furnish(url, Layout(calls=200_000, accounts=2_000))
    rate = await _enqueue(url, total=ENQUEUES)
    pairs = [await _pair(url) for _ in range(PAIRS)]
    await drop_database(server_url, "feeding")
    ratio, alone_ms, beside_ms, fed = sorted(pairs)[PAIRS // 2]
    return [
        (
            f"calls queued a second by the SQL function, 1,000 at once, {CONNECTIONS} connections",
            f"{rate:,.0f}",
            f"at least {LEAST:,}",
        ),
        (
            f"claim and finish of 20, p99 ms, without and while another process queues {fed:,.0f} calls a second",
            f"{alone_ms:.2f} and {beside_ms:.2f}",
            "",
        ),
        (
            f"ratio of the p99, median of {PAIRS} pairs (least and most)",
            f"{ratio:.2f} ({min(pairs)[0]:.2f}, {max(pairs)[0]:.2f})",
            f"at most {MOST_RATIO}",
        ),
    ]


async def _pair(url: str) -> tuple[float, float, float, float]:
    """Of one pair: the ratio of the p99, the p99 in ms without and beside an importer, and how many a second that queued."""
    alone = quantile(await _claims(url), 0.99)
    beside, fed = await _claims_while_feeding(url)
    p99_ms = quantile(beside, 0.99)
    return p99_ms / alone, alone, p99_ms, fed


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


async def _claims_while_feeding(url: str) -> tuple[list[float], float]:
    """What claims take in ms beside an importer that queues LEAST calls a second, and how many it really queued."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    importer = context.Process(target=_import, args=(url, theirs), daemon=True)
    importer.start()
    try:
        await asyncio.to_thread(ours.recv)  # it is up to speed
        took_ms = await _claims(url)
        ours.send("stop")
        rate: float = await asyncio.to_thread(ours.recv)
    finally:
        importer.terminate()
        importer.join(timeout=10)
    return took_ms, rate


def _import(url: str, told: Connection) -> None:
    """An importer of its own process, as importers are."""
    asyncio.run(_feed(url, told))


async def _feed(url: str, told: Connection) -> None:
    """Queue LEAST calls a second, or as many as can be, until told to stop; says when it has begun, and its rate."""
    batches = _batches(10_000_000)
    started = time.perf_counter()
    queued = 0

    async def queue(connection: asyncpg.Connection, offset: int) -> None:
        nonlocal queued
        due = started + offset * BATCH / LEAST
        while not told.poll():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await connection.fetchval("SELECT count(*) FROM enqueue_calls($1::jsonb)", next(batches))
            queued += BATCH
            due += CONNECTIONS * BATCH / LEAST

    connections = [await asyncpg.connect(url) for _ in range(CONNECTIONS)]
    feeding = asyncio.gather(*(queue(connection, offset) for offset, connection in enumerate(connections)))
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(feeding), 1.0)
    started_s, queued_before = time.perf_counter(), queued
    told.send("begun")
    await feeding
    told.send((queued - queued_before) / (time.perf_counter() - started_s))


def _batches(first: int) -> Iterator[str]:
    while True:
        yield _batch(first)
        first += BATCH


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
