"""The listener processes of one daemon: started before they are needed, watched, replaced when they die, let go when idle.

A child that dies young is replaced after a pause that grows. One that does not beat is killed, unless we stood still ourselves.
Knows children and how many rooms each has; which rooms, and what becomes of them, is the pool's matter (`listeners`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence

import structlog

from sip.clock import boot_time_s
from sip.livekit.listening.child import Child
from sip.livekit.listening.limits import ListenerLimits, ListenerObserver
from sip.livekit.listening.wire import Beat, Report

YOUNG_S = 20.0
"""A child that dies before is not worth replacing at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
START_S = 30.0
"""A child that has not beaten for so long after its start will not."""
SURPLUS_S = 120.0
"""A child with nothing to do is let go after so long, if others have room."""
LAST_WAIT_S = 5.0

log = structlog.get_logger(__name__)


class Fleet:
    """Keeps children. A component: `run` must run for there to be any."""

    def __init__(
        self,
        *,
        limits: ListenerLimits,
        observer: ListenerObserver,
        take: Callable[[Child, Report], None],
        bury: Callable[[Child, str], None],
        look: Callable[[], None],
    ) -> None:
        """`take` gets every report, `bury` every child that has ended and why; `look` is called once a beat."""
        self._limits = limits
        self._observer = observer
        self._take = take
        self._bury = bury
        self._look = look
        self._children: dict[Child, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)
        self._wake = asyncio.Event()
        self._deaths_in_youth = 0
        self._start_not_before_s = 0.0
        self._running = False

    @property
    def children(self) -> Sequence[Child]:
        """Those that live."""
        return list(self._children)

    @property
    def may_grow(self) -> bool:
        """There will soon be a child with room, unless something goes wrong."""
        fewer = len(self._children) < self._limits.most_children
        return self._running and (fewer or any(not child.is_ready for child in self._children))

    def with_room(self) -> Child | None:
        """The fullest child that has room: so the others can be let go."""
        fit = [
            child
            for child in self._children
            if child.is_ready and not child.is_leaving and len(child.rooms) < self._limits.rooms_a_child
        ]
        return max(fit, key=lambda child: (len(child.rooms), -child.number), default=None)

    def wake(self) -> None:
        """Something has changed: see at once what is to be done."""
        self._wake.set()

    async def run(self) -> None:
        """Keep them until cancelled; ending them is `aclose`."""
        self._running = True
        try:
            while True:
                self._wake.clear()
                self._kill_the_silent()
                self._retire()
                await self._start_missing()
                self._look()
                asleep_s = boot_time_s()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.beat_s):
                        await self._wake.wait()
                self._allow_for_standstill(boot_time_s() - asleep_s)
        finally:
            self._running = False

    async def aclose(self) -> None:
        """End all children."""
        tasks = list(self._children.values())
        for child in list(self._children):
            child.hang_up()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WAIT_S)

    async def _start_missing(self) -> None:
        limits = self._limits
        usable = [child for child in self._children if not child.is_leaving]
        free = sum(limits.rooms_a_child - len(child.rooms) for child in usable)
        if len(self._children) >= limits.most_children or free > limits.rooms_a_child // 4:
            return
        if boot_time_s() < self._start_not_before_s:
            return
        try:
            child = await Child.start(number=next(self._numbers), python=limits.python, beat_s=limits.beat_s)
        except OSError:
            log.exception("listener_not_started")
            self._died_young()
            return
        self._children[child] = asyncio.create_task(self._attend(child), name=f"listener {child.number}")

    async def _attend(self, child: Child) -> None:
        why = await child.listen(self._hear)
        del self._children[child]
        if not child.is_expected_to_end:
            self._observer.listener_died()
            log.error("listener_died", pid=child.pid, why=why, rooms=len(child.rooms))
            if boot_time_s() - child.started_s < YOUNG_S:
                self._died_young()
            else:
                self._deaths_in_youth = 0
        self._bury(child, why)
        self._wake.set()

    def _hear(self, child: Child, report: Report) -> None:
        if isinstance(report, Beat) and child.beats == 1:
            log.info("listener_ready", pid=child.pid, after_s=round(boot_time_s() - child.started_s, 2))
        self._take(child, report)

    def _died_young(self) -> None:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._deaths_in_youth)
        self._deaths_in_youth = min(10, self._deaths_in_youth + 1)
        self._start_not_before_s = boot_time_s() + pause_s

    def _kill_the_silent(self) -> None:
        now_s, limits = boot_time_s(), self._limits
        for child in self._children:
            patience_s = limits.beat_s * limits.beats_missed if child.is_ready else START_S
            silent_s = now_s - child.last_heard_s
            if silent_s > patience_s:
                child.kill(f"it was not heard for {silent_s:.0f} s")

    def _allow_for_standstill(self, asleep_s: float) -> None:
        """What we did not read while we stood still ourselves is held against nobody."""
        late_s = asleep_s - self._limits.beat_s
        if late_s > self._limits.beat_s / 2:
            for child in self._children:
                child.last_heard_s += late_s

    def _retire(self) -> None:
        now_s, limits = boot_time_s(), self._limits
        for child in list(self._children):
            if child.rooms:
                child.empty_since_s = now_s
            others = [one for one in self._children if one is not child and one.is_ready and not one.is_leaving]
            free = sum(limits.rooms_a_child - len(one.rooms) for one in others)
            if child.rooms_ever >= limits.rooms_in_a_life or (
                now_s - child.empty_since_s > SURPLUS_S and free > limits.rooms_a_child // 2
            ):
                child.is_leaving = True
            if child.is_leaving and not child.rooms:
                child.hang_up()
