"""Workers at a table: the real statements on a real database, hands that take each step when told, and a far end on paper.

What the statements protect is tried here, step by step and without luck; the verdict is that of the whole harness.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import asyncpg

from orchestrator.ids import CallId, WorkerId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.accounts import AccountStore
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.calls import CallStore
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.ends import EndsStore
from orchestrator.store.gate import GateStore
from orchestrator.store.migrations import migrate
from orchestrator.store.policy import AccountChange, NewAccount, NewTrunk
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall, DialForbidden, DialGranted, Outcome
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.views import NewCall
from orchestrator.store.workers import WorkerStore
from sip.events import Dialled
from sip.leg import RoomName
from tests.chaos.desk import Desk
from tests.chaos.forbidden import Stop
from tests.chaos.limits import Limits, Watch
from tests.chaos.statements import CUTS, take_out_of_the_database
from tests.chaos.verdict import Sweep, Verdict
from tests.db.office import AlwaysOpen
from tests.fixtures.database import FAST_SETTINGS
from tests.standin.ledger import Dial, Request

LEASE_S = 3.0
TRUNK, AGENT = "main", "agent"
NO_ANSWER = Outcome(state=State.NOT_CONNECTED, reason=EndReason.USER_DID_NOT_PICK_UP, dialled=Dialled.YES)
LOST = Outcome(state=State.NOT_CONNECTED, reason=EndReason.WORKER_LOST, dialled=Dialled.UNKNOWN)
NOT_DIALLED = Outcome(state=State.NOT_CONNECTED, reason=EndReason.INTERNAL_ERROR, dialled=Dialled.NO)


class Hand:
    """One worker, whose every step is taken by the scenario."""

    def __init__(self, *, database: Database, worker_id: WorkerId, rehearsal: Rehearsal) -> None:
        self.worker_id = worker_id
        self.queue = QueueStore(database=database, worker_id=worker_id)
        self.gate = GateStore(database=database)
        self.ends = EndsStore(database=database)
        self.recovery = RecoveryStore(database=database, worker_id=worker_id)
        self._rehearsal = rehearsal

    async def stage(self) -> None:
        """Place what is due."""
        due = await self.queue.due_calls(1000)
        await self.queue.stage(due, AlwaysOpen().place(due))

    async def claim(self, limit: int = 1) -> list[ClaimedCall]:
        """Stage and claim."""
        await self.stage()
        return await self.queue.claim_calls(limit)

    async def begin(self, call: ClaimedCall) -> DialGranted | DialForbidden | None:
        """The last gate."""
        return await self.gate.begin_dial(call, room=room_of(call), caller_ids=call.trunk.caller_ids)

    async def end(self, call: ClaimedCall, outcome: Outcome = NO_ANSWER) -> bool:
        """At the far end, and then in the database."""
        self._rehearsal.hang_up(call.call_id)
        return (await self.ends.finish(call, outcome)).ours

    async def conduct(self, call: ClaimedCall) -> DialGranted | DialForbidden | None:
        """Dial if the gate lets it, and end it: nobody answers. What the gate said."""
        answer = await self.begin(call)
        if isinstance(answer, DialGranted):
            self._rehearsal.ring(call, answer)
            await self.end(call)
        elif answer is not None:
            await self.end(call, NOT_DIALLED)
        return answer


@dataclass(slots=True)
class Rehearsal:
    """One database and what its far end has seen."""

    database: Database
    limits: Limits
    verdict: Verdict
    desk: Desk
    connection: asyncpg.Connection[asyncpg.Record]
    """For questions of the verdict."""
    after_call: int = 0
    hands: list[Hand] = field(default_factory=list)
    queued: list[CallId] = field(default_factory=list)
    swept: list[Sweep] = field(default_factory=list)
    _ledger: list[tuple[CallId, Dial]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(0))

    async def furnish(self) -> None:
        """Accounts, a trunk, two hands."""
        await TrunkStore(database=self.database).create(
            NewTrunk(
                name=TRUNK,
                sip_trunk_id="ST_main",
                max_channels=self.limits.channels,
                max_cps=self.limits.cps,
                caller_ids=tuple(self.limits.caller_ids),
                caller_id_cap=self.limits.caller_id_cap,
            )
        )
        accounts = AccountStore(database=self.database)
        for name, limit in self.limits.accounts.items():
            await accounts.create(
                NewAccount(
                    name=name,
                    max_concurrent=limit,
                    reserved=self.limits.reserved.get(name, 0),
                    country="GB",
                    trunk=TRUNK,
                    agent_name=AGENT,
                    calling_hours=("always",),
                    detection={"on": False},
                )
            )
        for name, spacing in self.limits.spacing.items():
            change = AccountChange(number_gap_s=spacing.gap_s, number_most_dials=spacing.most, number_window_s=spacing.within_s)
            await accounts.update(name, change)
        for name, capacity in self.limits.agents.items():
            await AgentPoolStore(database=self.database).set_capacity(name, capacity)
        for name in ("one", "two"):
            worker_id = await WorkerStore(database=self.database).register(name=name, version="1", capacity=100)
            self.hands.append(Hand(database=self.database, worker_id=worker_id, rehearsal=self))

    async def enqueue(self, n: int = 1, *, account: str = "north", to: str | None = None) -> list[CallId]:
        """Calls, each to a number of its own unless it is given."""
        calls = [NewCall(account=account, to=to or f"+4420794600{next(self._numbers):02d}") for _ in range(n)]
        queued = [result.call_id for result in await CallStore(database=self.database).enqueue(calls)]
        self.queued += queued
        return queued

    async def die(self, hand: Hand) -> None:
        """Its last sign of life is long ago."""
        await self.query("UPDATE workers SET heartbeat_at = now() - interval '1 h' WHERE id = $1", hand.worker_id)

    async def look(self) -> None:
        """At the limits, now."""
        await Watch(scene=self, verdict=self.verdict).look()

    def ring(self, call: ClaimedCall, granted: DialGranted) -> None:
        """The one request arrives, and the phone rings."""
        request = Request(
            room=room_of(call),
            identity=f"leg-{granted.dial_id}",
            to=call.to,
            trunk_id="ST_main",
            caller_id=granted.caller_id or "",
            display_name=None,
            headers={},
            attributes={},
            dtmf="",
            ringing_timeout_s=30,
            max_duration_s=60,
            media_timeout_s=10,
            wait_until_answered=False,
            script="talks_8_s",
        )
        now_s = time.time()
        dial = Dial(number=len(self._ledger) + 1, request=request, received_at_s=now_s, invited_at_s=now_s, ringing_at_s=now_s)
        self._ledger.append((call.call_id, dial))

    def hang_up(self, call_id: CallId) -> None:
        """All that rings for this call is over."""
        for of, dial in self._ledger:
            if of == call_id and dial.ended_at_s is None:
                dial.ended_at_s, dial.how = time.time(), "hung up by callee"

    async def query(self, text: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask the database."""
        return await self.connection.fetch(text, *arguments)

    def dials(self) -> Sequence[Dial]:
        """What the far end has seen."""
        return [dial for _, dial in self._ledger]

    @property
    def stops(self) -> Sequence[Stop]:
        """When the operator stopped whom."""
        return self.desk.stops

    def sweeps(self) -> Sequence[Sweep]:
        """What was swept."""
        return self.swept

    async def rooms(self) -> list[str]:
        """There are none."""
        return []


