"""What a claim costs as the queue grows: 50,000 calls in 2,000 accounts beside 5,000,000 in 20,000, claim by claim in turn."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import asyncpg

from tests.bench.queue.layout import SEEDING_TIMEOUT_S, Layout, drop_database, furnish, new_database, quantile
from tests.bench.queue.ours import BATCH, Claimant

SMALL = Layout(calls=50_000, accounts=2_000)
LARGE = Layout(calls=5_000_000, accounts=20_000)
FUTURE = 200_000
CLAIMS = 100
WARM_UP = 10
"""Few enough that the small queue, of which a tenth can move where the rest is blocked, gives 20 calls to each claim."""
MOST_RATIO = 1.5
SNAPSHOT_CLAIMS = 40_000
SNAPSHOT_FOR_S = 180.0
"""Under a held snapshot claims get slower and slower: it stops here, and says how far it came."""
Rows = list[tuple[str, str, str]]


async def measure(server_url: str, *, scale: float = 1.0) -> Rows:
    """Rows of (what, measured, wanted). `scale` makes the large layout smaller, for trying the bench itself."""
    rows: Rows = []
    large = replace(LARGE, calls=int(LARGE.calls * scale))
    small_url, large_url = await _both(server_url, SMALL, large)
    rows += await _compare("plain", small_url, large_url)
    for url in (small_url, large_url):
        await _add_future(url)
    rows += await _compare(f"with {FUTURE:,} future calls", small_url, large_url)
    for url in (small_url, large_url):
        await _fill_trunks(url)
    rows += await _compare("90 % of the lanes behind full trunks", small_url, large_url)
    for url in (small_url, large_url):
        await _free_trunks(url)
    rows += await _under_a_snapshot(large_url, claims=int(SNAPSHOT_CLAIMS * scale))
    small_url, large_url = await _both(server_url, replace(SMALL, whale=0.9), replace(large, whale=0.9))
    rows += await _compare("one account has 90 % of the queue", small_url, large_url)
    for name in ("small", "large"):
        await drop_database(server_url, name)
    return rows


async def _both(server_url: str, small: Layout, large: Layout) -> tuple[str, str]:
    urls = []
    for name, layout in (("small", small), ("large", large)):
        url = await new_database(server_url, name)
        await furnish(url, layout)
        urls.append(url)
    return urls[0], urls[1]


async def _compare(what: str, small_url: str, large_url: str) -> Rows:
    claimants = [await Claimant.open(url) for url in (small_url, large_url)]
    took_ms: list[list[float]] = [[], []]
    claimed = 0
    for number in range(WARM_UP + CLAIMS):
        for claimant, took in zip(claimants, took_ms, strict=True):
            started = time.perf_counter()
            calls = await claimant.claim()
            if number >= WARM_UP:
                took.append((time.perf_counter() - started) * 1000)
                claimed += len(calls)
            await claimant.finish(calls)
    for claimant in claimants:
        await claimant.close()
    if claimed < 2 * CLAIMS * BATCH * 0.9:
        raise RuntimeError(f"{what}: the claims returned {claimed} calls, not {2 * CLAIMS * BATCH}: the queue ran dry")
    medians = [quantile(took, 0.5) for took in took_ms]
    print(f"{what}: ratio {medians[1] / medians[0]:.2f}", file=sys.stderr, flush=True)  # the section takes many minutes
    shown = " and ".join(f"{quantile(took, 0.5):.2f} (p99 {quantile(took, 0.99):.2f})" for took in took_ms)
    return [
        (f"claim of 20, small and large, ms: {what}", shown, ""),
        (f"ratio of the medians: {what}", f"{medians[1] / medians[0]:.2f}", f"at most {MOST_RATIO}"),
    ]


async def _under_a_snapshot(url: str, *, claims: int) -> Rows:
    """The dead versions that the claims leave cannot be cleaned up while somebody's snapshot is older than they are."""
    holder = await asyncpg.connect(url)
    transaction = holder.transaction(isolation="repeatable_read")
    await transaction.start()
    await holder.fetchval("SELECT count(*) FROM accounts")
    claimant = await Claimant.open(url)
    took_ms: list[float] = []
    until_s = time.perf_counter() + SNAPSHOT_FOR_S
    while len(took_ms) < claims and time.perf_counter() < until_s:
        started = time.perf_counter()
        calls = await claimant.claim()
        took_ms.append((time.perf_counter() - started) * 1000)
        await claimant.finish(calls)
    await claimant.close()
    await transaction.rollback()
    await holder.close()
    part = max(1, len(took_ms) // 40)
    first, last = took_ms[:part], took_ms[-part:]
    return [
        (
            f"claim of 20 under a snapshot held for {len(took_ms):,} claims, ms: first and last fortieth",
            f"{quantile(first, 0.5):.2f} and {quantile(last, 0.5):.2f}",
            "",
        )
    ]


async def _run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, command_timeout=SEEDING_TIMEOUT_S)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def _add_future(url: str) -> None:
    await _run(
        url,
        "SET session_replication_role = replica",
        f"""INSERT INTO calls (account_id, trunk_group_id, request_digest, to_number, agent_name, run_at, expires_at)
            SELECT a.id, a.trunk_group_id, '', '+1' || (3125550000 + g), 'agent',
                   now() + interval '1 h' + random() * interval '1 day',
                   now() + interval '3 days'
              FROM generate_series(1, {FUTURE}) g JOIN accounts a ON a.id = 1 + g % (SELECT count(*) FROM accounts)""",
        "VACUUM (ANALYZE) calls",
    )


async def _fill_trunks(url: str) -> None:
    await _run(
        url,
        """UPDATE trunk_channels SET max_channels = channels + 1, channels = channels + 1
            WHERE trunk_id <= (SELECT count(*) * 9 / 10 FROM trunks)""",
    )


async def _free_trunks(url: str) -> None:
    await _run(
        url,
        """UPDATE trunk_channels SET max_channels = 100000, channels = channels - 1
            WHERE trunk_id <= (SELECT count(*) * 9 / 10 FROM trunks)""",
    )
