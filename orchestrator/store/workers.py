"""Worker instances and their heartbeats, and this deployment's id. The database's clock decides who is late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from orchestrator.ids import WorkerId
from orchestrator.store.pool import Database


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker that has not stopped."""

    id: WorkerId
    name: str
    version: str
    capacity: int
    live_calls: int
    draining: bool
    """It takes no more calls and ends when those that it has are over."""
    started_at: datetime
    heartbeat_age_s: float
    """Seconds since its last heartbeat, by the database's clock."""


class WorkerStore:
    """Registers workers and keeps their heartbeats. Two workers may have one name: each start is an instance of its own."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def deployment_id(self) -> UUID:
        """The id of this deployment, made with the database."""
        (row,) = await self._database.fetch("deployment")
        deployment_id: UUID = row["id"]
        return deployment_id

    async def register(self, *, name: str, version: str, capacity: int) -> WorkerId:
        """A new instance."""
        (row,) = await self._database.fetch("register_worker", name, version, capacity)
        return WorkerId(row["id"])

    async def heartbeat(self, worker_id: WorkerId, *, live_calls: int, capacity: int, draining: bool) -> bool:
        """The worker lives. False: it has been deregistered."""
        return await self._database.fetch_one("beat_heart", worker_id, live_calls, capacity, draining) is not None

    async def deregister(self, worker_id: WorkerId) -> None:
        """The worker has stopped; harmless when repeated."""
        await self._database.fetch("deregister_worker", worker_id)

    async def take_lease(self, name: str, worker_id: WorkerId, *, ttl_s: float) -> int | None:
        """Take or keep the lease of this name; its term, or None if another worker holds it. The database's clock decides."""
        term = await self._database.fetch_value("take_lease", name, worker_id, ttl_s)
        return term if isinstance(term, int) else None

    async def release_lease(self, name: str, worker_id: WorkerId) -> None:
        """Give it back; harmless if it is not ours."""
        await self._database.fetch("release_lease", name, worker_id)

    async def list(self) -> Sequence[WorkerRow]:
        """All that have not stopped, oldest first; those with an old heartbeat are dead or cut off."""
        rows = await self._database.fetch("list_workers")
        return [
            WorkerRow(
                id=WorkerId(row["id"]),
                name=row["name"],
                version=row["version"],
                capacity=row["capacity"],
                live_calls=row["live_calls"],
                draining=row["draining"],
                started_at=row["started_at"],
                heartbeat_age_s=row["heartbeat_age_s"],
            )
            for row in rows
        ]
