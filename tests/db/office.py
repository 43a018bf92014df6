"""A small set-up that database tests share: an account, a trunk, a worker, and short words for bringing a call to a state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.ends import EndsStore
from orchestrator.store.gate import GateStore
from orchestrator.store.placements import DueCall, Placement
from orchestrator.store.policy import AccountChange, NewAccount, NewTrunk
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import Claim, ClaimedCall, CounterDrift, DialGranted, Outcome
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.views import NewCall
from orchestrator.store.workers import WorkerStore
from sip.events import Dialled

TO = "+12125550100"

HUNG_UP = Outcome(
    state=State.ENDED,
    reason=EndReason.USER_HUNG_UP_IN_CALL,
    dialled=Dialled.YES,
    answered_by=AnsweredBy.HUMAN,
    ring_ms=2000,
    talk_ms=5000,
)
BUSY = Outcome(
    state=State.NOT_CONNECTED,
    reason=EndReason.USER_BUSY,
    dialled=Dialled.YES,
    sip_code=486,
    sip_reason="Busy Here",
    hangup_cause="user_busy",
)
NEVER_DIALLED = Outcome(state=State.NOT_CONNECTED, reason=EndReason.INTERNAL_ERROR, dialled=Dialled.NO)


class AlwaysOpen:
    """A placer for which everybody may be called at any time."""

    def place(self, due: Sequence[DueCall]) -> list[Placement]:
        return [
            Placement(
                call_id=call.call_id,
                window_from=datetime(2000, 1, 1, tzinfo=UTC),
                window_until=datetime(9999, 1, 1, tzinfo=UTC),
                hours_version=call.account_version,
                time_zone="UTC",
            )
            for call in due
        ]


class Office:
    """One account `acme` over one trunk `main`, and one worker."""

    def __init__(self, *, database: Database, queue: QueueStore) -> None:
        self.database = database
        self.queue = queue
        self.gate = GateStore(database=database)
        self.ends = EndsStore(database=database)
        self.placer = AlwaysOpen()
        self.accounts = AccountStore(database=database)
        self.trunks = TrunkStore(database=database)
        self.calls = CallStore(database=database)
        self.workers = WorkerStore(database=database)

    @classmethod
    async def furnish(cls, database: Database) -> Office:
        await TrunkStore(database=database).create(
            NewTrunk(name="main", sip_trunk_id="ST_main", max_channels=1000, max_cps=1000.0, caller_ids=("+12125550199",))
        )
        worker_id = await WorkerStore(database=database).register(name="one", version="1", capacity=100)
        office = cls(database=database, queue=QueueStore(database=database, worker_id=worker_id))
        await office.open_account("acme", max_concurrent=10)
        return office

    async def open_account(self, name: str, **fields: Any) -> None:
        fields = {
            "max_concurrent": 10,
            "country": "US",
            "agent_name": "agent",
            "trunk": "main",
            "calling_hours": ("always",),
        } | fields
        await self.accounts.create(NewAccount(name=name, **fields))

    async def change_account(self, name: str, **fields: Any) -> None:
        await self.accounts.update(name, AccountChange(**fields))

    async def another_worker(self) -> QueueStore:
        return QueueStore(database=self.database, worker_id=await self.workers.register(name="two", version="1", capacity=100))

    async def enqueue(self, n: int = 1, **fields: Any) -> list[CallId]:
        fields = {"account": "acme", "to": TO} | fields
        return [result.call_id for result in await self.calls.enqueue([NewCall(**fields)] * n)]

    async def ready(self, n: int = 1, **fields: Any) -> list[CallId]:
        ids = await self.enqueue(n, **fields)
        while await self.stage(1000):
            pass
        return ids

    async def stage(self, limit: int = 1000) -> int:
        """Stage up to `limit` due calls; how many became ready."""
        due = await self.queue.due_calls(limit)
        return (await self.queue.stage(due, self.placer.place(due))).ready

    async def claimed(self, **fields: Any) -> ClaimedCall:
        await self.ready(1, **fields)
        (call,) = await self.queue.claim_calls(1)
        return call

    async def dialing(self, **fields: Any) -> ClaimedCall:
        call = await self.claimed(**fields)
        assert isinstance(await self.begin(call), DialGranted)
        return call

    async def ringing(self, **fields: Any) -> ClaimedCall:
        call = await self.dialing(**fields)
        assert await self.queue.record_ringing(call, pdd_ms=800, detail={})
        return call

    async def active(self, **fields: Any) -> ClaimedCall:
        call = await self.ringing(**fields)
        assert await self.queue.record_answer(call, ring_ms=2000, ring_error_ms=250, ids={}, detail={})
        return call

    async def begin(self, call: ClaimedCall) -> object:
        return await self.gate.begin_dial(call, room=f"room-{call.call_id}-{call.epoch}", caller_ids=())

    async def finish(self, call: Claim, outcome: Outcome) -> bool:
        """End a call; whether the claim was still ours."""
        return (await self.ends.finish(call, outcome)).ours

    async def states(self, call_id: CallId) -> list[str]:
        view = await self.calls.show(call_id)
        return [event.state.value for event in view.events if event.state is not None]

    async def state(self, call_id: CallId) -> State:
        return (await self.calls.show(call_id)).call.state

    async def drift(self) -> CounterDrift:
        return await self.queue.counter_drift()

    async def held(self) -> tuple[int, int]:
        """Slots and channels in use."""
        occupancy = await self.queue.occupancy()
        return occupancy.slots_used, occupancy.channels_used

    async def sql(self, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """For what no operation offers: making the impossible, and looking inside."""
        connection = await self.database.connect()
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()
