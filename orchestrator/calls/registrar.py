"""Where the conductors of one process have the ends of their calls written, many in one statement.

Every end on a trunk writes the trunk's one row, and what a commit costs it costs each of them: together they cost little more
than one. An end that comes alone is written at once; what comes while others are being written waits for them, or a few
milliseconds. It must not know: SQL, or what an end means.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from orchestrator.errors import DatabaseUnavailable
from orchestrator.looper import was_cancelled
from orchestrator.store.ends import NO_AFTERMATH, EndsStore, HeldUp
from orchestrator.store.records import Aftermath, Claim, End, Finished, Outcome, WaitingFor
from sip.events import Fact

log = structlog.get_logger(__name__)

GATHERED_FOR_S = 0.005
MOST_TOGETHER = 50
MOST_UNDER_WAY = 4
"""Statements at a time, so that ends which somebody's open transaction holds up do not hold up all others."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    end: End
    answer: asyncio.Future[Finished]


class Registrar:
    """Gathers ends. Each caller gets the answer, or the error, that is its own.

    Who is cancelled while it waits loses its answer only: its end is written all the same, and nobody else's is lost. When the
    database cannot be used, everybody who waits is told, and asks again.
    """

    def __init__(self, *, store: EndsStore) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    async def finish(self, call: Claim, outcome: Outcome, aftermath: Aftermath = NO_AFTERMATH) -> Finished:
        """As EndsStore.finish."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(end=End(call=call, outcome=outcome, aftermath=aftermath), answer=loop.create_future())
        self._waiting.append(waiting)
        if self._timer is None:
            # Alone: at the end of this turn of the loop, with all that end in the same turn.
            self._timer = loop.call_later(GATHERED_FOR_S, self._send) if self._under_way else loop.call_soon(self._send)
        elif len(self._waiting) == MOST_TOGETHER:
            self._timer.cancel()
            self._timer = loop.call_soon(self._send)
        return await waiting.answer

    async def requeue(
        self,
        call: Claim,
        *,
        delay_s: float,
        waiting_for: WaitingFor,
        detail: Mapping[str, Fact],
        aftermath: Aftermath = NO_AFTERMATH,
        agent_came: bool | None = None,
    ) -> bool:
        """As EndsStore.requeue, which is seldom asked: nothing is gathered."""
        return await self._store.requeue(
            call, delay_s=delay_s, waiting_for=waiting_for, detail=detail, aftermath=aftermath, agent_came=agent_came
        )

    def _send(self) -> None:
        """Send what waits, as far as there is room for another statement; the rest goes when one has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and len(self._under_way) < MOST_UNDER_WAY:
            task = asyncio.create_task(self._write(self._take()), name="registrar")
            self._under_way.add(task)
            task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._waiting:
            self._send()

    def _take(self) -> list[_Waiting]:
        """What goes into one statement: a call once, since its second end is a repetition that the first one answers."""
        taken: dict[tuple[int, int], _Waiting] = {}
        left: list[_Waiting] = []
        while self._waiting and len(taken) < MOST_TOGETHER:
            waiting = self._waiting.popleft()
            key = (waiting.end.call.call_id, waiting.end.call.epoch)
            if key in taken:
                left.append(waiting)
            else:
                taken[key] = waiting
        self._waiting.extendleft(reversed(left))
        return list(taken.values())

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        try:
            await self._write_together(batch)
        except asyncio.CancelledError:
            if was_cancelled():
                for waiting in batch:
                    waiting.answer.cancel()
                raise
            # What it awaited was torn down under it: whether it was written is not known, and asking again is right.
            _refuse(batch, DatabaseUnavailable("the statement was cut off"))
        except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
            _refuse(batch, error)

    async def _write_together(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = await self._store.finish_all([waiting.end for waiting in batch])
        except Exception as error:
            if len(batch) == 1 or (isinstance(error, DatabaseUnavailable) and not isinstance(error, HeldUp)):
                raise
            log.warning("ends_written_apart", ends=len(batch), error=str(error), kind=type(error).__name__)
            # One of them is at fault, or waits for somebody: it shall not take the others with it.
            parts = _by_account(batch) if isinstance(error, HeldUp) else [[waiting] for waiting in batch]
            if len(parts) == 1:
                raise
            await asyncio.gather(*(self._write(part) for part in parts))
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)


def _by_account(batch: Iterable[_Waiting]) -> list[list[_Waiting]]:
    parts: dict[int, list[_Waiting]] = {}
    for waiting in batch:
        parts.setdefault(waiting.end.call.account_id, []).append(waiting)
    return list(parts.values())


def _refuse(batch: Iterable[_Waiting], error: BaseException) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
