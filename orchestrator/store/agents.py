"""Agent pools: agents by the name under which they register, how many calls they take at once, and whether they come at all.

A pool is there as soon as a call names it; only operators limit it.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import BadInput, NotFound
from orchestrator.store.accounts import check_within
from orchestrator.store.policy import AgentPoolRow
from orchestrator.store.pool import Database, Row, Session
from orchestrator.store.rows import circuit_of


class AgentPoolStore:
    """Limits, pauses and shows agent pools."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def set_capacity(self, name: str, capacity: int | None) -> AgentPoolRow:
        """Let the pool take so many calls at once; None: any number. Makes the pool if no call has named it yet.

        The calls that it has now are counted in the same moment; a lower capacity takes effect as calls end. Raises BadInput.
        """
        if not 1 <= len(name) <= 255 or not name.isprintable():
            raise BadInput(f"agent name {name!r} must be 1 to 255 characters that can be read")
        if capacity == 0:
            raise BadInput("capacity must be from 1 up, not 0: to let no call have these agents, pause them")
        check_within("capacity", capacity, 1, 2**31 - 1)
        async with self._database.transaction() as session:
            await session.fetch("add_agent_pool", name)
            await session.fetch("set_agent_capacity", name, capacity)
            return await _one(session, name)

    async def pause(self, name: str, *, paused: bool) -> AgentPoolRow:
        """Claim no calls for the pool, or claim them again; live ones go on. Raises NotFound."""
        async with self._database.transaction() as session:
            await _one(session, name)
            await session.fetch("pause_agent_pool", name, paused)
            return await _one(session, name)

    async def reset_circuit(self, name: str) -> AgentPoolRow:
        """Close its circuit, and forget its absences. Raises NotFound."""
        async with self._database.transaction() as session:
            await _one(session, name)
            await session.fetch("reset_agent_circuit", name)
            return await _one(session, name)

    async def get(self, name: str) -> AgentPoolRow:
        """One pool. Raises NotFound."""
        async with self._database.session() as session:
            return await _one(session, name)

    async def list(self) -> Sequence[AgentPoolRow]:
        """All pools by name."""
        return [_pool_of(row) for row in await self._database.fetch("list_agent_pools", None)]


async def _one(session: Session, name: str) -> AgentPoolRow:
    row = await session.fetch_one("list_agent_pools", name)
    if row is None:
        raise NotFound(
            f"no call has asked for an agent {name} yet: correct the name, or give it a capacity before its first call"
        )
    return _pool_of(row)


def _pool_of(row: Row) -> AgentPoolRow:
    return AgentPoolRow(
        name=row["name"],
        capacity=row["capacity"],
        inflight=row["inflight"],
        ready=row["ready"],
        paused=row["paused"],
        absences=row["absences"],
        circuit=circuit_of(row),
    )
