"""Plays a message into a room: joins visibly, publishes the file's audio as a track, and leaves at its end.

Knows the client library and nothing of calls. Its connection is never cancelled (see `ear`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import numpy as np
import soundfile
from livekit import rtc

from sip.clock import boot_time_s
from sip.livekit.listening.connecting import connected, disconnect
from sip.livekit.listening.wire import Play, Played, Playing, Report

QUEUE_MS = 2_000
"""So much is given to the library ahead of time: this process may be late."""
HEARD_S = 2.0
"""For the SIP service to subscribe to the track; what is played before is lost."""
TRAIL_S = 0.4
"""It stays so long after the last sample, which takes that time through mixer and jitter buffers."""
LONGEST_S = 300.0
LOWEST_HZ, HIGHEST_HZ = 4_000, 192_000
RESAMPLED_HZ = 48_000


class Player:
    """Plays one file into one room."""

    def __init__(self, *, order: Play, tell: Callable[[Report], None]) -> None:
        self._order = order
        self._tell = tell
        self._played_s = 0.0
        self._stopped = asyncio.Event()
        self._why = ""

    def stop(self) -> None:
        """Play no further."""
        self._stop("stopped")

    def _stop(self, why: str) -> None:
        self._why = self._why or why
        self._stopped.set()

    async def run(self) -> None:
        """Play; tells Playing, and in any case Played."""
        complete, why = False, "ended by the daemon"
        try:
            with soundfile.SoundFile(self._order.path) as file:
                why = _unplayable(file)
                if not why:
                    complete, why = await self._play(file)
        except (rtc.ConnectError, rtc.participant.PublishTrackError, TimeoutError) as error:
            why = f"the room could not be played into: {type(error).__name__}: {error}"
        except (soundfile.LibsndfileError, OSError) as error:
            why = f"the file cannot be read: {error}"
        finally:
            played = Played(self._order.room, boot_time_s(), complete=complete, played_s=round(self._played_s, 3), why=why)
            self._tell(played)

    async def _play(self, file: soundfile.SoundFile) -> tuple[bool, str]:
        room = rtc.Room()
        room.on("disconnected", lambda *_: self._stop("the room was closed"))
        await connected(room, self._order.url, self._order.token)
        rate_hz = file.samplerate if _is_even(file.samplerate) else RESAMPLED_HZ
        source = rtc.AudioSource(rate_hz, 1, queue_size_ms=QUEUE_MS)
        try:
            track = rtc.LocalAudioTrack.create_audio_track("message", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
            options.dtx = False
            publication = await room.local_participant.publish_track(track, options)
            await _first(publication.wait_for_subscription(), self._stopped.wait(), timeout_s=HEARD_S)
            self._tell(Playing(self._order.room))
            return await self._stream(file, source)
        finally:
            await disconnect(room)
            await source.aclose()

    async def _stream(self, file: soundfile.SoundFile, source: rtc.AudioSource) -> tuple[bool, str]:
        began_s = time.monotonic()
        for frame in _frames(file):
            if self._stopped.is_set():
                return False, self._why
            await source.capture_frame(frame)
            self._played_s += frame.samples_per_channel / frame.sample_rate
        still_s = max(0.0, began_s + self._played_s - time.monotonic()) + TRAIL_S
        await _first(asyncio.sleep(still_s), self._stopped.wait(), timeout_s=still_s + 1.0)
        return (False, self._why) if self._stopped.is_set() else (True, "")


def _unplayable(file: soundfile.SoundFile) -> str:
    """Why it cannot be played; empty if it can."""
    if not file.frames:
        return "there is no audio in the file"
    if not LOWEST_HZ <= file.samplerate <= HIGHEST_HZ:
        return f"the file has {file.samplerate} samples a second; {LOWEST_HZ} to {HIGHEST_HZ} can be played"
    if file.frames > LONGEST_S * file.samplerate:
        return f"the file lasts {file.frames / file.samplerate:.0f} s; no mailbox takes more than {LONGEST_S:g} s"
    return ""


def _is_even(rate_hz: int) -> bool:
    """Whether the library takes it as it is: it works in pieces of 10 ms."""
    return rate_hz % 100 == 0 and rate_hz <= RESAMPLED_HZ


def _frames(file: soundfile.SoundFile) -> Iterator[rtc.AudioFrame]:
    """The file, all its channels mixed."""
    rate_hz = file.samplerate
    resampler = None if _is_even(rate_hz) else rtc.AudioResampler(rate_hz, RESAMPLED_HZ)
    for block in file.blocks(blocksize=rate_hz // 50, dtype="float32", always_2d=True):
        samples = (np.clip(block.mean(axis=1), -1.0, 1.0) * 32767).astype(np.int16)
        frame = rtc.AudioFrame(samples.tobytes(), rate_hz, 1, len(samples))
        yield from [frame] if resampler is None else resampler.push(frame)
    if resampler is not None:
        yield from resampler.flush()


async def _first(*awaited: object, timeout_s: float) -> None:
    """Until one of them is done, or time is over; the others are given up."""
    tasks = [asyncio.ensure_future(one) for one in awaited]  # type: ignore[call-overload]  # coroutines of different types
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
