"""What the leader asks of the database: rooms without a call, counters that are wrong, and the system's own events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.store.pool import Database
from orchestrator.store.rows import json_text
from sip.events import Fact
from sip.leg import RoomName

SWEEP_PERMIT_S = 600.0
"""How long an operator's word lasts that a sweep may end unusually many rooms."""
MOST_READY_COUNTED = 200_000
"""Lanes are compared with their calls at every repair up to so many; reading millions each minute would show."""


@dataclass(frozen=True, slots=True)
class Repairs:
    """How many counters were wrong and are right now; anything but zeros is a defect (I5), or rows were changed by hand."""

    inflight: int
    inbound: int
    lanes: int
    agents: int
    channels: int

    def by_kind(self) -> Mapping[str, int]:
        """For metrics."""
        return {
            "inflight": self.inflight,
            "inbound": self.inbound,
            "lanes": self.lanes,
            "agents": self.agents,
            "channels": self.channels,
        }


@dataclass(frozen=True, slots=True)
class SweepState:
    """Whether rooms may be ended."""

    held: bool
    """A restore waits to be confirmed: calls may be missing here that are going on."""
    allowed: bool
    """An operator has let one sweep end unusually many rooms."""


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """Something that happened to the system as a whole."""

    subject: str
    detail: Mapping[str, Fact]
    age_s: float


class UpkeepStore:
    """The leader's duties, as far as they concern the database."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def lost_rooms(self, names: Sequence[RoomName]) -> list[RoomName]:
        """Which of these rooms of ours belong to no live call."""
        return [RoomName(row["name"]) for row in await self._database.fetch("lost_rooms", list(names))]

    async def sweep_state(self) -> SweepState:
        """Whether rooms may be ended."""
        (row,) = await self._database.fetch("sweep_state", SWEEP_PERMIT_S)
        return SweepState(held=row["held"], allowed=row["allowed"])

    async def allow_sweep(self) -> None:
        """Let one sweep within the next `SWEEP_PERMIT_S` end as many rooms as it finds."""
        await self._database.fetch("allow_sweep")

    async def end_sweep_permit(self) -> None:
        """The sweep that was allowed has been done."""
        await self._database.fetch("end_sweep_permit")

    async def repair_counters(self, *, lanes: bool) -> Repairs:
        """Compare counters with counts and put right what is wrong; `lanes` also where that means to read a long queue."""
        (row,) = await self._database.fetch("repair_counters", True, 2**62 if lanes else MOST_READY_COUNTED)
        return Repairs(**row)

    async def record_event(self, kind: str, *, subject: str = "", detail: Mapping[str, Fact]) -> None:
        """A line of the system's own events. `kind`: lower-case letters, digits, `_` and `.`."""
        await self._database.fetch("record_system_event", kind, subject, json_text(detail))

    async def last_event(self, kind: str) -> SystemEvent | None:
        """The newest of this kind."""
        row = await self._database.fetch_one("last_system_event", kind)
        if row is None:
            return None
        return SystemEvent(subject=row["subject"], detail=json.loads(row["detail"]), age_s=row["age_s"])
