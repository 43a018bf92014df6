"""One room, heard: a track that never comes, is muted, restarts or cannot be heard, and when the room is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from livekit import rtc

from sip.events import Quiet
from sip.leg import ListeningPlan
from sip.livekit.listening import connecting, ear, reception
from sip.livekit.listening.ear import Ear
from sip.livekit.listening.reception import RATE_HZ
from sip.livekit.listening.wire import (
    AnswerSeen,
    DetectionLost,
    DetectionOver,
    Gone,
    Joined,
    Listen,
    Report,
    SomeoneQuiet,
    Started,
    Told,
)
from sip.voicemail.events import DetectorEvent, Kind, SpeechStarted, Stage, Verdict

PATIENCE_S = 30.0
CALLEE = "callee-1"
ACTIVE = {"sip.callStatus": "active"}
FRAME = np.zeros(RATE_HZ // 10, np.int16)
END = None
"""Of a track's audio."""


class FakeTrack:
    """A track of the library's, with audio that tests put into it."""

    kind = rtc.TrackKind.KIND_AUDIO

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.audio: asyncio.Queue[np.ndarray | Exception | None] = asyncio.Queue()
        self.packets = 0

    async def get_stats(self) -> list[Any]:
        received = SimpleNamespace(received=SimpleNamespace(packets_received=self.packets))
        return [SimpleNamespace(inbound_rtp=received, HasField=lambda _name: True)]


class FakeStream:
    """`rtc.AudioStream`, as far as an ear uses it."""

    def __init__(self, track: FakeTrack, **asked: object) -> None:
        assert asked["sample_rate"] == RATE_HZ, "the library resamples, at no cost to Python"
        self._audio = track.audio

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (samples := await self._audio.get()) is not END:
            if isinstance(samples, Exception):
                raise samples
            yield SimpleNamespace(frame=SimpleNamespace(data=samples.tobytes()))

    async def aclose(self) -> None:
        pass


class FakeParticipant:
    """A participant; its publications are subscribed to as soon as somebody asks."""

    def __init__(self, room: FakeRoom, identity: str, *, kind: int, attributes: Mapping[str, str]) -> None:
        self.identity = identity
        self.kind = kind
        self.attributes = dict(attributes)
        self.track_publications: dict[str, Any] = {}
        self._room = room

    def publish(self, track: FakeTrack) -> None:
        publication = SimpleNamespace(kind=track.kind, sid=track.sid, subscribed=False)

        def subscribe(on: bool) -> None:
            publication.subscribed = on
            asyncio.get_running_loop().call_soon(self._room.emit, "track_subscribed", track, publication, self)

        publication.set_subscribed = subscribe
        self.track_publications[track.sid] = publication
        if not self._room.is_closed_yet:
            self._room.emit("track_published", publication, self)

    def unpublish(self, track: FakeTrack) -> None:
        publication = self.track_publications.pop(track.sid)
        self._room.emit("track_unpublished", publication, self)


class FakeRoom:
    """`rtc.Room`, as far as an ear uses it."""

    name = "r"

    def __init__(self) -> None:
        self.remote_participants: dict[str, FakeParticipant] = {}
        self.left = asyncio.Event()
        self.let_in = asyncio.Event()
        self.let_in.set()
        self.cancelled = False
        self.is_closed_yet = False
        """Whoever is there when we come in is not told as somebody who comes."""
        self._hear: dict[str, Callable[..., None]] = {}

    def on(self, event: str, hear: Callable[..., None]) -> None:
        self._hear[event] = hear

    def emit(self, event: str, *arguments: object) -> None:
        if event in self._hear:
            self._hear[event](*arguments)

    def register_text_stream_handler(self, topic: str, hear: object) -> None:
        pass

    async def connect(self, *_: object) -> None:
        try:
            await self.let_in.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def disconnect(self) -> None:
        self.left.set()

    def joins(
        self,
        identity: str = CALLEE,
        *,
        kind: int = rtc.ParticipantKind.PARTICIPANT_KIND_SIP,
        attributes: Mapping[str, str] | None = None,
    ) -> FakeParticipant:
        participant = FakeParticipant(self, identity, kind=kind, attributes=attributes or {})
        self.remote_participants[identity] = participant
        if not self.is_closed_yet:
            self.emit("participant_connected", participant)
        return participant

    def answers(self, participant: FakeParticipant) -> None:
        participant.attributes |= ACTIVE
        self.emit("participant_attributes_changed", ACTIVE, participant)


