"""How many listeners there may be, how they are watched, and whom the pool tells how they fare. Knows no settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """How many listeners, and how they are watched."""

    most_children: int = 8
    """Processes at most; each takes 60 to 150 MB and, with all its rooms, a quarter of a core."""
    rooms_a_child: int = 20
    """The client library's cost grows with the square of it (LIVEKIT.md, section 4)."""
    beat_s: float = 1.0
    """Between a child's signs of life."""
    beats_missed: int = 8
    """After so many it counts as dead."""
    rooms_in_a_life: int = 2_000
    """A child that has had so many rooms gets no more and is replaced: the client library leaks (python-sdks#449)."""
    python: str = sys.executable
    """The interpreter that runs it."""


class ListenerObserver(Protocol):
    """Hears how listeners fare; for metrics. Must not block or raise."""

    def listeners_changed(self, *, children: int, rooms: int) -> None:
        """So many processes live now, and so many rooms are listened to."""
        ...

    def listening_lost(self, kind: str) -> None:
        """A call goes on without detection: `full`, `none`, `died`, `not_joined`, `heard_badly`."""
        ...

    def listener_died(self) -> None:
        """A listener process ended without our wish."""
        ...


class UnobservedListeners:
    """A ListenerObserver that does not care."""

    def listeners_changed(self, *, children: int, rooms: int) -> None:
        """Nothing."""

    def listening_lost(self, kind: str) -> None:
        """Nothing."""

    def listener_died(self) -> None:
        """Nothing."""
