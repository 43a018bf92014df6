"""Errands of a conversation: in order, beside the conductor; their failures are told and end nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from orchestrator.calls.acts import Ask, Play, Stop, Tell
from orchestrator.calls.inbox import Inbox
from orchestrator.calls.messenger import Messenger
from orchestrator.metrics import Metrics
from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.events import Heard, MessagePlayed
from sip.voicemail.events import Kind, Stage, Verdict
from tests.fixtures.claims import a_claimed_call

UNSURE = Verdict(stage=Stage.FINAL, kind=Kind.UNCERTAIN, machine_probability=0.8, told_s=4.0, rule="time_limit")
MENU = Verdict(stage=Stage.REVISED, kind=Kind.MENU, machine_probability=0.9, told_s=4.0, rule="second_opinion")
QUESTION = Ask(words="press one", verdict=UNSURE, answered_s=0.5)


class ALeg:
    """Takes its time for everything, and breaks on request."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.may_go_on = asyncio.Event()
        self.error: BaseException | None = None

    async def tell_agents(self, facts: Mapping[str, str]) -> None:
        await self._do(f"tell {facts['n']}")

    async def leave_message(self, path: str) -> None:
        await self._do(f"play {path}")

    async def stop_message(self) -> None:
        await self._do("stop")

    async def _do(self, what: str) -> None:
        await self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        self.done.append(what)


class AnOpinion:
    """Answers what it was given, or raises it."""

    def __init__(self, answer: Verdict | Exception | None) -> None:
        self._answer = answer

    async def ask(self, words: str, verdict: Verdict) -> Verdict | None:
        assert (words, verdict) == (QUESTION.words, UNSURE)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(clock: Clock) -> Inbox:
    return Inbox(clock=clock)


@pytest.fixture
def leg() -> ALeg:
    return ALeg()


def a_messenger(leg: ALeg, inbox: Inbox, clock: Clock, opinion: AnOpinion | None = None) -> Messenger:
    return Messenger(call=a_claimed_call(), leg=leg, opinion=opinion, inbox=inbox, clock=clock, metrics=Metrics())


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_errands_are_run_in_order_and_nobody_waits_for_them(leg: ALeg, inbox: Inbox, clock: Clock):
    messenger = a_messenger(leg, inbox, clock)
    for errand in (Tell({"n": "1"}), Play("/a.wav"), Stop(), Tell({"n": "2"})):
        messenger.send(errand)
    assert leg.done == []
    leg.may_go_on.set()
    await until(lambda: len(leg.done) == 4)
    messenger.send(Tell({"n": "3"}))
    await until(lambda: len(leg.done) == 5)
    assert leg.done == ["tell 1", "play /a.wav", "stop", "tell 2", "tell 3"]
    await messenger.aclose()


@pytest.mark.parametrize(
    "error", [CarrierUnavailable("away"), TimeoutError(), ZeroDivisionError("a defect"), asyncio.CancelledError()]
)
async def test_a_message_that_cannot_be_played_is_told_whatever_went_wrong(
    leg: ALeg, inbox: Inbox, clock: Clock, error: BaseException
):
    leg.error = error
    leg.may_go_on.set()
    messenger = a_messenger(leg, inbox, clock)
    messenger.send(Tell({"n": "1"}))
    messenger.send(Play("/a.wav"))
    event = await inbox.next(clock.now_s() + 20)
    assert isinstance(event, MessagePlayed)
    assert (event.complete, event.played_s, bool(event.why)) == (False, 0.0, True)
    await messenger.aclose()


async def test_what_is_not_told_yet_when_the_leg_is_over_is_told_to_nobody(leg: ALeg, inbox: Inbox, clock: Clock):
    messenger = a_messenger(leg, inbox, clock)
    messenger.send(Tell({"n": "1"}))
    messenger.send(Tell({"n": "2"}))
    await asyncio.sleep(0)
    await messenger.aclose()
    leg.may_go_on.set()
    await asyncio.sleep(0.01)
    assert leg.done == []


async def test_an_opinion_comes_as_something_heard_and_waits_for_no_errand(leg: ALeg, inbox: Inbox, clock: Clock):
    messenger = a_messenger(leg, inbox, clock, AnOpinion(MENU))
    messenger.send(Tell({"n": "1"}))  # which takes for ever
    messenger.send(QUESTION)
    event = await inbox.next(clock.now_s() + 20)
    assert isinstance(event, Heard)
    assert isinstance(event.what, Verdict)
    assert (event.what.kind, event.answered_s) == (Kind.MENU, 0.5)
    assert event.what.told_s >= UNSURE.told_s
    await messenger.aclose()


@pytest.mark.parametrize("opinion", [None, AnOpinion(None), AnOpinion(ZeroDivisionError("a defect"))])
async def test_without_an_opinion_the_verdict_stands(leg: ALeg, inbox: Inbox, clock: Clock, opinion: AnOpinion | None):
    messenger = a_messenger(leg, inbox, clock, opinion)
    messenger.send(QUESTION)
    assert await inbox.next(clock.now_s() + 0.05) is None
    await messenger.aclose()
