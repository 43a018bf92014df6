"""The callee as a SIP participant of a real room: joins, shows a status, is heard and hears, and leaves with a reason.

Knows LiveKit's client library and nothing of scripts or dial requests. `join` must never be cancelled: the library would
end the process some seconds later (python-sdks#784).
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Coroutine, Iterable, Mapping
from datetime import timedelta

import numpy as np
import structlog
from livekit import api, rtc

from tests.standin.refusals import Leave

CALL_STATUS = "sip.callStatus"
RATE_HZ = 8_000
"""What a telephone carries, both ways."""
_LISTEN_FRAME_MS = 100
"""Long frames, since every stream of the library hears of every other stream's frames."""
_QUEUE_MS = 10_000
"""Given to the library ahead of time: on a busy machine this process may be late, and callees must not stutter for that."""
_LOUD = 300.0
"""Root mean square of 16-bit samples above which something is heard."""
_ACKNOWLEDGED_S = 0.3
_LEAVE_S = 5.0
_DTMF_CODES = {digit: code for code, digit in enumerate("0123456789*#ABCD")}

_log = structlog.get_logger(__name__)


class NotJoinedError(Exception):
    """The room could not be joined."""


class Callee:
    """One callee in one room."""

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        api_secret: str,
        room: str,
        identity: str,
        name: str,
        metadata: str,
        attributes: Mapping[str, str],
        has_media: bool = True,
    ) -> None:
        """`has_media`: False is for load, when nobody listens: it joins without a track."""
        self.gone = asyncio.Event()
        """Set once it is in the room no more, whoever wanted that."""
        self.heard_s = 0.0
        self.digits = ""
        self._identity = identity
        self._url = url
        self._has_media = has_media
        self._token = (
            api.AccessToken(api_key, api_secret)
            .with_identity(identity)
            .with_name(name)
            .with_metadata(metadata)
            .with_kind("sip")
            .with_attributes(dict(attributes))
            .with_ttl(timedelta(hours=1))
            .with_grants(api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True))
            .to_jwt()
        )
        self._room = rtc.Room()
        self._source: rtc.AudioSource | None = None
        self._track: rtc.LocalAudioTrack | None = None
        self._playing: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Future[object]] = set()
        self._listening: dict[str, asyncio.Task[None]] = {}
        self._room.on("disconnected", lambda _reason: self.gone.set())
        self._room.on("sip_dtmf_received", self._hear_digit)

    @property
    def sid(self) -> str:
        """The participant's id in the server."""
        return self._room.local_participant.sid

    async def join(self) -> None:
        """Join and publish a track that carries silence. Raises NotJoinedError."""
        try:
            await self._room.connect(self._url, self._token, rtc.RoomOptions(auto_subscribe=False))
            if not self._has_media:
                return
            self._source = rtc.AudioSource(RATE_HZ, 1, queue_size_ms=_QUEUE_MS)
            track = rtc.LocalAudioTrack.create_audio_track(self._room.local_participant.identity, self._source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            # As the SIP service does: a packet every 20 ms, whatever is heard, and each once.
            options.dtx, options.red = False, False
            await self._room.local_participant.publish_track(track, options)
            self._track = track
        except (rtc.ConnectError, rtc.participant.PublishTrackError) as error:
            raise NotJoinedError(str(error)) from error

    async def tell(self, attributes: Mapping[str, str]) -> None:
        """Set attributes of its own; nothing if it is gone."""
        await self._unless_gone(self._room.local_participant.set_attributes(dict(attributes)))

    def play(self, frames: Iterable[array[int]]) -> None:
        """Play frames of 16-bit samples, then silence."""
        self.hush()
        if self._has_media:
            self._playing = asyncio.create_task(self._play(frames))

    def hush(self) -> None:
        """Stop playing."""
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None
            if self._source is not None:
                self._source.clear_queue()

    def lose_media(self) -> None:
        """Stop playing, and have no more packets sent. Others are told that the track is muted, unlike by the SIP service."""
        self.hush()
        if self._track is not None:
            self._track.mute()

    async def transcribe(self, text: str) -> None:
        """Publish what it said, as an agent does that transcribes; nothing if it is gone or has no track."""
        if self._track is None:
            return
        attributes = {"lk.transcribed_track_id": self._track.sid, "lk.transcription_final": "true"}
        publishing = self._room.local_participant.send_text(text, topic="lk.transcription", attributes=attributes)
        await self._unless_gone(publishing)

    def listen(self) -> None:
        """Hear, from now on, everybody in the room; as the SIP service does from the answer on."""
        self._room.on("track_published", lambda publication, _participant: publication.set_subscribed(True))
        self._room.on("track_subscribed", lambda track, _publication, _participant: self._listen_to(track))
        for participant in self._room.remote_participants.values():
            for publication in participant.track_publications.values():
                publication.set_subscribed(True)

    async def press(self, digit: str) -> None:
        """Press a key of the telephone; nothing if it is gone."""
        await self._unless_gone(self._room.local_participant.publish_dtmf(code=_DTMF_CODES[digit], digit=digit))

    async def leave(self, leave: Leave) -> None:
        """Leave the room with this reason; nothing but tidying up if it is gone."""
        self.hush()
        for listening in self._listening.values():
            listening.cancel()
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._room.disconnect(reason=rtc.DisconnectReason.Value(leave.value))
        except TimeoutError:
            _log.warning("not_left_in_time", identity=self._identity)
        if self._source is not None:
            await self._source.aclose()

    async def _unless_gone(self, telling: Coroutine[None, None, object]) -> None:
        # Like the SIP service it does not insist on an acknowledgement, which now and then gets lost; waiting keeps the order.
        task, gone = asyncio.ensure_future(telling), asyncio.ensure_future(self.gone.wait())
        self._telling.add(task)
        task.add_done_callback(self._told)
        await asyncio.wait([task, gone], timeout=_ACKNOWLEDGED_S, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()

    async def _play(self, frames: Iterable[array[int]]) -> None:
        assert self._source is not None
        for samples in frames:
            await self._source.capture_frame(rtc.AudioFrame(samples.tobytes(), RATE_HZ, 1, len(samples)))

    def _told(self, task: asyncio.Future[object]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.gone.is_set():
            _log.warning("not_told", identity=self._identity, error=repr(error))

    def _listen_to(self, track: rtc.Track) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self._listening[track.sid] = asyncio.create_task(self._listen(track))

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE_HZ, num_channels=1, frame_size_ms=_LISTEN_FRAME_MS, capacity=50)
        try:
            async for event in stream:
                samples = np.frombuffer(event.frame.data, dtype=np.int16).astype(np.float64)
                if samples.size and float(np.sqrt(np.mean(samples * samples))) > _LOUD:
                    self.heard_s = round(self.heard_s + _LISTEN_FRAME_MS / 1000, 3)
        finally:
            await stream.aclose()

    def _hear_digit(self, received: rtc.SipDTMF) -> None:
        self.digits += received.digit
