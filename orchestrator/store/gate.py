"""The last gate, as a worker asks it: the intent to dial, or what forbids it.

One round trip and one transaction; every check is the database's, by its own clock, so that a worker whose clock is wrong dials
no more and no earlier than others.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ids import E164, DialId
from orchestrator.store.pool import Database, Row
from orchestrator.store.records import CallerIdChoice, Claim, DialForbidden, DialGranted
from orchestrator.store.rows import forbidden_of
from sip.clock import boot_time_s


class GateStore:
    """The last gate before a phone can ring."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def begin_dial(
        self, call: Claim, *, room: str, caller_ids: Sequence[E164], choice: CallerIdChoice = CallerIdChoice.FIXED
    ) -> DialGranted | DialForbidden | None:
        """The last gate and the intent. None: the claim is not ours.

        `caller_ids`: what may be shown, the best first; those that reached their cap of dials today are passed over. Not to be
        repeated: when its answer is lost, send nothing and requeue.
        """
        async with self._database.session() as session:
            asked_at_boot_s = boot_time_s()
            row = await session.fetch_one("begin_dial", call.call_id, call.epoch, room, list(caller_ids), choice.value)
        if row is None:
            return None
        if row["refused"] is not None:
            return forbidden_of(row["refused"], row["retry_in_s"])
        return _granted(row, asked_at_boot_s=asked_at_boot_s)


def _granted(row: Row, *, asked_at_boot_s: float) -> DialGranted:
    return DialGranted(
        dial_id=DialId(row["dial_id"]),
        attempt=row["attempt"],
        dial_number=row["dial_number"],
        dial_in_s=row["dial_in_ms"] / 1000,
        asked_at_boot_s=asked_at_boot_s,
        caller_id=None if row["caller_id"] is None else E164(row["caller_id"]),
    )
