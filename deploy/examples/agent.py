"""An agent without any model: it plays a recording to the callee, listens, and can end the call.

    LIVEKIT_URL=ws://... LIVEKIT_API_KEY=... LIVEKIT_API_SECRET=... python agent.py start

It registers under AGENT_NAME (default `example-agent`), the name by which calls ask for their agent, and plays AGENT_AUDIO (a
WAV file of 8000 samples of 16 bits a second, one channel; default hello.wav beside this file) once the callee has answered.
What it does then comes from the metadata that the call was queued with, for example {"end_after_s": 3, "reason": "done"}:

    opt_out_after_s this long after the answer, report that the callee wants no more calls, with `reason`; the call goes on
    end_after_s     this long after the answer, end the call on purpose, with our end signal and `reason`
    leave_after_s   this long after joining, leave the room without a word    } for trying out what becomes
    crash_after_s   this long after joining, raise an error                   } of a call whose agent vanishes

When a machine answered and the account's policy is to have the agent leave a message, the orchestrator says when (attribute
`orchestrator.plan`, see sip.livekit.hearing); the recording is played then once more, as the message.

Its other variables: AGENT_MOST_CALLS (50), AGENT_IDLE_PROCESSES (2), and AGENT_HOST and AGENT_PORT (127.0.0.1, 8081), where it
answers health checks.
"""

from __future__ import annotations

import asyncio
import json
import os
import wave
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import AgentServer, JobContext, cli

from sip.livekit.endsignal import end_call, report_opt_out
from sip.livekit.hearing import callee_verdict, wait_until_to_speak

AGENT_NAME = os.environ.get("AGENT_NAME", "example-agent")
AUDIO = Path(os.environ.get("AGENT_AUDIO", Path(__file__).with_name("hello.wav")))
MOST_CALLS = int(os.environ.get("AGENT_MOST_CALLS", "50"))
RATE_HZ = 8000
HOLDS_S = 4.0
"""How long the first verdict is waited for, where the call asks for that: nobody likes to say hello twice."""
LONGEST_S = 3600.0


def load(server: AgentServer) -> float:
    """How busy we are, from 0 to 1; LiveKit gives no more calls to a worker above 0.7.

    The library's own measure is the whole machine's CPU. A call that finds no free worker gets no agent: LiveKit does not wait.
    """
    return min(1.0, len(server.active_jobs) / MOST_CALLS)


server = AgentServer(
    host=os.environ.get("AGENT_HOST", "127.0.0.1"),
    port=int(os.environ.get("AGENT_PORT", "8081")),  # for health checks
    num_idle_processes=int(os.environ.get("AGENT_IDLE_PROCESSES", "2")),
    load_fnc=load,
)


@server.rtc_session(agent_name=AGENT_NAME)
async def conduct(ctx: JobContext) -> None:
    """One call. We are asked to join its room before anybody is dialled."""
    await ctx.connect()
    closed = asyncio.Event()
    ctx.room.on("disconnected", lambda *_: closed.set())
    job = json.loads(ctx.job.metadata or "{}")
    holds_first_words = job.get("detection", {}).get("hold_first_words", False)
    holding = asyncio.create_task(hold_call(ctx.room, job.get("metadata", {}), holds_first_words=holds_first_words))
    await asyncio.wait([holding, asyncio.create_task(closed.wait())], return_when=asyncio.FIRST_COMPLETED)
    if holding.done():
        holding.result()  # raises what it raised


async def hold_call(room: rtc.Room, wishes: dict[str, Any], *, holds_first_words: bool) -> None:
    """Do as the call's metadata say, until somebody ends the call."""
    if "crash_after_s" in wishes:
        await asyncio.sleep(wishes["crash_after_s"])
        raise RuntimeError("asked to crash")
    if "leave_after_s" in wishes:
        await asyncio.sleep(wishes["leave_after_s"])
        await room.disconnect()
        return

    # The track is there before the answer, so that not even the first syllable is lost.
    voice = rtc.AudioSource(RATE_HZ, num_channels=1)
    track = rtc.LocalAudioTrack.create_audio_track("voice", voice)
    await room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
    await callee_has_answered(room)
    if holds_first_words:  # until it is known who answered; None, and whatever is not sure, counts as a person
        await callee_verdict(room, patience_s=HOLDS_S)
    speaking = asyncio.create_task(speak(voice))
    leaving = asyncio.create_task(leave_message(room, voice, speaking))  # if the orchestrator says that it is time to
    if "opt_out_after_s" in wishes:  # a real agent does so as soon as it has understood the callee, before it says goodbye
        await asyncio.sleep(wishes["opt_out_after_s"])
        await report_opt_out(room, wishes.get("reason", "asked not to be called again"))
    if "end_after_s" in wishes:
        await asyncio.sleep(wishes["end_after_s"] - wishes.get("opt_out_after_s", 0))
        await end_call(room, wishes.get("reason", "done"))
    else:
        await leaving  # a real agent listens now, and answers


async def leave_message(room: rtc.Room, voice: rtc.AudioSource, speaking: asyncio.Task[None]) -> None:
    """A machine answered, the greeting and its beep are over: say the message, and end the call."""
    if not await wait_until_to_speak(room, patience_s=LONGEST_S):
        return
    speaking.cancel()
    voice.clear_queue()
    await speak(voice)
    await voice.wait_for_playout()
    await end_call(room, "message left")


async def callee_has_answered(room: rtc.Room) -> None:
    """Wait until the callee's `sip.callStatus` is `active`: nothing that is said before reaches the callee."""
    answered = asyncio.Event()

    def look(*_: object) -> None:
        if any(participant.attributes.get("sip.callStatus") == "active" for participant in room.remote_participants.values()):
            answered.set()

    room.on("participant_connected", look)
    room.on("participant_attributes_changed", look)
    look()
    await answered.wait()


async def speak(voice: rtc.AudioSource) -> None:
    """Play the recording."""
    with wave.open(str(AUDIO), "rb") as recording:
        while samples := recording.readframes(RATE_HZ // 50):
            await voice.capture_frame(rtc.AudioFrame(samples, RATE_HZ, 1, len(samples) // 2))


if __name__ == "__main__":
    cli.run_app(server)
