"""Exact limits under everything at once: 12 claimers, producers, cancelers, stagers, an expirer and an operator, on few rows.

Accounts with slots reserved for urgent calls, trunks that are each other's overflow, agent pools with a capacity that is set,
taken away and set again, circuits that open and are probed, calling windows that close.

ORCHESTRATOR_TEST_STRESS_S says for how long (3 s; CI: 10 s).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from orchestrator.errors import BadInput
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.accounts import AccountStore
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.calls import CallStore
from orchestrator.store.ends import EndsStore
from orchestrator.store.gate import GateStore
from orchestrator.store.placements import DueCall, Placement
from orchestrator.store.policy import AccountChange, NewAccount, NewTrunk
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall, DialForbidden, DialGranted, Outcome, WaitingFor
from orchestrator.store.switches import SwitchStore
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.views import NewCall
from orchestrator.store.workers import WorkerStore
from sip.events import Dialled

SECONDS = float(os.environ.get("ORCHESTRATOR_TEST_STRESS_S", "3"))
MOST_MORE_S = 60.0
STEPS = (
    "claimed",
    "requeued",
    "rang nowhere",
    "answered",
    "ended",
    "not connected",
    "canceled",
    "requested",
    "staged",
    "held outside their window",
    "windows closed",
    "capacities changed",
    "circuits closed",
    "stopped and resumed",
    "expired",
)
"""What must have happened for the test to mean anything."""
CLAIMERS = 12
ACCOUNTS = 30
STEADY = 15
"""The accounts up to here keep their limits, so that the limit of each can be held against it at any moment."""
HIGHEST_LIMIT = 4
TRUNKS = 6
CHANNELS = 6
CPS = 40
POOLS = 4
PLACES = 8
"""Capacity of the first two agent pools; that of the others changes."""

NO_ANSWER = Outcome(state=State.NOT_CONNECTED, reason=EndReason.USER_DID_NOT_PICK_UP, dialled=Dialled.YES)
TALKED = Outcome(state=State.ENDED, reason=EndReason.AGENT_HUNG_UP, dialled=Dialled.YES)

OVER_LIMIT = """
WITH live AS MATERIALIZED (
    SELECT id, account_id, trunk_id, route_id, priority FROM calls WHERE state IN ('claimed', 'dialing', 'ringing', 'active')
)
SELECT (SELECT count(*) FROM (SELECT account_id, count(*) AS n FROM live GROUP BY 1) l JOIN account_slots a USING (account_id)
         WHERE l.n > CASE WHEN a.account_id <= $1 THEN a.max_concurrent ELSE $2 END) AS accounts,
       (SELECT count(*) FROM (SELECT account_id, count(*) AS n FROM live WHERE priority <= 0 GROUP BY 1) l
          JOIN account_slots a USING (account_id)
         WHERE a.account_id <= $1 AND l.n > a.max_concurrent - a.reserved) AS reserves,
       (SELECT count(*) FROM (SELECT count(*) AS n FROM live l JOIN routes r ON r.id = l.route_id
                               WHERE r.agent_pool_id <= 2 GROUP BY r.agent_pool_id) l
         WHERE l.n > $3) AS pools,
       (SELECT count(*) FROM (SELECT trunk_id, count(*) AS n FROM live GROUP BY 1) l JOIN trunk_channels t USING (trunk_id)
         WHERE l.n > t.max_channels) AS trunks
