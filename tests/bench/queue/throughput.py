"""Claim and finish with 1,000,000 calls waiting in 2,000 accounts of which half are at their limit, beside the peers."""

from __future__ import annotations

from tests.bench.queue.layout import Layout, drop_database, fill_accounts, furnish, new_database
from tests.bench.queue.ours import BareClaimant, Claimant, check_counters
from tests.bench.queue.peers import PgQueuer, Procrastinate
from tests.bench.queue.rate import Tally, measure

ACCOUNTS = 2_000
CALLS = 1_000_000
WORKERS = 4
WARM_S = 3.0
FOR_S = 15.0
LEAST = 10_000
Rows = list[tuple[str, str, str]]


async def run(server_url: str, *, calls: int = CALLS) -> Rows:
    """Rows of (what, measured, wanted)."""
    ours = await _ours(server_url, BareClaimant, calls=calls)
    stored = await _ours(server_url, Claimant, calls=calls)
    rows: Rows = [
        (f"claim and finish, calls/s: ours, {BareClaimant.batch} at a time", f"{ours.median:,.0f}", f"at least {LEAST:,}"),
        (
            "claim and finish, calls/s: ours through the store, 20 at a time, with all to conduct them",
            f"{stored.median:,.0f}",
            "",
        ),
    ]
    for peer, least in ((PgQueuer, 3), (Procrastinate, 10)):
        for limited in (True, False):
            tally = await _peer(server_url, peer, calls=calls, limited=limited)
            how = "with a limit for each account" if limited else "without any limit"
            rows.append((f"claim and finish, calls/s: {peer.name}, {how}", _shown(tally), ""))
            ratio = ours.median / tally.median if tally.median else float("inf")
            rows.append((f"ours to {peer.name}, {how}", f"{ratio:,.1f}", f"at least {least}"))
    return rows


async def _ours(server_url: str, claimer: type[BareClaimant | Claimant], *, calls: int) -> Tally:
    url = await new_database(server_url, "ours")
    await furnish(url, Layout(calls=calls, accounts=ACCOUNTS))
    await fill_accounts(url, where="a.id % 2 = 0")
    claimants = [await claimer.open(url) for _ in range(WORKERS)]
    tally = await measure([claimant.claim_and_finish for claimant in claimants], warm_s=WARM_S, for_s=FOR_S)
    for claimant in claimants:
        await claimant.close()
    await check_counters(url)
    await drop_database(server_url, "ours")
    return tally


async def _peer(server_url: str, peer: type[PgQueuer | Procrastinate], *, calls: int, limited: bool) -> Tally:
    url = await new_database(server_url, "peer")
    queue = peer(url=url, accounts=ACCOUNTS, limited=limited)
    await queue.fill(calls=calls, full_every=2)
    tally = await measure(await queue.steps(WORKERS), warm_s=WARM_S, for_s=FOR_S)
    await queue.close()
    await drop_database(server_url, "peer")
    return tally


def _shown(tally: Tally) -> str:
    return f"{tally.median:,.0f}" if tally.calls else f"none in {tally.took_s:.0f} s"
