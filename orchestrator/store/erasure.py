"""Erasing a telephone number at a person's request: everywhere but in the do-not-call lists.

What happened stays (accounts, times, states, end reasons); whom it happened to does not. Finding every trace reads all calls,
in batches of one short transaction each: for the rare request of a person, not for programs.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.ids import E164, CallId
from orchestrator.store.pool import Database

BATCH = 5_000
"""Calls that one statement reads: some ten milliseconds."""


@dataclass(frozen=True, slots=True)
class NumberInUse:
    """Who shows the number to callees, and whether it is listed."""

    accounts: tuple[str, ...]
    trunks: tuple[str, ...]
    listed: bool
    """A do-not-call list of somebody has it, as a number or as a hash."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased."""

    calls: int
    keys_kept: int
    """Calls whose idempotency key holds the number and is younger than 24 hours: it leaves when asked again later."""
    open_calls: int
    """Calls to the number that came while it was erased, and have not ended: they still hold it."""
    trunk_failures: int
    caller_ids: int
    """Days on which it was counted as a caller id."""
    events: int
    """Events of the system."""
    listed_by_hash: int
    """Do-not-call entries that hold its hash alone now."""


class ErasureStore:
    """Finds and erases a number."""

    def __init__(self, *, database: Database, batch: int = BATCH) -> None:
        self._database = database
        self._batch = batch

    async def in_use(self, number: E164) -> NumberInUse:
        """Whether the number is one of ours."""
        (row,) = await self._database.fetch("number_in_use", number)
        return NumberInUse(accounts=tuple(row["accounts"]), trunks=tuple(row["trunks"]), listed=row["listed"])

    async def open_calls(self, number: E164) -> list[CallId]:
        """Calls to the number that have not ended."""
        found: list[CallId] = []
        after: int | None = 0
        while after is not None:
            (row,) = await self._database.fetch("open_calls_to", number, after, self._batch)
            found += [CallId(call_id) for call_id in row["open"] or ()]
            after = row["last_id"]
        return found

    async def erase(self, number: E164, *, keep_hash: bool) -> Erased:
        """Erase it from all that is over. May be asked again at any time, and goes on where it was interrupted.

        `keep_hash`: do-not-call entries of the number keep its hash alone, and hold as before.
        """
        calls = keys_kept = open_calls = 0
        after: int | None = 0
        while after is not None:
            (row,) = await self._database.fetch("erase_in_calls", number, after, self._batch)
            calls, keys_kept, open_calls = calls + row["erased"], keys_kept + row["kept"], open_calls + row["open"]
            after = row["last_id"]
        (row,) = await self._database.fetch("erase_elsewhere", number, keep_hash)
        return Erased(
            calls=calls,
            keys_kept=keys_kept,
            open_calls=open_calls,
            trunk_failures=row["trunk_failures"],
            caller_ids=row["caller_ids"],
            events=row["events"],
            listed_by_hash=row["listed"],
        )
