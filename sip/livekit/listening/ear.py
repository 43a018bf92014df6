"""One room, heard: joins hidden, subscribes to the callee's track when there is one, and reports what is heard in it.

    joined --the callee's track is published--> subscribed --callStatus is active--> answered --all is said--> gone
               `--republished, muted, away: time goes on without it

Agents' tracks are subscribed only for idleness, and only after the answer. Knows the client library and one room; what is heard
is `reception`'s and `quiet`'s matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import structlog
from livekit import rtc

from sip.clock import boot_time_s
from sip.livekit.listening.connecting import connected, disconnect
from sip.livekit.listening.loudness import Loudness
from sip.livekit.listening.quiet import QuietWatch
from sip.livekit.listening.reception import RATE_HZ, Detector, Reception
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
from sip.livekit.rooms import ANSWERED_STATUSES, CALL_STATUS, LEG_PREFIX, OUR_PREFIX
from sip.voicemail.events import DetectorEvent, DetectorSettings

FRAME_MS = 100
"""What detectors are fed with at once: in blocks of 100 ms they cost two thirds of what they do in blocks of 50 ms. And every
stream of the library hears of every other stream's frames, so that the cost grows with the square of the streams and with the
frames of each (LIVEKIT.md, section 4). It takes 25 ms more to the verdict in the mean."""
FRAMES_KEPT = 200
TICK_S = 0.25
STALLED_S = 0.5
"""This process was not on time: frames may wait that are not lost."""
TRACK_S = 5.0
"""After the answer without any track of the callee's."""
STILL_S = 1.0
"""After so long without a sound it is worth asking whether packets come at all."""
COUNT_S = 0.5
"""Between two questions."""
STATS_S = 2.0
"""For the library to answer one."""
WORDS_S = 30.0
TRANSCRIPTION_TOPIC = "lk.transcription"
TRANSCRIBED_TRACK = "lk.transcribed_track_id"
TRANSCRIPTION_FINAL = "lk.transcription_final"

_ROOM_OVER = frozenset(
    {
        rtc.DisconnectReason.CLIENT_INITIATED,
        rtc.DisconnectReason.ROOM_DELETED,
        rtc.DisconnectReason.ROOM_CLOSED,
        rtc.DisconnectReason.PARTICIPANT_REMOVED,
    }
)

log = structlog.get_logger(__name__)