"""


class Storm:
    """All who work on the database at once, and what went wrong."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.calls = CallStore(database=database)
        self.accounts = AccountStore(database=database)
        self.faults: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.seen: set[tuple[CallId, int]] = set()
        self.held: dict[CallId, ClaimedCall] = {}
        self.queues: list[QueueStore] = []
        self.stop_at = 0.0

    async def furnish(self) -> None:
        connection = await self.database.connect()
        await connection.execute(
            "INSERT INTO agent_pools (name, capacity) SELECT 'agent-' || p, CASE WHEN p <= 2 THEN $2::integer END"
            " FROM generate_series(1, $1::integer) p",
            POOLS,
            PLACES,
        )
        await connection.close()
        trunks = TrunkStore(database=self.database)
        for number in range(TRUNKS):
            await trunks.create(
                NewTrunk(name=f"t{number}", sip_trunk_id=f"ST_{number}", max_channels=CHANNELS, max_cps=CPS, dial_slack_ms=0)
            )
        # Each trunk is also the overflow of its neighbour's group: the groups overlap in a ring.
        connection = await self.database.connect()
        await connection.execute(
            "INSERT INTO trunk_group_members SELECT g, 1 + g % $1, 2, 1 FROM generate_series(1, $1) g", TRUNKS
        )
        await connection.close()
        for number in range(1, ACCOUNTS + 1):
            await self.accounts.create(
                NewAccount(
                    name=f"a{number}",
                    country="US",
                    agent_name="agent-1",
                    calling_hours=("always",),
                    max_concurrent=1 + number % HIGHEST_LIMIT,
                    reserved=int(number % 3 == 0),
                    weight=1.0 + number % 3,
                    trunk=f"t{number % TRUNKS}",
                )
            )
        workers = WorkerStore(database=self.database)
        for number in range(CLAIMERS):
            worker_id = await workers.register(name=f"w{number}", version="0", capacity=100)
            self.queues.append(QueueStore(database=self.database, worker_id=worker_id))
        self.gate = GateStore(database=self.database)
        self.ends = EndsStore(database=self.database)
        self.agents = AgentPoolStore(database=self.database)

    @property
    def lasts(self) -> bool:
        """For its time, and on a busy machine for longer, until all that it is to try has happened."""
        now_s = time.monotonic()
        return now_s < self.stop_at or (now_s < self.stop_at + MOST_MORE_S and any(not self.done[step] for step in STEPS))

    async def conductor(self, queue: QueueStore) -> None:
        mine: list[ClaimedCall] = []
        while self.lasts:
            for call in await queue.claim_calls(random.randint(1, 20)):
                key = (call.call_id, call.epoch)
                self.faults["claimed twice"] += key in self.seen or call.call_id in self.held
                self.seen.add(key)
                self.held[call.call_id] = call
                self.done["claimed"] += 1
                mine.append(call)
            random.shuffle(mine)
            for _ in range(random.randint(0, 6)):
                if mine:
                    await self.conduct(queue, mine.pop(), mine)
            await asyncio.sleep(random.uniform(0, 0.004))

    async def conduct(self, queue: QueueStore, call: ClaimedCall, mine: list[ClaimedCall]) -> None:
        if random.random() < 0.1:
            stale = dataclasses.replace(call, epoch=call.epoch - 1)
            self.faults["stale finish accepted"] += (await self.ends.finish(stale, NO_ANSWER)).ours
        # Whoever else claims it after our commit must not find it in `held`; before the commit nobody can.
        del self.held[call.call_id]
        if random.random() < 0.2:
            self.must(
                await self.ends.requeue(call, delay_s=random.choice([0, 0.05]), waiting_for=WaitingFor.AGENT, detail={}),
                "requeued",
            )
            return
        answer = await self.gate.begin_dial(call, room=f"r-{call.call_id}-{call.epoch}", caller_ids=())
        if isinstance(answer, DialForbidden):
            back = await self.ends.requeue(call, delay_s=0.05, waiting_for=WaitingFor.SLOT, detail={})
            self.must(back, "refused at the gate")
            return
        self.must(isinstance(answer, DialGranted), "dialled")
        if random.random() < 0.2:
            back = await self.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={})
            self.must(back, "rang nowhere")
            return
        self.must(await queue.record_ringing(call, pdd_ms=1, detail={}), "rang")
        if random.random() < 0.5:
            self.must(await queue.record_answer(call, ring_ms=1, ring_error_ms=0, ids={}, detail={}), "answered")
            self.must((await self.ends.finish(call, TALKED)).ours, "ended")
        else:
            self.must((await self.ends.finish(call, NO_ANSWER)).ours, "not connected")

    def must(self, done: bool, what: str) -> None:
        self.done[what] += 1
        self.faults[f"{what}: the claim was not ours"] += not done

    async def producer(self) -> None:
        while self.lasts:
            now = datetime.now(UTC)
            batch = [
                NewCall(
                    account=f"a{random.randint(1, ACCOUNTS)}",
                    to=f"+1212555{random.randint(0, 9999):04}",
                    trunk=f"t{random.randrange(TRUNKS)}",
                    agent_name=f"agent-{random.randint(1, POOLS)}",
                    priority=random.randint(-1, 2),
                    run_at=now + timedelta(seconds=random.choice([-1, 0.2])),
                    expires_at=now + timedelta(seconds=random.choice([0.4, 60])),
                )
                for _ in range(random.randint(1, 12))
            ]
            try:
                self.done["enqueued"] += len(await self.calls.enqueue(batch))
            except BadInput as refused:  # the database was so busy that the batch came after its own expiry
                if "is in the past" not in str(refused):
                    raise
                self.done["came too late"] += 1
            await asyncio.sleep(0.015)

    async def canceler(self) -> None:
        connection = await self.database.connect()
        while self.lasts:
            rows = await connection.fetch(
                "SELECT id FROM calls WHERE account_id = $1 AND ended_at IS NULL ORDER BY random() LIMIT 3",
                random.randint(1, ACCOUNTS),
            )
            for row in rows:
                self.done[(await self.calls.request_cancel(row["id"])).value] += 1
            await asyncio.sleep(0.02)
        await connection.close()

    async def stager(self, queue: QueueStore) -> None:
        while self.lasts:
            due = await queue.due_calls(50)
            staged = await queue.stage(due, [self.place(call) for call in due])
            self.done["staged"] += staged.ready
            self.done["held outside their window"] += staged.held
            self.done["windows closed"] += await queue.close_windows(50)
            await asyncio.sleep(0.02)

    def place(self, call: DueCall) -> Placement:
        """Most may be called at any time; for some the window is short or opens later."""
        opens_s, lasts_s = random.choice([(-60, 3600), (-60, 3600), (-60, 3600), (-1, 1.1), (0.2, 60)])
        return Placement(
            call_id=call.call_id,
            window_from=call.asked_at + timedelta(seconds=opens_s),
            window_until=call.asked_at + timedelta(seconds=opens_s + lasts_s),
            hours_version=call.account_version,
            time_zone="UTC",
        )

    async def agency(self) -> None:
        """Sets and takes away capacities, pauses pools, opens circuits, which close when their probe ends."""
        connection = await self.database.connect()
        while self.lasts:
            number = random.randint(3, POOLS)
            await self.agents.set_capacity(f"agent-{number}", random.choice([None, 3, 10]))
            await self.agents.pause(f"agent-{number}", paused=random.random() < 0.2)
            self.done["capacities changed"] += 1
            table, key = random.choice([("agent_pools", POOLS), ("trunk_channels", TRUNKS)])
            column = "id" if table == "agent_pools" else "trunk_id"
            closed = await connection.execute(
                f"UPDATE {table} SET circuit_until = NULL, circuit_opened_at = NULL, probe_call_id = NULL, probe_until = NULL"  # noqa: S608
                " WHERE circuit_until < now() AND (probe_call_id IS NOT NULL OR circuit_until < now() - interval '100 ms')",
            )
            self.done["circuits closed"] += closed != "UPDATE 0"
            await connection.execute(
                f"UPDATE {table} SET circuit_until = now() + interval '30 ms', circuit_opened_at = now()"  # noqa: S608
                f" WHERE {column} = $1 AND circuit_until IS NULL",
                random.randint(1, key),
            )
            await asyncio.sleep(0.03)
        await connection.close()

    async def switch(self) -> None:
        """Now and then everything is stopped for a moment."""
        switches = SwitchStore(database=self.database)
        while self.lasts:
            await asyncio.sleep(0.5)
            await switches.stop("test")
            await asyncio.sleep(0.02)
            self.done["stopped and resumed"] += await switches.resume()

    async def expirer(self, queue: QueueStore) -> None:
        while self.lasts:
            self.done["expired"] += len(await queue.expire_calls(50))
            await asyncio.sleep(0.03)

    async def operator(self) -> None:
        while self.lasts:
            name = f"a{random.randint(STEADY + 1, ACCOUNTS)}"
            change = AccountChange(
                max_concurrent=random.randint(1, HIGHEST_LIMIT),
                weight=float(random.randint(1, 3)),
                paused=random.random() < 0.1,
            )
            await self.accounts.update(name, change)
            self.done["limits changed"] += 1
            await asyncio.sleep(0.02)

    async def probe(self, queue: QueueStore) -> None:
        connection = await self.database.connect()
        while self.lasts:
            over = await connection.fetchrow(OVER_LIMIT, STEADY, HIGHEST_LIMIT, PLACES)
            assert over is not None
            self.faults["accounts over their limit"] += over["accounts"]
            self.faults["reserved slots taken by calls that are not urgent"] += over["reserves"]
            self.faults["trunks over their channels"] += over["trunks"]
            self.faults["agent pools over their capacity"] += over["pools"]
            self.faults["counter drift"] += (await queue.counter_drift()).total
            self.done["probes"] += 1
            await asyncio.sleep(0.05)
        await connection.close()

    async def rage(self, seconds: float) -> None:
        self.stop_at = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for queue in self.queues:
                tasks.create_task(self.conductor(queue))
            for _ in range(3):
                tasks.create_task(self.producer())
            for _ in range(2):
                tasks.create_task(self.canceler())
                tasks.create_task(self.stager(self.queues[0]))
            tasks.create_task(self.expirer(self.queues[0]))
            tasks.create_task(self.operator())
            tasks.create_task(self.agency())
            tasks.create_task(self.switch())
            tasks.create_task(self.probe(self.queues[0]))