def room_named(call_id: CallId, *, epoch: int) -> RoomName:
    """The room of a call under an epoch."""
    return RoomName(f"oc-paper-{call_id}-{epoch}")


def room_of(call: ClaimedCall) -> RoomName:
    """The room of a claim."""
    return room_named(call.call_id, epoch=call.epoch)


class Theatre:
    """A server with one migrated database, of which each rehearsal gets a copy."""

    def __init__(self, *, url: str) -> None:
        self._url = url
        self._copies = itertools.count(1)

    @contextlib.asynccontextmanager
    async def rehearsal(self, *, limits: Limits, without: str = "") -> AsyncIterator[Rehearsal]:
        """One scenario's database; `without`: a protection that it lacks, unless that is the program's."""
        name = f"rehearsal_{next(self._copies)}"
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE orchestrator")
        finally:
            await connection.close()
        url = self._url.replace("/template1?", f"/{name}?")
        connection = await asyncpg.connect(url)
        database = Database(url, min_size=1, max_size=4)
        try:
            if without in CUTS:
                await take_out_of_the_database(connection, without)
            await database.open()
            made = Rehearsal(
                database=database,
                limits=limits,
                verdict=Verdict(),
                desk=Desk(database=database),
                connection=connection,
            )
            await made.furnish()
            yield made
        finally:
            await database.close()
            await connection.close()


@contextlib.asynccontextmanager
async def theatre() -> AsyncIterator[Theatre]:
    """Start the server, end the server."""
    directory = Path(mkdtemp(prefix="orchestrator-rehearsal-"))
    postgres = EmbeddedPostgres(directory / "pg", durable=False, settings=FAST_SETTINGS)
    url = await postgres.start()
    try:
        database = Database(url, min_size=1, max_size=2)
        await migrate(database)
        yield Theatre(url=url.replace("/orchestrator?", "/template1?"))
    finally:
        await postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)
