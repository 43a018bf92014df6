"""What is told to the agents of one call, played to its callee, and asked of others, without holding up the conductor.

Somebody may hang up while a media server takes its time. It must not know: why anything is told, played or asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Protocol, assert_never

from orchestrator.calls.acts import Ask, Play, Stop, Tell
from orchestrator.calls.inbox import Inbox
from orchestrator.logs import call_logger
from orchestrator.looper import was_cancelled
from orchestrator.metrics import Metrics
from orchestrator.store.records import ClaimedCall
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import Heard, MessagePlayed, Moment
from sip.leg import Leg
from sip.voicemail.events import Verdict

ERRAND_REAL_S = 15.0
"""More than any request to a media server takes before it gives up by itself."""

Errand = Tell | Play | Stop


class Opinion(Protocol):
    """Who may be asked for a second opinion; `orchestrator.opinion.SecondOpinion` is one."""

    async def ask(self, words: str, verdict: Verdict) -> Verdict | None:
        """What to make of a verdict, given what was said; None: no opinion. Within a bounded time."""
        ...


class Messenger:
    """Runs the errands of one conversation, in order; questions beside them.

    What fails is logged, counted and, if it was a message, told to the conductor.
    """

    def __init__(
        self, *, call: ClaimedCall, leg: Leg, opinion: Opinion | None, inbox: Inbox, clock: Clock, metrics: Metrics
    ) -> None:
        """`opinion`: None: there is nobody to ask."""
        self._leg = leg
        self._opinion = opinion
        self._inbox = inbox
        self._clock = clock
        self._metrics = metrics
        self._log = call_logger(__name__, call_id=call.call_id, account=call.account, epoch=call.epoch)
        self._name = f"errands {call.call_id}.{call.epoch}"
        self._errands: deque[Errand] = deque()
        self._task: asyncio.Task[None] | None = None
        self._question: asyncio.Task[None] | None = None

    def send(self, errand: Errand | Ask) -> None:
        """Run it after those that wait; ask at once."""
        if isinstance(errand, Ask):
            if self._opinion is not None:
                self._question = asyncio.create_task(self._ask(self._opinion, errand), name=f"opinion for {self._name}")
            return
        self._errands.append(errand)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def aclose(self) -> None:
        """Run no more errands: the leg is over."""
        self._errands.clear()
        tasks = [task for task in (self._task, self._question) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, opinion: Opinion, question: Ask) -> None:
        asked_s = self._clock.now_s()
        try:
            async with asyncio.timeout(ERRAND_REAL_S):
                verdict = await opinion.ask(question.words, question.verdict)
        except Exception:  # noqa: BLE001  a defect here leaves the verdict as it is
            self._log.exception("opinion_failed")
            return
        now_s = self._clock.now_s()
        if verdict is not None:
            later = replace(verdict, told_s=question.verdict.told_s + now_s - asked_s)
            self._inbox.put(Heard(at=Moment(now_s), what=later, answered_s=question.answered_s))

    async def _run(self) -> None:
        while self._errands:
            errand = self._errands.popleft()
            try:
                async with asyncio.timeout(ERRAND_REAL_S):
                    await self._run_one(errand)
            except (CarrierUnavailable, TimeoutError) as error:
                self._failed(errand, str(error) or "the media server did not answer")
            except asyncio.CancelledError as error:
                if was_cancelled():
                    raise
                self._log.exception("errand_cut_off")  # what it awaited was cancelled, not we
                self._failed(errand, str(error) or "cut off")
            except Exception as error:  # noqa: BLE001  a defect here is no reason to end a conversation
                self._log.exception("errand_failed")
                self._failed(errand, f"{type(error).__name__}: {error}")

    async def _run_one(self, errand: Errand) -> None:
        match errand:
            case Tell():
                await self._leg.tell_agents(errand.facts)
            case Play():
                await self._leg.leave_message(errand.path)
            case Stop():
                await self._leg.stop_message()
            case _:
                assert_never(errand)

    def _failed(self, errand: Errand, why: str) -> None:
        kind = {Tell: "tell_agents", Play: "leave_message", Stop: "stop_message"}[type(errand)]
        self._metrics.carrier_error(kind)
        self._log.warning("errand_not_run", errand=kind, error=why)
        if isinstance(errand, Play):
            self._inbox.put(MessagePlayed(at=Moment(self._clock.now_s()), complete=False, played_s=0.0, why=why))
