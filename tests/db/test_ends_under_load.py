"""Ends in batches against everything else that writes the same rows: no deadlock, nothing lost or leaked; and their plans."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import asyncpg
import pytest

from orchestrator.calls.registrar import Registrar
from orchestrator.ids import AccountId, CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.ends import COLUMNS
from orchestrator.store.policy import NewTrunk, TrunkChange
from orchestrator.store.pool import Statements
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import Aftermath, ClaimedCall, DialGranted, End, Outcome, TrunkVerdict, WaitingFor
from orchestrator.store.trunks import TrunkStore
from sip.events import Dialled
from tests.db.office import BUSY, HUNG_UP, NEVER_DIALLED, Office

CALLS = 400
ACCOUNTS = 8
TRUNKS = 3
POOLS = ("greeter", "closer")
WORKERS = 4
AT_MOST_S = 120.0
"""A storm that takes longer has stood still."""

DNC = Outcome(state=State.NOT_CONNECTED, reason=EndReason.BLOCKED_DO_NOT_CALL, dialled=Dialled.NO)
WRONG_NUMBER = Outcome(state=State.NOT_CONNECTED, reason=EndReason.SIP_FAILED_WRONG_NUMBER, dialled=Dialled.YES, sip_code=404)


WRONG = """
SELECT (SELECT count(*) FROM calls c
         WHERE 1 <> (SELECT count(*) FROM call_events e
                      WHERE e.call_id = c.id AND e.state = c.state
                        AND e.state IN ('ended', 'not_connected', 'canceled'))) AS ends,
       (SELECT count(*) FROM attempts WHERE ended_at IS NULL) AS attempts,
       (SELECT count(*) FROM dials WHERE ended_at IS NULL) AS dials,
       (SELECT count(*) FROM calls c WHERE c.attempt <> (SELECT count(*) FROM attempts t WHERE t.call_id = c.id)) AS counted,
       (SELECT count(*) FROM calls c JOIN attempts t ON t.call_id = c.id AND t.number = c.attempt
         WHERE t.end_reason <> c.end_reason
           AND c.end_reason NOT IN ('BLOCKED_DO_NOT_CALL', 'CANCELED_BY_REQUEST')) AS reasons