class FakeDetector:
    """Counts what it is given."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.is_done = False
        self.fed = 0
        self.fails = False

    def feed(self, samples: np.ndarray) -> list[DetectorEvent]:
        if self.fails:
            raise ValueError("broken")
        self.fed += 1
        return [*self.miss(len(samples) / RATE_HZ), SpeechStarted(self.now_s, self.now_s)]

    def miss(self, duration_s: float) -> list[DetectorEvent]:
        self.now_s += duration_s
        return []

    def answer(self) -> list[DetectorEvent]:
        return []

    def hear_words(self, text: str, *, language: str | None, final: bool) -> list[DetectorEvent]:
        return []

    def finish(self) -> list[DetectorEvent]:
        return [Verdict(Stage.FINAL, Kind.UNCERTAIN, 0.5, self.now_s, "time_limit")]


class Desk:
    """One ear in a fake room."""

    def __init__(self, plan: ListeningPlan) -> None:
        self.reports: list[Report] = []
        self.detector = FakeDetector()
        self.ear = Ear(
            order=Listen("r", "ws://h", "t", plan, detect=True), tell=self.reports.append, new_detector=lambda _: self.detector
        )
        self.room: FakeRoom = self.ear._room  # type: ignore[assignment]  # the fake one

    def told(self, kind: type[Report]) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    async def until(self, is_so: Callable[[], object]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not is_so():
                    await asyncio.sleep(0.002)
                return
        raise AssertionError(self.reports)

    async def until_told(self, *kinds: type[Report]) -> None:
        await self.until(lambda: all(self.told(kind) for kind in kinds))


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library's rooms and streams are fakes; the ear looks around often, and bears with a slow machine."""
    monkeypatch.setattr(rtc, "Room", FakeRoom)
    monkeypatch.setattr(rtc, "AudioStream", FakeStream)
    monkeypatch.setattr(ear, "TICK_S", 0.01)
    monkeypatch.setattr(ear, "STILL_S", 0.0)
    monkeypatch.setattr(ear, "COUNT_S", 0.01)
    monkeypatch.setattr(reception, "JUMP_S", 600.0)
    monkeypatch.setattr(reception, "LATE_S", 600.0)


@contextlib.asynccontextmanager
async def listening(plan: ListeningPlan | None = None) -> AsyncIterator[Desk]:
    desk = Desk(plan or ListeningPlan())
    running = asyncio.create_task(desk.ear.run())
    await desk.until_told(Joined)
    try:
        yield desk
    finally:
        desk.ear.stop()
        await asyncio.gather(running, return_exceptions=True)
        assert len(desk.told(Gone)) == 1, "it is told in any case"
        assert desk.room.left.is_set()


async def test_the_callee_is_heard_from_before_his_answer_on() -> None:
    async with listening() as desk:
        callee = desk.room.joins()
        track = FakeTrack("a")
        callee.publish(track)
        await desk.until_told(Started)
        track.audio.put_nowait(FRAME)
        await desk.until_told(Told)
        desk.room.answers(callee)
        track.audio.put_nowait(FRAME)
        await desk.until(lambda: len(desk.told(Told)) == 2)
        before, after = desk.told(Told)
        assert before.answered_s is None
        assert after.answered_s >= 0.1
        assert len(desk.told(AnswerSeen)) == 1


async def test_a_track_that_never_comes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ear, "TRACK_S", 0.05)
    async with listening() as desk:
        desk.room.answers(desk.room.joins())
        await desk.until_told(DetectionLost)
        assert "never came" in desk.told(DetectionLost)[0].why
        assert desk.told(Started) == []


async def test_a_track_without_any_audio_is_told_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ear, "TRACK_S", 0.05)
    async with listening() as desk:
        callee = desk.room.joins()
        callee.publish(FakeTrack("a"))
        desk.room.answers(callee)
        await desk.until_told(Started, DetectionLost)


async def test_a_track_that_is_muted_is_lost_media_and_its_return_is_heard() -> None:
    async with listening(ListeningPlan(media_lost_s=0.2)) as desk:
        callee = desk.room.joins()
        track = FakeTrack("a")
        callee.publish(track)
        await desk.until_told(Started)
        track.packets = 10
        track.audio.put_nowait(FRAME)
        desk.room.answers(callee)
        # It is muted: neither frames nor packets come.
        await desk.until_told(SomeoneQuiet)
        assert [report.quiet for report in desk.told(SomeoneQuiet)] == [Quiet.MEDIA]
        fed = desk.detector.fed
        track.audio.put_nowait(FRAME)
        await desk.until(lambda: desk.detector.fed > fed)
        assert desk.told(DetectionLost) == []


