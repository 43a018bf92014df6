"""The queue as people ask about it: what runs, what is ready, what waits for what and until when; and how one call stands.

Cheap on a queue of any length: what is exact comes from counters, what is counted is counted up to a limit, and whoever asks is
told where a count stopped (`Count.more`). Changes nothing and locks nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.errors import NotFound
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.pool import Database, Row
from orchestrator.store.records import Gate, WaitingFor

MOST_COUNTED = 1_000
"""Held calls that are counted for each account and thing."""
MOST_COUNTED_IN_ALL = 20_000
"""Scheduled calls that are counted over all accounts, and held calls for each thing."""
MOST_LOOKED_AT = 20_000
"""Scheduled calls that are looked at in the order of their times, to find whose they are."""
MOST_ABSENT = 5_000
"""Calls for which no agent came that are looked at, to find whose they are."""
MOST_AHEAD = 10_000
"""Calls ahead of one in its lane that are counted."""
MOST_ACCOUNTS_FOUND = 200
"""Accounts that have nothing but held calls are found up to so many for each thing that is waited for."""
ALIVE_S = 60.0
"""Workers are shown that gave a sign of life in so many seconds; a lease may be shorter or longer."""


@dataclass(frozen=True, slots=True)
class Count:
    """A number of calls, counted up to a limit."""

    calls: int
    more: bool = False
    """There may be more than `calls`: counting stopped there."""


@dataclass(frozen=True, slots=True)
class Held:
    """Calls that wait for one thing."""

    waiting_for: WaitingFor
    count: Count
    until: datetime | None
    """When the first of them goes on."""


@dataclass(frozen=True, slots=True)
class AccountQueue:
    """What an account has."""

    name: str
    running: int
    inbound: int
    max_concurrent: int
    reserved: int
    paused: bool
    ready: int
    urgent: int
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class LaterCalls:
    """Calls of one account that wait for nothing but their time."""

    account: str
    count: Count
    first: datetime


@dataclass(frozen=True, slots=True)
class TrunkQueue:
    """What a trunk carries, and what holds it up."""

    name: str
    enabled: bool
    running: int
    max_channels: int
    max_cps: float
    next_dial_in_s: float
    circuit_until: datetime | None
    circuit_why: str
    probing: bool
    """A call is trying whether the circuit may close."""
    ready: int
    """Ready calls that could take it; one that may take several trunks is counted at each."""


@dataclass(frozen=True, slots=True)
class PoolQueue:
    """What an agent pool carries, and what holds it up."""

    name: str
    running: int
    capacity: int | None
    """None: not limited."""
    paused: bool
    absences: int
    circuit_until: datetime | None
    circuit_why: str
    probing: bool
    ready: int
    absent: Count
    """Calls that wait because no agent came."""
    absent_until: datetime | None


@dataclass(frozen=True, slots=True)
class SystemQueue:
    """The switches and the workers."""

    now: datetime
    """By the database's clock."""
    stopped_at: datetime | None
    stopped_why: str
    held_at: datetime | None
    held_why: str
    workers: int
    draining: int
    seats: int
    """Calls that all workers together may hold."""
    live: int
    scheduled: Count


@dataclass(frozen=True, slots=True)
class QueueView:
    """All of it."""

    system: SystemQueue
    accounts: tuple[AccountQueue, ...]
    accounts_in_all: int
    """Accounts with work that were found; `accounts` holds those with the most."""
    later: tuple[LaterCalls, ...]
    trunks: tuple[TrunkQueue, ...]
    agent_pools: tuple[PoolQueue, ...]


@dataclass(frozen=True, slots=True)
class CallStanding:
    """One call, and everything that it may wait for. Fields as the columns of call_standing.sql."""

    call_id: CallId
    state: State
    waiting_for: WaitingFor
    gate: Gate | None
    """What the last gate would say now; None: nothing, or the call does not wait."""
    retry_at: datetime | None
    """When the gate may let it through, if it can tell."""
    last_reason: EndReason | None
    ahead: Count | None
    """Calls before it in its lane; None unless it is ready."""
    trunks: tuple[TrunkQueue, ...]
    row: Mapping[str, Any]
    """The rest, by column."""