"""
"""I3 and I4, of calls that have all ended."""


class Storm:
    """Workers that end calls in every way at once, an operator who changes limits, and somebody who cancels."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.pools = AgentPoolStore(database=office.database)
        self.done: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.calls: list[CallId] = []
        self.over = False

    async def furnish(self) -> None:
        trunks = TrunkStore(database=self.office.database)
        for n in range(TRUNKS):
            await trunks.create(NewTrunk(name=f"t{n}", sip_trunk_id=f"ST_{n}", max_channels=30, max_cps=2000.0))
        for n in range(ACCOUNTS):
            await self.office.open_account(f"a{n}", trunk=f"t{n % TRUNKS}", agent_name=POOLS[n % 2], max_concurrent=6)
        for n in range(CALLS):
            self.calls += await self.office.enqueue(1, account=f"a{n % ACCOUNTS}", to=f"+1212{5_000_000 + n}", priority=n % 3)

    async def run(self) -> None:
        await self.furnish()
        queues = [await self.office.another_worker() for _ in range(WORKERS)]
        others = [asyncio.create_task(work()) for work in (self.stage, self.operate, self.cancel, self.count)]
        async with asyncio.timeout(AT_MOST_S):
            await asyncio.gather(*(self.work(queue) for queue in queues))
            self.over = True
            await asyncio.gather(*others)

    async def work(self, queue: QueueStore) -> None:
        registrar = Registrar(store=self.office.ends)
        running: set[asyncio.Task[None]] = set()
        while not self.over:
            for call in await queue.claim_calls(20):
                running.add(asyncio.create_task(self.conduct(queue, registrar, call)))
            ended = {task for task in running if task.done()}
            for task in ended:
                task.result()
            running -= ended
            if not running and not await self.unended():
                self.over = True
            await asyncio.sleep(0.002)
        await asyncio.gather(*running)

    async def unended(self) -> int:
        ((n,),) = await self.office.sql("SELECT count(*) FROM calls WHERE ended_at IS NULL")
        return int(n)

    async def conduct(self, queue: QueueStore, registrar: Registrar, call: ClaimedCall) -> None:
        dice = random.random()
        if dice < 0.15:
            moved = await registrar.requeue(
                call,
                delay_s=random.choice([0.0, 0.02]),
                waiting_for=WaitingFor.AGENT,
                detail={},
                agent_came=random.choice([True, None]),
            )
            self.note("requeued", moved)
            return
        if dice < 0.25:
            await self.end(registrar, call, DNC, Aftermath())
            return
        if not isinstance(
            await self.office.gate.begin_dial(call, room=f"r-{call.call_id}-{call.epoch}", caller_ids=()), DialGranted
        ):
            self.note("refused", await registrar.requeue(call, delay_s=0.01, waiting_for=WaitingFor.SLOT, detail={}))
            return
        redial_s = random.choice([None, None, 0.02])
        if dice < 0.35:
            suppressed = Aftermath(trunk_verdict=TrunkVerdict.NUMBER, trunk_code=str(call.call_id), suppress_number_s=60.0)
            await self.end(registrar, call, WRONG_NUMBER, suppressed)
        elif dice < 0.6:
            await self.end(registrar, call, BUSY, Aftermath(trunk_verdict=TrunkVerdict.GOOD, redial_delay_s=redial_s))
        elif dice < 0.7:
            failed = Aftermath(trunk_verdict=TrunkVerdict.GOOD, trunk_code="503")
            moved = await registrar.requeue(call, delay_s=0, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={}, aftermath=failed)
            self.note("rang nowhere", moved)
        else:
            assert await queue.record_answer(call, ring_ms=1, ring_error_ms=0, ids={}, detail={})
            await self.end(registrar, call, HUNG_UP, Aftermath(trunk_verdict=TrunkVerdict.ANSWERED, redial_delay_s=redial_s))

    async def end(self, registrar: Registrar, call: ClaimedCall, outcome: Outcome, aftermath: Aftermath) -> None:
        if random.random() < 0.2:  # whoever asks is torn away, and asks again
            asking = asyncio.create_task(registrar.finish(call, outcome, aftermath))
            await asyncio.sleep(random.choice([0, 0.001, 0.004]))
            asking.cancel()
        finished = await registrar.finish(call, outcome, aftermath)
        self.note("ended" if finished.state is not State.SCHEDULED else "redialled", finished.ours)

    def note(self, what: str, ours: bool) -> None:
        self.done[what] += 1
        self.faults[what] += not ours

    async def stage(self) -> None:
        while not self.over:
            await self.office.stage(100)
            await self.office.queue.expire_calls(100)
            await asyncio.sleep(0.003)

    async def operate(self) -> None:
        while not self.over:
            await self.office.change_account(f"a{random.randrange(ACCOUNTS)}", max_concurrent=random.randint(3, 8))
            await self.pools.set_capacity(random.choice(POOLS), random.choice([None, 8, 20]))
            await self.office.trunks.update(f"t{random.randrange(TRUNKS)}", TrunkChange(max_channels=random.randint(10, 30)))
            await asyncio.sleep(0.005)

    async def cancel(self) -> None:
        while not self.over:
            result = await self.office.calls.request_cancel(random.choice(self.calls))
            self.done[result.value] += 1
            await asyncio.sleep(0.01)

    async def count(self) -> None:
        """I5 at any moment."""
        while not self.over:
            self.faults["drift"] += (await self.office.drift()).total
            await asyncio.sleep(0.02)


async def test_ends_in_batches_against_claims_cancels_and_changes_of_limits(office: Office):
    storm = Storm(office)
    await storm.run()
    assert +storm.faults == Counter()
    assert storm.done["ended"] > CALLS / 4
    assert storm.done["redialled"] > 0
    assert await office.held() == (0, 0)
    assert (await office.drift()).total == 0
    (wrong,) = await office.sql(WRONG)
    assert tuple(wrong) == (0, 0, 0, 0, 0)


# -- plans ---------------------------------------------------------------------------------------------------------------------

QUEUE = 15_000
LIMIT = 20

# A queue, and a history that is as long.
SEED = f"""
SET session_replication_role = replica;
INSERT INTO accounts (name, country, trunk_group_id) SELECT 'a' || a, 'US', 1 FROM generate_series(2, 3000) a;
INSERT INTO account_slots (account_id, max_concurrent) SELECT id, 5 FROM accounts WHERE id > 1;
INSERT INTO agent_pools (name) SELECT 'agent ' || g FROM generate_series(1, 500) g;
INSERT INTO routes (trunk_group_id, agent_pool_id)
SELECT 1, id FROM agent_pools WHERE id NOT IN (SELECT agent_pool_id FROM routes);
INSERT INTO calls (account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, state, run_at, expires_at,
                   window_from, window_until, hours_version)
SELECT 2 + mod(g, 2999), 1, 1 + mod(mod(g, 2999), 500), '', '+1212' || 5000000 + g, 'agent', 'ready', now(),
       now() + interval '1 day', '-infinity', 'infinity', 1
  FROM generate_series(1, {QUEUE}) g;
INSERT INTO lanes (account_id, route_id, ready, share, has_room, has_urgent_room, last_claim_at)
SELECT account_id, route_id, count(*), 0, true, true, '-infinity'
  FROM calls
 WHERE state = 'ready' AND account_id > 1
 GROUP BY 1, 2;
INSERT INTO calls (account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, state, run_at, expires_at,
                   epoch, attempt, ended_at, end_reason, dialled)
SELECT 1 + mod(g, 3000), 1, 1, '', '+1213' || 5000000 + g, 'agent', 'not_connected', now(), now() + interval '1 day', 1,
       1, now(), 'USER_BUSY', 'yes'
  FROM generate_series(1, {QUEUE}) g;
INSERT INTO attempts (call_id, number, ended_at, end_reason)
SELECT id, 1, now(), 'USER_BUSY' FROM calls WHERE to_number LIKE '+1213%';
INSERT INTO dials (call_id, attempt, number, epoch, worker_id, trunk_id, account_id, to_number, room, dial_at, ended_at,
                   spent, dialled)
SELECT id, 1, 1, 1, (SELECT id FROM workers LIMIT 1), 1, account_id, to_number, 'r', now(), now(), true, 'yes'
  FROM calls WHERE to_number LIKE '+1213%';
INSERT INTO call_events (call_id, epoch, state) SELECT id, 0, 'scheduled' FROM calls;
SET session_replication_role = origin;
"""  # noqa: S608  made of constants


