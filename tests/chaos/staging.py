"""What goes wrong where one of the program's protections is missing: real workers, a real media server, a scene for each."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from orchestrator.store.views import NewCall
from tests.chaos.verdict import Verdict, come_to_rest, judge
from tests.chaos.world import World, world

PATIENCE_S = 30.0
LATE_BY_S = 5.5
REST_S = 6.0
"""How long rooms and calls may take to be gone at the end of a scene."""
TALKS, BUSY = 21, 22
"""Last two digits of numbers (sip.simulated.scripts)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One protection, and what its absence leads to."""

    breach: str
    play: Callable[[World], Awaitable[None]]


async def _stopped_between_intent_and_request(stage: World) -> None:
    first, _ = stage.workers
    await _until(lambda: first.arm("after begin_dial", "stop"), "the worker listens")
    before = len(first.hit())
    await _enqueue(stage, TALKS)
    await _until(lambda: len(first.hit()) > before, "the intent is written")
    await asyncio.sleep(LATE_BY_S)
    first.signal(signal.SIGCONT)
    await _ended(stage)


async def _request_on_its_way(stage: World) -> None:
    first, second = stage.workers
    wire = first.to_livekit
    wire.held, wire.hold = False, b"CreateSIPParticipant"
    wire.let_go.clear()
    await _enqueue(stage, TALKS)
    await _until(lambda: wire.held, "the request is on its way")
    first.kill()
    second.start()
    await _ended(stage)
    wire.let_go.set()
    await asyncio.sleep(2)


async def _answer_lost(stage: World) -> None:
    first, _ = stage.workers
    first.to_livekit.lose_answers_to = b"CreateSIPParticipant"
    await _enqueue(stage, TALKS)
    await _ended(stage)


async def _ends_at_once(stage: World) -> None:
    await _enqueue(stage, BUSY)
    await _ended(stage)


SCENES = {
    "age of the intent": Scene("request later than its dial time allows", _stopped_between_intent_and_request),
    "one request for a dial": Scene("requested twice", _answer_lost),
    "closing of rooms": Scene("room left", _ends_at_once),
    "the fence": Scene("rung although it had ended", _request_on_its_way),
}
"""By the names of removals.REMOVALS."""


@asynccontextmanager
async def theatre() -> AsyncIterator[World]:
    """Everything but the workers, which each scene starts."""
    async with world(workers=2, start=False) as stage:
        yield stage
        stage.keep_files = False


async def perform(stage: World, name: str, *, without: bool) -> Verdict:
    """One scene, by workers that lack the protection or not."""
    verdict = Verdict()
    for worker in stage.workers:
        worker.without, worker.hurries = name if without else "", True
    await stage.begin_anew()
    stage.workers[0].start()
    try:
        await SCENES[name].play(stage)
        await come_to_rest(stage, patience_s=REST_S)
        await judge(stage, [], verdict)
    finally:
        for worker in stage.workers:
            worker.kill()
        await _sweep(stage)
    return verdict


async def _enqueue(stage: World, line: int) -> None:
    await stage.calls.enqueue([NewCall(account="north", to=f"+44207946{stage.after_call % 100:02d}{line:02d}")])


async def _until(promise: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not promise():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not {what} after {PATIENCE_S} s")
        await asyncio.sleep(0.02)


async def _ended(stage: World) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while (await stage.query("SELECT count(*) FROM calls WHERE ended_at IS NULL"))[0][0]:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"calls live after {PATIENCE_S} s")
        await asyncio.sleep(0.02)


async def _sweep(stage: World) -> None:
    """What a scene left is not the next one's."""
    for name in await stage.rooms():
        await stage.delete_room(name)