class QueueViewStore:
    """Asks how the queue stands."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def view(self, *, accounts: int = 50, account: str | None = None) -> QueueView:
        """The `accounts` accounts with the most work, or one by name; all trunks; agent pools with work. Raises NotFound."""
        system = await self.system()
        rows = await self._database.fetch(
            "queue_accounts", accounts, MOST_COUNTED, MOST_ACCOUNTS_FOUND, account, MOST_LOOKED_AT
        )
        if account is not None and not rows:
            raise NotFound(f"there is no account {account}")
        later = await self._database.fetch("queue_later", MOST_LOOKED_AT)
        return QueueView(
            system=system,
            accounts=tuple(_account(row) for row in rows),
            accounts_in_all=rows[0]["total"] if rows else 0,
            later=tuple(_later(row) for row in later if row["name"] is not None and account in {None, row["name"]}),
            trunks=await self.trunks(),
            agent_pools=await self.agent_pools(limit=accounts),
        )

    async def system(self) -> SystemQueue:
        """Switches, workers, and how many calls are scheduled."""
        (row,) = await self._database.fetch("queue_system", ALIVE_S, MOST_COUNTED_IN_ALL)
        members = dict(row)
        return SystemQueue(**members | {"scheduled": _count(row["scheduled"], MOST_COUNTED_IN_ALL)})

    async def accounts(self, *, limit: int) -> tuple[AccountQueue, ...]:
        """The accounts with the most work."""
        rows = await self._database.fetch("queue_accounts", limit, MOST_COUNTED, MOST_ACCOUNTS_FOUND, None, 0)
        return tuple(_account(row) for row in rows)

    async def trunks(self) -> tuple[TrunkQueue, ...]:
        """All trunks."""
        return tuple(TrunkQueue(**dict(row)) for row in await self._database.fetch("queue_trunks"))

    async def agent_pools(self, *, limit: int) -> tuple[PoolQueue, ...]:
        """Agent pools with work, or with a limit, a pause or a circuit that holds them up."""
        rows = await self._database.fetch("queue_pools", limit, MOST_ABSENT)
        more = sum(row["absent"] for row in rows) >= MOST_ABSENT
        return tuple(PoolQueue(**dict(row) | {"absent": Count(calls=row["absent"], more=more)}) for row in rows)

    async def held(self) -> dict[WaitingFor, Count]:
        """How many calls wait for what, over all accounts."""
        rows = await self._database.fetch("queue_held", MOST_COUNTED_IN_ALL)
        return {WaitingFor(row["waiting_for"]): _count(row["calls"], MOST_COUNTED_IN_ALL) for row in rows}

    async def standing(self, call_id: CallId) -> CallStanding:
        """How one call stands. Raises NotFound."""
        row = await self._database.fetch_one("call_standing", call_id, MOST_AHEAD, ALIVE_S)
        if row is None:
            raise NotFound(f"there is no call {call_id}")
        trunks = tuple(_trunk_of_group(json.loads(text)) for text in row["trunks"])
        retry_in_s = row["retry_in_s"]
        return CallStanding(
            call_id=call_id,
            state=State(row["state"]),
            waiting_for=WaitingFor(row["waiting_for"]),
            gate=None if row["gate"] is None else Gate(row["gate"]),
            retry_at=None if not retry_in_s else row["now"] + timedelta(seconds=retry_in_s),
            last_reason=None if row["last_reason"] is None else EndReason(row["last_reason"]),
            ahead=None if row["ahead"] is None else _count(row["ahead"], MOST_AHEAD),
            trunks=trunks,
            row=dict(row),
        )


def _count(calls: int, most: int) -> Count:
    return Count(calls=calls, more=calls >= most)


def _account(row: Row) -> AccountQueue:
    members = {name: row[name] for name in row.keys() if name not in {"total", "held"}}  # noqa: SIM118  a row iterates its values
    return AccountQueue(**members, held=_held(row["held"]))


def _held(texts: Sequence[str]) -> tuple[Held, ...]:
    documents = [json.loads(text) for text in texts]
    return tuple(
        Held(
            waiting_for=WaitingFor(held["waiting_for"]),
            count=_count(held["calls"], MOST_COUNTED),
            until=datetime.fromisoformat(held["until"]),
        )
        for held in documents
    )


def _later(row: Row) -> LaterCalls:
    return LaterCalls(
        account=row["name"], count=Count(calls=row["calls"], more=row["looked"] >= MOST_LOOKED_AT), first=row["first"]
    )


def _trunk_of_group(trunk: dict[str, Any]) -> TrunkQueue:
    until = trunk["circuit_until"]
    return TrunkQueue(
        name=trunk["name"],
        enabled=trunk["enabled"],
        running=trunk["running"],
        max_channels=trunk["most"],
        max_cps=float(trunk["max_cps"]),
        next_dial_in_s=float(trunk["next_dial_in_s"]),
        circuit_until=None if until is None else datetime.fromisoformat(until),
        circuit_why=trunk["circuit_why"],
        probing=False,
        ready=0,
    )
