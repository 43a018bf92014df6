"""What may hold calls up, as figures: how full trunks and agent pools are, and their circuits."""

from __future__ import annotations

from orchestrator.store.policy import Bottleneck, Bottlenecks, Circuit
from orchestrator.store.pool import Database, Row

MOST_OF_A_KIND = 500
"""Trunks, and agent pools, that are shown one by one: each is a few series in whatever stores metrics."""

_CIRCUITS = (Circuit.CLOSED, Circuit.HALF_OPEN, Circuit.OPEN)


class BottleneckStore:
    """Reads them all in one statement."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def read(self) -> Bottlenecks:
        """Trunks, and agent pools that operators limited or paused; the oldest 500 of each."""
        rows = await self._database.fetch("bottlenecks", MOST_OF_A_KIND)
        return Bottlenecks(
            trunks=tuple(_bottleneck_of(row) for row in rows if row["kind"] == "trunk"),
            agent_pools=tuple(_bottleneck_of(row) for row in rows if row["kind"] == "agents"),
        )


def _bottleneck_of(row: Row) -> Bottleneck:
    return Bottleneck(
        name=row["name"],
        used=row["used"],
        most=row["most"],
        absences=row["absences"],
        openings=int(row["openings"]),
        circuit=_CIRCUITS[row["circuit"]],
    )
