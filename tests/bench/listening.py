"""What listening costs: from the callee's sound to the verdict in the daemon, beside the same on a file; and a listener's CPU.

On a real livekit-server with the stand-in's callees. Run by `python -m tests.bench.listening` or `python -m tests.bench
listening`, as a test since it needs their processes.
"""

from __future__ import annotations

import asyncio

import numpy as np
import psutil
import pytest

from sip.events import Answered, Heard
from sip.leg import ListeningPlan
from sip.livekit.listening.limits import ListenerLimits
from sip.simulated import scripts
from sip.simulated.audio import SAMPLE_RATE_HZ, frames
from sip.simulated.steps import Script
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings, Stage, Verdict
from tests.bench.load import percentile
from tests.conformance.calls import TestCall
from tests.conformance.conftest import fast_stand_in, real_livekit
from tests.conformance.rig_livekit import LiveKitRig, livekit_rig
from tests.fixtures.livekit import RealServer, StandIn

__all__ = ["fast_stand_in", "real_livekit"]

SCRIPTS = (scripts.TALKS_ON, scripts.FAX, scripts.BUSY_AFTER_ANSWER, scripts.ANNOUNCEMENT)
"""A person, and three whose final verdicts come from tones, at moments that hardly depend on the way that the sound went."""
ROUNDS = 8
MOST_LATER_S = 0.25
HOP_SAMPLES = SAMPLE_RATE_HZ // 100
ROOMS = 20
CPU_S = 10.0


def on_a_file_s(script: Script) -> float:
    """From the first sample to the final verdict, fed by 10 ms."""
    detector = CallDetector(sample_rate_hz=SAMPLE_RATE_HZ, settings=DetectorSettings())
    detector.answer()
    samples = np.concatenate([np.array(frame, np.int16) for frame in frames(script.audio, seed=script.name)])
    for start in range(0, len(samples), HOP_SAMPLES):
        for event in detector.feed(samples[start : start + HOP_SAMPLES]):
            if isinstance(event, Verdict) and event.stage is Stage.FINAL:
                return event.told_s
    raise AssertionError(f"no verdict on {script.name}")


async def until_final(call: TestCall) -> None:
    """Until the daemon knows who answered."""
    while True:
        what = (await call.until(Heard)).what
        if isinstance(what, Verdict) and what.stage is Stage.FINAL:
            return


async def on_a_call_s(rig: LiveKitRig, script: Script, line: int) -> float:
    """From the callee's first sample to the final verdict in the daemon."""
    call = await TestCall.open(rig, listening=ListeningPlan())
    await call.dial(script, line=line)
    await until_final(call)
    told_s = rig.clock.now_s()
    began_s = (await call.far_end()).answered_at_s
    await call.close()
    assert began_s is not None
    return told_s - began_s


async def cpu_of_a_full_listener(rig: LiveKitRig, script: Script) -> tuple[float, float]:
    """Of a core, and resident megabytes, while it listens in ROOMS rooms whose final verdicts are due."""
    calls = []
    for line in range(ROOMS):
        call = await TestCall.open(rig, listening=ListeningPlan(silence_s=600.0, media_lost_s=600.0))
        await call.dial(script, line=line)
        calls.append(call)
    for call in calls:
        await call.until(Answered)
    await asyncio.sleep(DetectorSettings().final_after_answer_s)
    assert rig.listeners is not None
    children = [psutil.Process(pid) for pid in rig.listeners.pids]
    before_s = [sum(child.cpu_times()[:2]) for child in children]
    await asyncio.sleep(CPU_S)
    spent_s = [sum(child.cpu_times()[:2]) - before for child, before in zip(children, before_s, strict=True)]
    busiest = max(range(len(children)), key=lambda index: spent_s[index])
    megabytes = children[busiest].memory_info().rss / 1e6
    for call in calls:
        await call.close()
    return spent_s[busiest] / CPU_S, megabytes


async def latency_s(server: RealServer, stand_in: StandIn) -> list[float]:
    """How much later than on a file each verdict was."""
    async with livekit_rig(server, stand_in, limits=ListenerLimits(most_children=1)) as rig:
        await rig.until_listening()
        more_s: list[float] = []
        for line in range(ROUNDS):
            live_s = await asyncio.gather(*(on_a_call_s(rig, script, line) for script in SCRIPTS))
            more_s += [live - on_a_file_s(script) for live, script in zip(live_s, SCRIPTS, strict=True)]
        return more_s


async def full_house(server: RealServer, stand_in: StandIn, script: Script) -> tuple[float, float]:
    """CPU, as a share of a core, and resident megabytes of a listener that has all the rooms it may."""
    async with livekit_rig(server, stand_in, limits=ListenerLimits(most_children=1, rooms_a_child=ROOMS)) as rig:
        await rig.until_listening()
        return await cpu_of_a_full_listener(rig, script)


def test_verdicts_come_soon_after_the_sound(fast_stand_in: tuple[RealServer, StandIn]) -> None:
    more_s = asyncio.run(latency_s(*fast_stand_in))
    for share, name in ((0.5, "p50"), (0.95, "p95")):
        wanted = f"at most {MOST_LATER_S * 1000:.0f} ms"
        show(f"verdict later than on a file, {name}", f"{percentile(more_s, share) * 1000:.0f} ms", wanted)
    show("calls measured", str(len(more_s)), "")


@pytest.mark.parametrize(
    ("script", "doing"),
    [(scripts.VOICEMAIL_WITHOUT_BEEP, "await a beep"), (scripts.TALKS_ON, "watch for silence")],
    ids=["beep", "silence"],
)
def test_a_full_listener_costs_little(fast_stand_in: tuple[RealServer, StandIn], script: Script, doing: str) -> None:
    cpu, megabytes = asyncio.run(full_house(*fast_stand_in, script))
    show(f"listener, {ROOMS} rooms {doing}", f"{cpu * 100:.0f} %", "of a core")
    show("  a second of audio of each", f"{cpu / ROOMS * 1000:.1f} ms", "")
    show("  resident", f"{megabytes:.0f} MB", "")


def show(what: str, measured: str, wanted: str) -> None:
    print(f"\nlistening| {what:<38} | {measured:>12} | {wanted}", end="", flush=True)


def main() -> int:
    """Measure all of it, and print a table."""
    return int(pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-p", "no:logging", __file__]))


if __name__ == "__main__":
    raise SystemExit(main())
