"""What became of a trunk's dials: codes and ring times of those that nobody answered, and who answered the number later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import NotFound
from orchestrator.store.pool import Database

MOST_DIALS = 50_000
"""Of a trunk that are looked at, the newest: enough for any statistic, and bounded."""
LATER_DAYS = 30
"""An answer counts as telling of the same telephone if it comes within so many days."""


@dataclass(frozen=True, slots=True)
class PastDial:
    """A dial that rang and was not answered."""

    sip_code: int
    ring_ms: int
    ring_timeout_ms: int
    later_machine: bool | None
    """Whether a machine answered the next time that anybody did; None: nobody has answered since, or it is not known who."""


class TrunkHistoryStore:
    """Reads history; writes nothing."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def dials(self, trunk: str, *, days: int) -> Sequence[PastDial]:
        """The newest 50,000 at most. Raises NotFound."""
        row = await self._database.fetch_one("list_trunks", trunk)
        if row is None:
            raise NotFound(f"there is no trunk {trunk!r}")
        rows = await self._database.fetch("trunk_history", row["trunk_id"], days, MOST_DIALS, LATER_DAYS)
        return [
            PastDial(
                sip_code=row["sip_code"],
                ring_ms=row["ring_ms"],
                ring_timeout_ms=row["ring_timeout_ms"],
                later_machine=None if row["later"] is None else row["later"] == "machine",
            )
            for row in rows
        ]
