"""The pool: where rooms are placed, what becomes of them when a child dies, and that no child outlives its use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sip.errors import CarrierUnavailable
from sip.events import Heard, ListeningLost, ListeningStarted, MessagePlayed, RoomEvent
from sip.leg import ListeningPlan
from sip.livekit.listening.limits import ListenerLimits
from sip.livekit.listening.listeners import Listeners

ROOT = Path(__file__).resolve().parents[5]
FAKE = Path(__file__).with_name("fake_child.py")
PATIENCE_S = 60.0
QUIET = ListeningPlan(silence_s=3.0)


class Tally:
    """Hears how listeners fare."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.deaths = 0
        self.most = 0

    def listeners_changed(self, *, children: int, rooms: int) -> None:
        self.most = max(self.most, children)

    def listening_lost(self, kind: str) -> None:
        self.lost.append(kind)

    def listener_died(self) -> None:
        self.deaths += 1


class Desk:
    """A pool of fake children."""

    def __init__(self, listeners: Listeners, tally: Tally) -> None:
        self.listeners = listeners
        self.tally = tally
        self.told: dict[str, list[RoomEvent]] = {}

    async def listen(self, room: str, plan: ListeningPlan | None = None) -> list[RoomEvent]:
        events = self.told.setdefault(room, [])
        await self.listeners.listen(room, plan or ListeningPlan(), lasts_s=60.0, tell=events.append)
        return events

    async def until(self, room: str, *kinds: type[RoomEvent]) -> list[RoomEvent]:
        """Until these, and exactly these, were told of a room."""
        events = self.told[room]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(events) < len(kinds):
                    await asyncio.sleep(0.01)
        assert [type(event) for event in events] == list(kinds), events
        return events

    async def until_ready(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.listeners.are_ready:
                await asyncio.sleep(0.01)


@pytest.fixture
def python(tmp_path: Path) -> str:
    """Runs the fake child, whatever it is asked to run."""
    program = tmp_path / "python"
    # It looks for its notes beside itself.
    program.write_text(f'#!/bin/sh\nFAKE_NOTES={tmp_path} PYTHONPATH={ROOT} exec {sys.executable} {FAKE} "$@"\n')
    program.chmod(0o755)
    return str(program)


@contextlib.asynccontextmanager
async def pool(python: str, **limits: float) -> AsyncIterator[Desk]:
    tally = Tally()
    made = Listeners(
        url="http://127.0.0.1:1",
        api_key="key",
        api_secret="s" * 40,
        limits=ListenerLimits(
            **{
                "beat_s": 0.1,
                "beats_missed": 30,
                "python": python,
                **{name: type(getattr(ListenerLimits(), name))(value) for name, value in limits.items()},
            }
        ),  # type: ignore[arg-type]
        observer=tally,
    )
    running = asyncio.create_task(made.run())
    try:
        desk = Desk(made, tally)
        await desk.until_ready()
        yield desk
        assert not running.done(), running
    finally:
        pids = made.pids
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert [pid for pid in pids if alive(pid)] == []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_room_is_heard_and_left(python: str) -> None:
    async with pool(python) as desk:
        await desk.listen("a hears")
        await desk.until("a hears", ListeningStarted, Heard)
        desk.listeners.leave("a hears")
        desk.listeners.leave("a hears")
        assert desk.tally.lost == []


async def test_a_child_that_dies_in_a_greeting_takes_the_verdict_with_it_and_nothing_else(python: str) -> None:
    async with pool(python) as desk:
        await desk.listen("a hears")
        await desk.until("a hears", ListeningStarted, Heard)
        await desk.listen("b dies", QUIET)
        # Beeps are heard on, by another child; but no verdict: listening has not started again.
        await desk.until("b dies", ListeningStarted, ListeningLost, Heard)
        await desk.until("a hears", ListeningStarted, Heard, ListeningLost, Heard)
        assert desk.tally.deaths == 1
        assert desk.tally.lost == ["died", "died"]


async def test_a_child_that_dies_before_the_answer_is_replaced_and_detection_begins_again(python: str) -> None:
    async with pool(python) as desk:
        await desk.listen("a dies-early")
        await desk.until("a dies-early", ListeningStarted, ListeningLost, ListeningStarted, Heard)


@pytest.mark.parametrize("kind", ["stalls", "babbles"])
async def test_a_child_that_does_not_beat_or_talks_nonsense_is_replaced(python: str, kind: str) -> None:
    async with pool(python, most_children=1, beats_missed=15) as desk:
        before = desk.listeners.pids
        await desk.listen(f"a {kind}")
        await desk.until(f"a {kind}", ListeningLost)
        desk.listeners.leave(f"a {kind}")
        await desk.until_ready()
        assert desk.listeners.pids != before
        await desk.listen("b hears")
        await desk.until("b hears", ListeningStarted, Heard)


async def test_a_room_that_cannot_be_joined_is_told(python: str) -> None:
    async with pool(python) as desk:
        await desk.listen("a refused")
        (lost,) = await desk.until("a refused", ListeningLost)
        assert isinstance(lost, ListeningLost)
        assert "refused" in lost.why
        assert desk.tally.lost == ["not_joined"]


async def test_children_are_bounded_and_whoever_finds_no_room_is_told_at_once(python: str) -> None:
    async with pool(python, most_children=2, rooms_a_child=3) as desk:
        rooms = [f"{n} rings" for n in range(6)]
        for room in rooms:
            await desk.listen(room)
        for room in rooms:
            await desk.until(room, ListeningStarted)
        await desk.listen("too many")
        await desk.until("too many", ListeningLost)
        assert desk.tally.lost == ["full"]
        assert desk.tally.most == 2
        desk.listeners.leave(rooms[0])
        await desk.until_ready()
        await desk.listen("another rings")
        await desk.until("another rings", ListeningStarted)


async def test_a_child_that_had_many_rooms_is_replaced_when_they_are_over(python: str) -> None:
    async with pool(python, most_children=2, rooms_in_a_life=2) as desk:
        (first,) = desk.listeners.pids
        for room in ("a rings", "b rings"):
            await desk.listen(room)
            await desk.until(room, ListeningStarted)
        await desk.until_ready()
        for room in ("a rings", "b rings"):
            desk.listeners.leave(room)
        async with asyncio.timeout(PATIENCE_S):
            while first in desk.listeners.pids:
                await asyncio.sleep(0.01)
        assert desk.tally.deaths == 0


async def test_messages_are_played_stopped_and_refused(python: str) -> None:
    async with pool(python) as desk:
        told: list[RoomEvent] = []
        await desk.listeners.play("a", "/x/ok.wav", tell=told.append)
        await desk.listeners.play("b long", "/x/ok.wav", tell=told.append)
        with pytest.raises(CarrierUnavailable):
            await desk.listeners.play("b long", "/x/ok.wav", tell=told.append)
        desk.listeners.hush("b long")
        desk.listeners.hush("nobody")
        with pytest.raises(CarrierUnavailable, match="no audio"):
            await desk.listeners.play("c", "/x/other.wav", tell=told.append)
        async with asyncio.timeout(PATIENCE_S):
            while len(told) < 2:
                await asyncio.sleep(0.01)
        assert [(event.complete, event.played_s) for event in told if isinstance(event, MessagePlayed)] == [
            (True, 2.0),
            (False, 0.5),
        ]


async def test_a_message_that_plays_in_a_child_that_dies_is_told_as_not_complete(python: str) -> None:
    async with pool(python, most_children=1) as desk:
        told: list[RoomEvent] = []
        await desk.listeners.play("a long", "/x/ok.wav", tell=told.append)
        await desk.listen("b dies")
        async with asyncio.timeout(PATIENCE_S):
            while not told:
                await asyncio.sleep(0.01)
        (played,) = told
        assert isinstance(played, MessagePlayed)
        assert not played.complete


async def test_without_a_pool_that_runs_nobody_listens_and_that_is_said(python: str) -> None:
    listeners = Listeners(url="http://127.0.0.1:1", api_key="key", api_secret="s" * 40, limits=ListenerLimits(python=python))
    desk = Desk(listeners, Tally())
    await desk.listen("a")
    await desk.until("a", ListeningLost)
    with pytest.raises(CarrierUnavailable):
        await listeners.play("a", "/x/ok.wav", tell=desk.told["a"].append)


async def test_a_program_that_cannot_be_started_is_tried_again_and_calls_go_on(tmp_path: Path) -> None:
    tally = Tally()
    limits = ListenerLimits(python=str(tmp_path / "missing"), beat_s=0.05, most_children=1)
    listeners = Listeners(url="http://127.0.0.1:1", api_key="key", api_secret="s" * 40, limits=limits, observer=tally)
    running = asyncio.create_task(listeners.run())
    await asyncio.sleep(0.3)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert tally.most == 0
