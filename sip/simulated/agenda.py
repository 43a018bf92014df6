"""What is yet to happen in one room, in the order of time, by one timer for all of it. Knows nothing of calls."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from sip.clock import Clock

Act = Callable[[float], None]
"""Takes the moment for which it was planned, in clock seconds."""

EARLY_REAL_S = 0.001
"""A timer may fire this much too early: event loops count in milliseconds."""


class Agenda:
    """Acts that are due at moments of the clock.

    Each is told the moment for which it was planned, however late the event loop is: what a script does keeps its durations,
    also where 20 ms of a busy loop are a second of a fast clock.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._acts: list[tuple[float, int, Act]] = []
        self._order = itertools.count()  # of acts that are due at the same moment
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0

    def __len__(self) -> int:
        return len(self._acts)

    def at(self, due_s: float, act: Act) -> None:
        """Have it done at `due_s`; at once, but not before this returns, if that is over."""
        heapq.heappush(self._acts, (due_s, next(self._order), act))
        self._set_timer()

    def clear(self) -> None:
        """Forget everything."""
        self._acts.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            if self._acts and self._timer_due_s == self._acts[0][0]:
                return
            self._timer.cancel()
            self._timer = None
        if self._acts:
            self._timer_due_s = self._acts[0][0]
            delay_s = self._clock.real_s(max(0.0, self._timer_due_s - self._clock.now_s()))
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        until_s = self._clock.now_s() + EARLY_REAL_S * self._clock.scale
        try:
            while self._acts and self._acts[0][0] <= until_s:
                due_s, _, act = heapq.heappop(self._acts)
                act(due_s)
        finally:
            self._set_timer()
