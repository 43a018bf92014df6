"""Who gets the slots when there are not enough: weights 1, 2, 1, 1, and one account with 50,000 urgent calls.

Time is counted in ends of calls, not in seconds: each round ends calls at random and claims again, as it is when calls take as
long as they take.
"""

from __future__ import annotations

import random

import asyncpg

from tests.bench.queue.layout import Layout, drop_database, furnish, new_database
from tests.bench.queue.ours import Claimant

WEIGHTS = (1.0, 2.0, 1.0, 1.0)
CHANNELS = 100
ROUNDS = 2_000
MOST_OFF = 0.05
SEED = 4
Rows = list[tuple[str, str, str]]


async def run(server_url: str) -> Rows:
    """Rows of (what, measured, wanted)."""
    url = await new_database(server_url, "fairness")
    await furnish(url, Layout(calls=50_000, accounts=4, groups=1, trunks_per_group=1, channels=CHANNELS))
    connection = await asyncpg.connect(url)
    for number, weight in enumerate(WEIGHTS, start=1):
        await connection.execute(
            "UPDATE account_slots SET max_concurrent = 1000, weight = $2 WHERE account_id = $1", number, weight
        )
    # The urgent ones are of account 1; the others have ordinary calls.
    await connection.execute(
        """SET session_replication_role = replica;
           INSERT INTO calls (account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, priority, state,
                              run_at,
                              expires_at, window_from, window_until, hours_version)
           SELECT 1, 1, 1, '', '+1' || (3125550000 + g), 'agent', 100, 'ready', now() - interval '1 day',
                  now() + interval '1 day',
                  now() - interval '1 day', now() + interval '30 days', 1
             FROM generate_series(1, 50000) g;
           UPDATE lanes SET ready = ready + 50000, urgent = urgent + 50000 WHERE account_id = 1"""
    )
    await connection.close()
    off = await _shares(url)
    await drop_database(server_url, "fairness")
    return [("most that a share of slots is off its weight", f"{off:.1%}", f"at most {MOST_OFF:.0%}")]


async def _shares(url: str) -> float:
    """The largest relative difference between an account's mean slots and its weight's part of all."""
    claimant = await Claimant.open(url)
    chance = random.Random(SEED)
    live = []
    held = dict.fromkeys(range(1, len(WEIGHTS) + 1), 0)
    for number in range(ROUNDS):
        live += await claimant.claim()
        if number >= ROUNDS // 10:
            for call in live:
                held[call.account_id] += 1
        chance.shuffle(live)
        ending = chance.randint(1, 20)
        await claimant.finish(live[:ending])
        live = live[ending:]
    await claimant.finish(live)
    await claimant.close()
    total = sum(held.values())
    wanted = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    return max(abs(held[number] / total / part - 1) for number, part in enumerate(wanted, start=1))