class Ear:
    """Listens in one room until all is said, the room is closed or `stop` is called."""

    def __init__(
        self, *, order: Listen, tell: Callable[[Report], None], new_detector: Callable[[DetectorSettings], Detector]
    ) -> None:
        self._order = order
        self._name = order.room
        self._tell = tell
        self._quiet = QuietWatch(plan=order.plan)
        self._stopped = asyncio.Event()
        self._why = ""
        self._callee: rtc.RemoteParticipant | None = None
        self._track: rtc.Track | None = None
        self._streams: dict[str, asyncio.Task[None]] = {}  # by the track's sid
        self._closing: set[asyncio.Task[None]] = set()
        self._reading: set[asyncio.Task[None]] = set()
        self._counting: asyncio.Task[None] | None = None
        self._packets = 0
        self._sound_s = 0.0
        self._started = False
        self._answered_s: float | None = None
        self._reception = Reception(plan=order.plan, detect=order.detect, audience=self, new_detector=new_detector)
        self._room = rtc.Room()
        for event, hear in (
            ("participant_connected", self._see),
            ("participant_attributes_changed", lambda _changed, participant: self._see(participant)),
            ("participant_disconnected", self._miss),
            ("track_published", lambda _publication, participant: self._see(participant)),
            ("track_subscribed", self._subscribed),
            ("track_unsubscribed", lambda track, _publication, _participant: self._unsubscribed(track.sid)),
            ("track_unpublished", lambda publication, _participant: self._unsubscribed(publication.sid)),
            ("disconnected", self._disconnected),
        ):
            self._room.on(event, hear)  # type: ignore[arg-type]  # a literal of the library's
        self._room.register_text_stream_handler(TRANSCRIPTION_TOPIC, self._words_come)

    def stop(self) -> None:
        """Listen no more."""
        self._stopped.set()

    async def run(self) -> None:
        """Join, listen, leave. Tells Gone at the end, whatever happens."""
        try:
            await connected(self._room, self._order.url, self._order.token)
            self._tell(Joined(self._name))
            for participant in self._room.remote_participants.values():
                self._see(participant, at_once=True)
            await self._attend()
        except (rtc.ConnectError, TimeoutError) as error:
            self._why = f"the room could not be joined: {error}"
        except Exception as error:
            self._why = f"the listener failed: {type(error).__name__}: {error}"
            raise
        finally:
            for task in (*self._streams.values(), *self._reading, *(() if self._counting is None else (self._counting,))):
                task.cancel()
            await asyncio.gather(*self._streams.values(), *self._closing, return_exceptions=True)
            await disconnect(self._room)
            self._tell(Gone(self._name, boot_time_s(), self._why))

    # What is told of the reception

    def told(self, what: DetectorEvent, answered_s: float | None) -> None:
        """A detector tells something."""
        self._tell(Told(self._name, boot_time_s(), what, answered_s))

    def detection_lost(self, why: str) -> None:
        """No verdict is to be expected."""
        self._tell(DetectionLost(self._name, boot_time_s(), why))

    def detection_over(self) -> None:
        """All has been said."""
        self._tell(DetectionOver(self._name))

    # Who is there

    def _see(self, participant: rtc.RemoteParticipant, *, at_once: bool = False) -> None:
        if participant.identity.startswith(LEG_PREFIX) and participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_SIP:
            self._callee = participant
            if participant.attributes.get(CALL_STATUS) in ANSWERED_STATUSES:
                self._answer(half_heard=at_once)
            self._subscribe_to(participant)
        elif self._hears_agents and self._is_agent(participant):
            self._subscribe_to(participant)

    @property
    def _hears_agents(self) -> bool:
        return self._quiet.wants_agents and self._answered_s is not None

    @staticmethod
    def _is_agent(participant: rtc.RemoteParticipant) -> bool:
        ours = participant.identity.startswith(OUR_PREFIX)
        return not ours and participant.kind != rtc.ParticipantKind.PARTICIPANT_KIND_SIP

    @staticmethod
    def _subscribe_to(participant: rtc.RemoteParticipant) -> None:
        for publication in participant.track_publications.values():
            if publication.kind == rtc.TrackKind.KIND_AUDIO and not publication.subscribed:
                publication.set_subscribed(True)

    def _miss(self, participant: rtc.RemoteParticipant) -> None:
        if self._callee is not None and participant.identity == self._callee.identity:
            self._reception.end()
            self.stop()

    def _disconnected(self, reason: int) -> None:
        if not self._stopped.is_set() and reason not in _ROOM_OVER:
            self._why = f"the connection to the room was lost ({rtc.DisconnectReason.Name(reason)})"  # type: ignore[arg-type]
        self.stop()

    def _answer(self, *, half_heard: bool) -> None:
        if self._answered_s is not None:
            return
        now_s = self._answered_s = boot_time_s()
        if half_heard:
            self._reception.lose("the callee had answered before anybody listened")
        self._tell(AnswerSeen(self._name))
        self._reception.answer(now_s)
        self._quiet.answered(now_s)
        if self._quiet.wants_agents:
            for participant in self._room.remote_participants.values():
                if self._is_agent(participant):
                    self._subscribe_to(participant)

    # Tracks

    def _subscribed(self, track: rtc.Track, _publication: object, participant: rtc.RemoteParticipant) -> None:
        if track.kind != rtc.TrackKind.KIND_AUDIO or track.sid in self._streams:
            return
        if self._callee is not None and participant.identity == self._callee.identity:
            self._track, self._packets = track, 0
            task = self._streams[track.sid] = asyncio.create_task(self._hear_callee(track))
            task.add_done_callback(self._no_more_heard)
            if not self._started and self._reception.gives_verdicts:
                self._started = True
                self._tell(Started(self._name, boot_time_s()))
        elif self._is_agent(participant):
            self._streams[track.sid] = asyncio.create_task(self._hear_agent(track))

    def _unsubscribed(self, sid: str) -> None:
        task = self._streams.pop(sid, None)
        if task is not None:
            task.cancel()
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if self._track is not None and self._track.sid == sid:
            self._track = None

    def _no_more_heard(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("track_not_heard", room=self._name, exc_info=error)
            self._reception.lose(f"the callee's audio could not be heard: {type(error).__name__}: {error}")

    async def _hear_callee(self, track: rtc.Track) -> None:
        loudness = Loudness() if self._quiet.wants_anything else None

        def take(samples: np.ndarray) -> None:
            now_s = boot_time_s()
            self._reception.take(samples, now_s)
            if loudness is not None and loudness.hears(samples, len(samples) / RATE_HZ):
                self._sound_s = now_s
                self._quiet.callee_heard(now_s)

        await _stream(track, take)

    async def _hear_agent(self, track: rtc.Track) -> None:
        loudness = Loudness()

        def take(samples: np.ndarray) -> None:
            if loudness.hears(samples, len(samples) / RATE_HZ):
                self._quiet.agents_heard(boot_time_s())

        await _stream(track, take)

    # Time

    async def _attend(self) -> None:
        last_s = boot_time_s()
        while not self._stopped.is_set():
            try:
                async with asyncio.timeout(TICK_S):
                    await self._stopped.wait()
            except TimeoutError:
                pass
            now_s = boot_time_s()
            stalled_s, last_s = now_s - last_s - TICK_S, now_s
            if stalled_s > STALLED_S:
                self._quiet.time_jumped(stalled_s)
                continue
            self._reception.pass_time(now_s)
            answered_s = self._answered_s
            if answered_s is not None and not self._reception.has_heard and now_s - answered_s > TRACK_S:
                self._reception.lose("the callee's audio never came")
            self._look_for_packets(now_s)
            for quiet, for_s in self._quiet.look(now_s):
                self._tell(SomeoneQuiet(self._name, now_s, quiet, round(for_s, 3)))
            if self._reception.is_over and not self._quiet.wants_anything:
                return

    def _look_for_packets(self, now_s: float) -> None:
        if not self._quiet.wants_packets or self._answered_s is None:
            return
        if now_s - self._sound_s < STILL_S:  # what is lost is made up for by some milliseconds of sound only
            self._quiet.packets_came(now_s)
        elif self._track is not None and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._count_packets(self._track))

    async def _count_packets(self, track: rtc.Track) -> None:
        try:
            async with asyncio.timeout(STATS_S):
                stats = await track.get_stats()
        except TimeoutError:
            return
        except Exception as error:  # noqa: BLE001  the library raises nothing narrower; the next count may succeed
            log.debug("stats_failed", room=self._name, error=str(error))
            return
        received = sum(one.inbound_rtp.received.packets_received for one in stats if one.HasField("inbound_rtp"))
        if received > self._packets:
            self._packets = received
            self._quiet.packets_came(boot_time_s())
        await asyncio.sleep(COUNT_S)

    # Transcripts

    def _words_come(self, reader: rtc.TextStreamReader, _identity: str) -> None:
        task = asyncio.create_task(self._read_words(reader))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read_words(self, reader: rtc.TextStreamReader) -> None:
        attributes = reader.info.attributes or {}
        track = attributes.get(TRANSCRIBED_TRACK, "")
        callee = self._callee
        if callee is None or track not in callee.track_publications:
            reader.close()
            return
        try:
            async with asyncio.timeout(WORDS_S):
                text = await reader.read_all()
        except (TimeoutError, rtc.StreamError):
            return
        finally:
            reader.close()
        final = attributes.get(TRANSCRIPTION_FINAL, "") == "true"
        self._reception.hear_words(text, language=None, final=final)


async def _stream(track: rtc.Track, take: Callable[[np.ndarray], None]) -> None:
    """Until cancelled, or the track is over."""
    stream = rtc.AudioStream(track, sample_rate=RATE_HZ, num_channels=1, frame_size_ms=FRAME_MS, capacity=FRAMES_KEPT)
    try:
        async for event in stream:
            take(np.frombuffer(event.frame.data, dtype=np.int16))
    finally:
        await stream.aclose()
