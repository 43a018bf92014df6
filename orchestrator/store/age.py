"""Removing what is over, and the age of the oldest snapshot, which keeps the server from cleaning up after it.

Every statement is a short transaction that skips what somebody else holds; none changes a counter or a call that has not ended.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from orchestrator.ids import CallId
from orchestrator.store.pool import Database


class Aged(enum.Enum):
    """What leaves by age, besides calls."""

    SYSTEM_EVENTS = "system_events"
    WORKERS = "workers"
    CALLER_ID_DAYS = "caller_id_days"
    TRUNK_FAILURES = "trunk_failures"
    DO_NOT_CALL = "do_not_call"
    """Entries that have expired."""
    ROUTES = "routes"
    """Lanes, routes and agent pools that nothing uses, left behind by names of agents that were given once."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one look at some calls removed."""

    removed: int
    next_after: CallId | None
    """Where to go on; None: nothing further on can be old enough."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The oldest snapshot that anybody holds, as far as our role may see."""

    age_s: float
    """At most so old; 0 without any."""
    transactions: int
    """How many transactions ago, replication slots and prepared transactions counted too."""
    who: str
    """Application, process and state of its holder; empty without any."""


class AgeStore:
    """What retention and the metrics ask of the database."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def prune_calls(self, *, after: CallId, days: float, limit: int) -> Pruned:
        """Look at `limit` calls after this id; remove, with all that is theirs, those that ended more than `days` days ago."""
        row = await self._database.fetch_one("prune_calls", after, float(days), limit)
        if row is None or row["last_id"] is None:
            return Pruned(removed=0, next_after=None)
        return Pruned(removed=row["removed"], next_after=None if row["beyond"] else CallId(row["last_id"]))

    async def prune(self, what: Aged, *, days: float, limit: int) -> int:
        """Remove up to `limit` rows that are older than `days` days; repeat while as many come back."""
        removed = await self._database.fetch_value(f"prune_{what.value}", float(days), limit)
        return removed if isinstance(removed, int) else 0

    async def oldest_snapshot(self) -> Snapshot:
        """Who holds the oldest snapshot, and how old it is."""
        (row,) = await self._database.fetch("oldest_snapshot")
        return Snapshot(age_s=float(row["age_s"]), transactions=int(row["transactions"]), who=row["who"])
