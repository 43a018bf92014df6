"""Our own queue: by its two statements alone, and through the store as a worker uses it, where claims return whole calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.ids import AccountId, CallId, WorkerId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store import ends
from orchestrator.store.ends import EndsStore
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import Aftermath, ClaimedCall, End, Outcome
from orchestrator.store.workers import WorkerStore
from sip.events import Dialled

BATCH = 20
# The call ends before it was dialled, so that claim and finish are all that is measured.
NEVER_DIALLED = Outcome(state=State.NOT_CONNECTED, reason=EndReason.AGENT_NEVER_JOINED, dialled=Dialled.NO)


class Claimant:
    """One worker with one connection."""

    def __init__(self, *, database: Database, queue: QueueStore, ends: EndsStore) -> None:
        self._database = database
        self._queue = queue
        self._ends = ends

    @classmethod
    async def open(cls, url: str) -> Claimant:
        """Connect, and register as a worker."""
        database = Database(url, min_size=1, max_size=1, command_timeout_s=60)
        await database.open()
        worker_id = await WorkerStore(database=database).register(name="bench", version="0", capacity=1000)
        return cls(
            database=database,
            queue=QueueStore(database=database, worker_id=worker_id),
            ends=EndsStore(database=database),
        )

    async def claim(self) -> list[ClaimedCall]:
        """Up to 20 calls, with all that is needed to conduct them."""
        return await self._queue.claim_calls(BATCH)

    async def finish(self, calls: Sequence[ClaimedCall]) -> None:
        """End these calls, 20 at a time."""
        for first in range(0, len(calls), BATCH):
            part = calls[first : first + BATCH]
            finished = await self._ends.finish_all(
                [End(call=call, outcome=NEVER_DIALLED, aftermath=Aftermath()) for call in part]
            )
            if not all(end.ours for end in finished):
                raise RuntimeError("a call could not be ended")

    async def claim_and_finish(self) -> int:
        """Both; how many calls."""
        calls = await self.claim()
        await self.finish(calls)
        return len(calls)

    async def close(self) -> None:
        """Disconnect."""
        await self._database.close()


class BareClaimant:
    """One connection that claims and finishes by the statements alone: what the queue itself costs, without what a worker needs
    to know to conduct the calls, and without our Python objects. The peers return their whole jobs, rows of few columns."""

    batch = 100
    """The most that a claim takes (worker.claim_batch)."""

    def __init__(self, *, database: Database, worker_id: WorkerId) -> None:
        self._database = database
        self._worker_id = worker_id
        # The columns of finish_calls.sql after account, call and epoch, for a call that was never dialled.
        end = End(call=_NoClaim(call_id=CallId(0), account_id=AccountId(0)), outcome=NEVER_DIALLED, aftermath=Aftermath())
        self._rest = ends.columns_of([end])[3:]

    @classmethod
    async def open(cls, url: str) -> BareClaimant:
        """Connect, and register as a worker."""
        database = Database(url, min_size=1, max_size=1, command_timeout_s=60)
        await database.open()
        return cls(
            database=database,
            worker_id=await WorkerStore(database=database).register(name="bench", version="0", capacity=1000),
        )

    async def claim_and_finish(self) -> int:
        """Both; how many calls."""
        rows = await self._database.fetch("claim_calls", self.batch, self._worker_id)
        if not rows:
            return 0
        columns = [[row[name] for row in rows] for name in ("account_id", "call_id", "epoch")]
        columns += [column * len(rows) for column in self._rest]
        finished = await self._database.fetch("finish_calls", *columns)
        if not all(row["ours"] for row in finished):
            raise RuntimeError("a call could not be ended")
        return len(rows)

    async def close(self) -> None:
        """Disconnect."""
        await self._database.close()


@dataclass(frozen=True, slots=True)
class _NoClaim:
    call_id: CallId
    account_id: AccountId
    epoch: int = 0


async def check_counters(url: str) -> None:
    """All counters equal what they count, or the figures are worth nothing."""
    database = Database(url, min_size=1, max_size=1, command_timeout_s=300)
    await database.open()
    try:
        queue = QueueStore(
            database=database, worker_id=await WorkerStore(database=database).register(name="check", version="0", capacity=1)
        )
        drift = await queue.counter_drift()
    finally:
        await database.close()
    if drift.total:
        raise RuntimeError(f"counters are wrong: {drift}")