async def test_a_track_that_restarts_is_heard_on_by_the_same_detector() -> None:
    async with listening() as desk:
        callee = desk.room.joins()
        desk.room.answers(callee)
        first, second = FakeTrack("a"), FakeTrack("b")
        callee.publish(first)
        await desk.until_told(Started)
        first.audio.put_nowait(FRAME)
        await desk.until(lambda: desk.detector.fed == 1)
        callee.unpublish(first)
        callee.publish(second)
        first.audio.put_nowait(FRAME)
        for _ in range(2):
            second.audio.put_nowait(FRAME)
        await desk.until(lambda: desk.detector.fed == 3)
        assert len(desk.told(Started)) == 1
        assert desk.told(DetectionLost) == []
        assert first.audio.qsize() == 1, "nobody listens to the old one any more"


async def test_a_track_that_cannot_be_heard_any_more_is_told() -> None:
    async with listening() as desk:
        callee = desk.room.joins()
        track = FakeTrack("a")
        callee.publish(track)
        desk.room.answers(callee)
        track.audio.put_nowait(OSError("no such codec"))
        await desk.until_told(DetectionLost)
        assert "no such codec" in desk.told(DetectionLost)[0].why


async def test_a_detector_that_fails_ends_its_own_calls_detection_only() -> None:
    plan = ListeningPlan(silence_s=0.1)
    async with listening(plan) as broken, listening(plan) as sound:
        for desk in (broken, sound):
            callee, track = desk.room.joins(), FakeTrack("a")
            callee.publish(track)
            desk.room.answers(callee)
            desk.detector.fails = desk is broken
            track.audio.put_nowait(FRAME)
        await broken.until_told(DetectionLost, DetectionOver, SomeoneQuiet)  # silence is still watched for
        await sound.until_told(Told, SomeoneQuiet)
        assert "broken" in broken.told(DetectionLost)[0].why
        assert broken.told(Told) == []
        assert sound.told(DetectionLost) == []


async def test_when_all_is_said_the_room_is_left() -> None:
    async with listening() as desk:
        callee, track = desk.room.joins(), FakeTrack("a")
        callee.publish(track)
        desk.room.answers(callee)
        desk.detector.is_done = True
        track.audio.put_nowait(FRAME)
        await desk.until_told(DetectionOver, Gone)
        assert desk.told(Gone)[0].why == ""


async def test_whoever_answered_before_anybody_listened_gets_no_verdict() -> None:
    desk = Desk(ListeningPlan())
    desk.room.is_closed_yet = True
    desk.room.joins(attributes=ACTIVE).publish(FakeTrack("a"))
    desk.room.is_closed_yet = False
    running = asyncio.create_task(desk.ear.run())
    await desk.until_told(DetectionLost)
    assert desk.told(Started) == []
    desk.ear.stop()
    await running


async def test_agents_are_listened_to_after_the_answer_and_only_for_idleness() -> None:
    def subscribed(desk: Desk) -> bool:
        return any(one.subscribed for one in desk.room.remote_participants["agent"].track_publications.values())

    async with listening(ListeningPlan(idle_s=600.0)) as curious, listening(ListeningPlan(silence_s=600.0)) as other:
        for desk in (curious, other):
            agent = desk.room.joins("agent", kind=rtc.ParticipantKind.PARTICIPANT_KIND_AGENT)
            agent.publish(FakeTrack("voice"))
            callee = desk.room.joins()
            callee.publish(FakeTrack("a"))
            await desk.until_told(Started)
            assert not subscribed(desk)
            desk.room.answers(callee)
        assert subscribed(curious)
        assert not subscribed(other)


# Joining


async def test_joining_is_never_cancelled_and_whoever_comes_in_too_late_leaves() -> None:
    for give_up in (give_up_waiting, cancel_waiting):
        room = FakeRoom()
        room.let_in.clear()
        await give_up(room)
        assert not room.left.is_set()
        room.let_in.set()
        async with asyncio.timeout(PATIENCE_S):
            await room.left.wait()
        assert not room.cancelled


async def give_up_waiting(room: FakeRoom) -> None:
    with pytest.raises(TimeoutError):
        await connecting.connected(room, "ws://h", "t", patience_s=0.01)  # type: ignore[arg-type]  # the fake one


async def cancel_waiting(room: FakeRoom) -> None:
    waiting = asyncio.create_task(connecting.connected(room, "ws://h", "t"))  # type: ignore[arg-type]  # the fake one
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
