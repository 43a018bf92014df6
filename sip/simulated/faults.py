"""Troubles of the media server that tests ask for."""

from __future__ import annotations

from dataclasses import dataclass

from sip.clock import Clock
from sip.errors import CarrierUnavailable


@dataclass(slots=True, kw_only=True)
class Faults:
    """How many of the next requests fail, and how slow all are. May be changed at any time.

    carrier = SimulatedCarrier(clock=clock, deployment_id=deployment_id, faults=Faults(open_room=2))
    carrier.faults.hang_up = 1
    """

    open_room: int = 0
    """So many of the next requests to open a room raise CarrierUnavailable; no room is made."""
    close_room: int = 0
    """The same for closing; the room stays."""
    hang_up: int = 0
    """The same for hanging up; the leg goes on."""
    list_rooms: int = 0
    """The same for listing."""
    delay_s: float = 0.0
    """So long takes every such request, and every failure of one (clock seconds)."""

    async def befall(self, request: str, *, clock: Clock) -> None:
        """Let one request suffer what was asked for; `request` is the name of its field. Raises CarrierUnavailable."""
        left = getattr(self, request)
        if left:
            setattr(self, request, left - 1)
        if self.delay_s:
            await clock.sleep(self.delay_s)
        if left:
            raise CarrierUnavailable(f"the simulated media server fails, as it was asked to: {request}")
