"""An agent without any model: it answers for the caller's side of a call, plays a recording, listens, and can end the call.

    LIVEKIT_URL=ws://... LIVEKIT_API_KEY=... LIVEKIT_API_SECRET=... python agent.py start

It registers under AGENT_NAME (default `example-agent`), the name by which calls ask for their agent, and plays AGENT_AUDIO (a
WAV file of 8000 samples of 16 bits a second, one channel; default hello.wav beside this file) once the callee has answered.
What it does then comes from the metadata that the call was queued with, for example {"end_after_s": 3, "reason": "done"}:

    end_after_s     end the call this long after the answer, on purpose, with our end signal and `reason`
    leave_after_s   leave the room this long after joining it, without a word      } for trying out what becomes of a
    crash_after_s   raise an error this long after joining                         } call whose agent vanishes
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import wave
from pathlib import Path

from livekit import rtc
from livekit.agents import AgentServer, JobContext, cli

from sip.livekit.endsignal import end_call

log = logging.getLogger("example-agent")

server = AgentServer(
    host=os.environ.get("AGENT_HOST", "127.0.0.1"),
    port=int(os.environ.get("AGENT_PORT", "8081")),
    num_idle_processes=int(os.environ.get("AGENT_IDLE_PROCESSES", "2")),
    load_threshold=float(os.environ.get("AGENT_LOAD_THRESHOLD", "0.7")),
)


@server.rtc_session(agent_name=os.environ.get("AGENT_NAME", "example-agent"))
async def conduct(ctx: JobContext) -> None:
    """One call. The room is already there; the callee is dialled once we are in it."""
    wishes = json.loads(ctx.job.metadata or "{}").get("metadata", {})
    await ctx.connect()
    if "crash_after_s" in wishes:
        await asyncio.sleep(wishes["crash_after_s"])
        raise RuntimeError("asked to crash")
    if "leave_after_s" in wishes:
        await asyncio.sleep(wishes["leave_after_s"])
        await ctx.room.disconnect()
        return

    voice = await publish_voice(ctx.room)
    await callee_has_answered(ctx.room)
    log.info("answered", extra={"room": ctx.room.name})
    playing = asyncio.create_task(play(voice, Path(os.environ.get("AGENT_AUDIO", Path(__file__).with_name("hello.wav")))))
    if "end_after_s" in wishes:
        await asyncio.sleep(wishes["end_after_s"])
        await end_call(ctx.room, wishes.get("reason", "done"))
    else:
        await room_is_closed(ctx.room)
    playing.cancel()


async def publish_voice(room: rtc.Room) -> rtc.AudioSource:
    """Publish a track before the answer, so that the first word is not lost."""
    source = rtc.AudioSource(sample_rate=8000, num_channels=1)
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    await room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    return source


async def callee_has_answered(room: rtc.Room) -> None:
    """Wait for `sip.callStatus` to be `active`: nothing that is said before reaches the callee."""
    answered = asyncio.Event()

    def look(*_: object) -> None:
        if any(participant.attributes.get("sip.callStatus") == "active" for participant in room.remote_participants.values()):
            answered.set()

    for event in ("participant_connected", "participant_attributes_changed"):
        room.on(event, look)
    look()
    await answered.wait()


async def play(source: rtc.AudioSource, recording: Path) -> None:
    """Play a recording of 8000 samples a second, one channel."""
    with wave.open(str(recording), "rb") as audio:
        while samples := audio.readframes(160):  # 20 ms
            await source.capture_frame(rtc.AudioFrame(samples, 8000, 1, len(samples) // 2))


async def room_is_closed(room: rtc.Room) -> None:
    """Listen until the call is over. A real agent would subscribe to the callee's track and understand it."""
    closed = asyncio.Event()
    room.on("disconnected", lambda *_: closed.set())
    if room.isconnected():
        await closed.wait()


if __name__ == "__main__":
    cli.run_app(server)