@pytest.fixture
async def storm(database_url: str):
    database = Database(database_url, min_size=4, max_size=24, command_timeout_s=30)
    await database.open()
    storm = Storm(database)
    await storm.furnish()
    yield storm
    await database.close()


async def test_limits_are_exact_under_12_claimers_and_everything_else_at_once(storm: Storm):
    deadlocks_before = await deadlocks(storm.database)
    await storm.rage(SECONDS)
    storm.faults["counter drift"] += (await storm.queues[0].counter_drift()).total
    storm.faults["deadlocks"] += await deadlocks(storm.database) - deadlocks_before
    storm.faults["dials faster than the trunk's pace"] += await pace_breaches(storm.database)
    print(dict(storm.done))
    assert +storm.faults == {}
    for happened in STEPS:
        assert storm.done[happened] > 0, f"the test did not do what it should: {happened}"


async def deadlocks(database: Database) -> int:
    connection: asyncpg.Connection = await database.connect()
    try:
        return await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    finally:
        await connection.close()


async def pace_breaches(database: Database) -> int:
    """How often more than CPS dial times of one trunk lie within one second."""
    connection = await database.connect()
    rows = await connection.fetch("SELECT trunk_id, date_part('epoch', dial_at) AS at FROM dials ORDER BY dial_at")
    await connection.close()
    times = defaultdict(list)
    for row in rows:
        times[row["trunk_id"]].append(row["at"])
    return sum(
        trunk[first + CPS] - trunk[first] < 1 - 1e-6 for trunk in times.values() for first in range(max(0, len(trunk) - CPS))
    )