@dataclass(frozen=True)
class Claimed:
    call_id: CallId
    account_id: AccountId
    epoch: int


async def read_of(connection: asyncpg.Connection) -> dict[str, dict[str, int]]:
    """What this session has read of each table, since the server last asked it."""
    rows = await connection.fetch("SELECT relname, seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables")
    return {row["relname"]: {name: row[name] or 0 for name in ("seq_tup_read", "idx_tup_fetch")} for row in rows}


@pytest.mark.parametrize("planned", ["when the tables were small", "when they were as they are"])
async def test_ends_and_returns_read_what_they_write_and_no_queue(office: Office, planned: str):
    connection = await office.database.connect()
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    statements = Statements()
    worker = await connection.fetchval("SELECT id FROM workers LIMIT 1")

    async def claimed() -> list[Claimed]:
        rows = await connection.fetch("SELECT call_id, account_id, epoch FROM claim_calls($1, $2)", LIMIT, worker)
        return [Claimed(**row) for row in rows]

    async def finish(calls: list[Claimed], aftermath: Aftermath, outcome: Outcome = NEVER_DIALLED) -> None:
        ends = [End(call=call, outcome=outcome, aftermath=aftermath) for call in calls]
        rows = await connection.fetch(statements.text("finish_calls"), *([column(end) for end in ends] for column in COLUMNS))
        assert all(row["ours"] for row in rows)
        assert len(rows) == len(calls)

    async def dial(calls: list[Claimed]) -> None:
        for call in calls:
            row = await connection.fetchrow(
                "SELECT refused FROM begin_dial($1, $2, $3, '{}', 'fixed')",
                call.call_id,
                call.epoch,
                f"r-{call.call_id}-{call.epoch}",
            )
            assert row is not None
            assert row["refused"] is None

    async def requeue(call: Claimed) -> None:
        arguments = [0.0, "agent", "{}", "nothing", "", True]
        assert await connection.fetchval(statements.text("requeue_call"), call.account_id, call.call_id, call.epoch, *arguments)

    aftermath = Aftermath()  # news of the trunk are read by functions of their own
    if planned == "when the tables were small":  # as in a daemon that was started on an empty database
        for n in range(10):
            await office.ready(1, to=f"+1212444000{n}")
        await connection.execute("VACUUM ANALYZE")
        calls = await claimed()
        await dial(calls)
        await finish(calls[:5], Aftermath(redial_delay_s=3600.0), BUSY)
        await requeue(calls[5])
        await finish(calls[6:], aftermath)
    seeder = await office.database.connect()  # in the same session it would make the server forget its plans
    await seeder.execute(SEED)
    await seeder.close()
    if planned != "when the tables were small":
        await connection.execute("ANALYZE")

    calls, more = await claimed(), await claimed()
    assert len(calls) + len(more) == 2 * LIMIT
    await dial(calls)
    for what, most_calls in (("finish", LIMIT), ("redial", LIMIT), ("requeue", 1)):
        async with connection.transaction():
            before = await read_of(connection)
            if what == "finish":
                await finish(calls[:10] + more[:10], aftermath, BUSY)
            elif what == "redial":
                await finish(calls[10:], Aftermath(redial_delay_s=3600.0), BUSY)
            else:
                await requeue(more[10])
            after = await read_of(connection)
        read = {table: {name: counts[name] - before[table][name] for name in counts} for table, counts in after.items()}
        for table in ("calls", "attempts", "dials", "call_events", "account_slots", "lanes", "routes", "agent_pools"):
            assert read[table]["seq_tup_read"] == 0, (what, table, read[table])
            # Squared: a join of the batch with itself, which an old plan may have, still reads no queue.
            assert read[table]["idx_tup_fetch"] <= 6 * most_calls + most_calls**2, (what, table, read[table])
    await connection.close()
