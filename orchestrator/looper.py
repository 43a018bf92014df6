"""The one way in which something runs for ever here.

A `Looper` runs its step at once when woken and otherwise every interval, survives the step's errors with growing pauses, and
reports each success, so that a loop that has stopped making progress shows in metrics and health. It knows nothing of what
the step does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from orchestrator.errors import DatabaseError, Error
from sip.errors import Error as SipError

log = structlog.get_logger(__name__)

MAX_PAUSE_S = 15.0


def was_cancelled() -> bool:
    """Whether the running task itself has been cancelled: a CancelledError may also come from something that it awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class LoopWatch(Protocol):
    """Where loops report; `orchestrator.metrics.Metrics` is one."""

    def loop_succeeded(self, name: str) -> None:
        """A step of the loop `name` has just ended well."""
        ...

    def loop_failed(self, name: str) -> None:
        """A step of the loop `name` has just failed."""
        ...

    def database_error(self) -> None:
        """The database could not be used."""
        ...


class Looper:
    """Runs one step again and again until cancelled."""

    def __init__(self, *, name: str, interval_s: float, step: Callable[[], Awaitable[None]], watch: LoopWatch) -> None:
        self.name = name
        self.last_success_s: float | None = None
        """`time.monotonic()` of the last step that ended well."""
        self.step_began_s: float | None = None
        """`time.monotonic()` of the start of the step that is under way; None between steps."""
        self.interval_s = interval_s
        """Longest pause between steps that end well; may be changed, and is taken over at the next pause."""
        self._step = step
        self._watch = watch
        self._woken = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Let `run` return after the step that is under way: a step is never cut off between two of its effects."""
        self._stopping = True
        self._woken.set()

    def wake(self) -> None:
        """Run the step as soon as possible; many wake-ups before it runs are one."""
        self._woken.set()

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        failures = 0
        while not self._stopping:
            self._woken.clear()
            self.step_began_s = time.monotonic()
            try:
                await self._step()
            except asyncio.CancelledError:
                if was_cancelled():
                    raise
                # Somebody else's future was cancelled under the step, as when a connection is torn down: not our end.
                failures += 1
                log.exception("loop_step_cut_off", loop=self.name, failures=failures)
                self._watch.loop_failed(self.name)
            except (Error, SipError, OSError, TimeoutError) as error:
                # The world outside: a database or media server that is away. It comes back, and so do we.
                failures += 1
                log.warning("loop_step_failed", loop=self.name, failures=failures, error=str(error), kind=type(error).__name__)
                self._watch.loop_failed(self.name)
                if isinstance(error, DatabaseError):
                    self._watch.database_error()
            except Exception:
                # A defect in one step must not end the daemon with live calls in it.
                failures += 1
                log.exception("loop_step_raised", loop=self.name, failures=failures)
                self._watch.loop_failed(self.name)
            else:
                failures = 0
                self.last_success_s = time.monotonic()
                self._watch.loop_succeeded(self.name)
            self.step_began_s = None
            if failures:
                self._woken.clear()  # a failing step is not hurried by whoever wakes it
            await self._sleep_until_woken(
                min(MAX_PAUSE_S, self.interval_s * 2 ** min(failures, 8)) if failures else self.interval_s
            )

    async def _sleep_until_woken(self, longest_s: float) -> None:
        if self._stopping:
            return
        try:
            async with asyncio.timeout(longest_s):
                await self._woken.wait()
        except TimeoutError:
            pass
