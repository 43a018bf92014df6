"""The system's switches: the kill switch, and the hold after a restore. While one is set nothing is claimed or dialled.

Live calls go on. Every claim and every last gate reads the switches in its own transaction: no worker need be told.
"""

from __future__ import annotations

from orchestrator.errors import BadInput
from orchestrator.store.policy import Switches
from orchestrator.store.pool import Database, Row

LONGEST_REASON = 500


class SwitchStore:
    """Sets, takes back and shows the switches."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def get(self) -> Switches:
        """How they stand."""
        row = await self._database.fetch_one("read_switches")
        if row is None:
            raise LookupError("the row of switches is missing")
        return _switches_of(row)

    async def stop(self, why: str) -> Switches:
        """The kill switch, because of `why`. Raises BadInput.

        An intent that is being written in this moment may still be dialled.
        """
        row = await self._database.fetch_one("stop_dialling", _reason(why))
        if row is None:
            raise LookupError("the row of switches is missing")
        return _switches_of(row)

    async def resume(self) -> bool:
        """Take the kill switch back; False if it was not set. A hold stays."""
        return await self._database.fetch_one("resume_dialling") is not None

    async def hold(self, why: str) -> bool:
        """Hold all dialling until an operator confirms; False if that was so already. Raises BadInput."""
        return await self._database.fetch_one("hold_dialling", _reason(why)) is not None


def _reason(why: str) -> str:
    text = why.strip()
    if not 1 <= len(text) <= LONGEST_REASON or not text.isprintable():
        raise BadInput(f"the reason must be one line of 1 to {LONGEST_REASON} characters: others will want to know")
    return text


def _switches_of(row: Row) -> Switches:
    return Switches(
        stopped_at=row["stopped_at"], stopped_why=row["stopped_why"], held_at=row["held_at"], held_why=row["held_why"]
    )
