"""What outlives a carrier: the rooms that exist, and the dials that were received.

A media server with its SIP service, trunk and callees, as far as there is anything of them. Carriers that share an exchange are
daemons at one media server; one that is gone leaves its rooms and legs behind, as a killed daemon does.
"""

from __future__ import annotations

from dataclasses import dataclass

from sip.leg import DialPlan, RoomName
from sip.simulated.room import SimulatedRoom

LEDGER_MOST = 100_000
"""Dials that are remembered; beyond, the older half is forgotten, so that a daemon on show can run for weeks."""


@dataclass(frozen=True, slots=True)
class DialRecord:
    """One request to dial, as it was received, whatever became of it."""

    at_s: float
    plan: DialPlan
    room: RoomName
    taken: bool
    """False: there was no such room, so nothing was dialled (the fence)."""


class Exchange:
    """Rooms and the ledger of dials."""

    def __init__(self) -> None:
        self.rooms: dict[RoomName, SimulatedRoom] = {}
        self.ledger: list[DialRecord] = []

    def receive(self, record: DialRecord) -> None:
        """Enter a dial in the ledger."""
        if len(self.ledger) >= LEDGER_MOST:
            del self.ledger[: LEDGER_MOST // 2]
        self.ledger.append(record)

    def delete_room(self, name: RoomName, *, by_order: bool = False) -> None:
        """Delete a room with all that is in it; no error if there is none. `by_order`: by its own carrier."""
        room = self.rooms.pop(name, None)
        if room is not None:
            room.close(by_order=by_order)
