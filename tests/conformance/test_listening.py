"""Every carrier hears who answered, tells it in the same events, and does what is ordered on the strength of it.

What becomes of all the scripts is in the tests of the simulated carrier, and end to end.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sip.errors import CarrierUnavailable
from sip.events import Answered, Ended, Heard, ListeningLost, ListeningStarted, MessagePlayed, Quiet, RoomEvent, WentQuiet
from sip.leg import ListeningPlan
from sip.simulated import scripts
from sip.simulated.steps import Script
from sip.voicemail.events import Kind, Stage, Tone, ToneKind, Verdict
from tests.conformance.calls import TestCall
from tests.conformance.rig import PATIENCE_REAL_S, Rig, RigMaker

QUIET = ListeningPlan(silence_warning_s=2.0, silence_s=3.0, idle_s=4.0, media_lost_s=3.0)
FACTS = {"orchestrator.answered_by": "voicemail", "orchestrator.plan": "speak_now"}
MESSAGE_S = 2.0
NOT_HEARD_YET = (Kind.MACHINE, Kind.VOICEMAIL)


@dataclass(frozen=True)
class Case:
    """A callee, and what is to be heard of him."""

    script: Script
    finals: tuple[Kind, ...]
    """Any of them, as the final verdict."""
    latest: tuple[Kind, ...] = ()
    """Any of them, as the latest verdict; empty: the final one is."""
    tone: ToneKind | None = None
    plan: ListeningPlan = field(default_factory=ListeningPlan)
    quiet: tuple[Quiet, ...] = ()


CASES = {
    case.script.name: case
    for case in (
        Case(scripts.TALKS_ON, (Kind.PERSON,)),
        Case(scripts.VOICEMAIL_WITH_BEEP, NOT_HEARD_YET, (Kind.VOICEMAIL,), ToneKind.BEEP),
        Case(scripts.MAILBOX_FULL, (Kind.MAILBOX_FULL, Kind.MACHINE), (Kind.MAILBOX_FULL,)),
        Case(scripts.FAX, (Kind.FAX,), tone=ToneKind.FAX_CED),
        Case(scripts.FALLS_SILENT, (Kind.PERSON,), plan=QUIET, quiet=(Quiet.CALLEE_WARNING, Quiet.CALLEE, Quiet.BOTH)),
        Case(
            scripts.AUDIO_STOPS,
            (Kind.PERSON,),
            plan=QUIET,
            quiet=(Quiet.CALLEE_WARNING, Quiet.CALLEE, Quiet.MEDIA, Quiet.BOTH),
        ),
    )
}


@dataclass
class Story:
    """One call, heard until all was heard that there is."""

    events: list[RoomEvent]
    answered_s: float
    tolerance_s: float

    def told(self, kind: type[RoomEvent]) -> list[RoomEvent]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def heard(self) -> list[Heard]:
        return [event for event in self.events if isinstance(event, Heard)]

    @property
    def verdicts(self) -> list[Verdict]:
        return [event.what for event in self.heard if isinstance(event.what, Verdict)]

    @property
    def tones(self) -> list[ToneKind]:
        return [event.what.kind for event in self.heard if isinstance(event.what, Tone)]

    @property
    def quiet(self) -> list[Quiet]:
        return [event.quiet for event in self.events if isinstance(event, WentQuiet)]


def all_is_heard(case: Case, story: Story) -> bool:
    final = [verdict for verdict in story.verdicts if verdict.stage is Stage.FINAL]
    return (
        bool(final)
        and (not case.latest or story.verdicts[-1].kind in case.latest)
        and (case.tone is None or case.tone in story.tones)
        and set(case.quiet) <= set(story.quiet)
    )


async def play(rig: Rig, case: Case) -> Story:
    call = await TestCall.open(rig, listening=case.plan)
    await call.dial(case.script)
    answered = await call.until(Answered)
    story = Story(events=call.events, answered_s=answered.at.at_s, tolerance_s=rig.tolerance_s)
    try:
        async with asyncio.timeout(PATIENCE_REAL_S):
            while not all_is_heard(case, story):
                event = await call.room.next_event()
                call.events.append(event)
                if isinstance(event, Ended):
                    break
    except TimeoutError:
        pass  # the tests say what is missing
    await call.close()
    await call.rest()
    return story


async def play_all(new_rig: RigMaker) -> Mapping[str, Story]:
    async with new_rig() as rig:
        await rig.until_listening()
        stories = await asyncio.gather(*(play(rig, case) for case in CASES.values()))
        return dict(zip(CASES, stories, strict=True))


@pytest.fixture(scope="module")
def played(new_listening_rig: RigMaker) -> Mapping[str, Story]:
    return asyncio.run(play_all(new_listening_rig))


@pytest.mark.parametrize("name", CASES)
def test_each_callee_gets_one_final_verdict_of_its_kind(played: Mapping[str, Story], name: str) -> None:
    finals = [verdict for verdict in played[name].verdicts if verdict.stage is Stage.FINAL]
    assert len(finals) == 1, played[name].events
    assert finals[0].kind in CASES[name].finals, played[name].events


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.latest])
def test_a_kind_that_becomes_known_later_is_told(played: Mapping[str, Story], name: str) -> None:
    assert played[name].verdicts[-1].kind in CASES[name].latest, played[name].events


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.tone])
def test_tones_are_told(played: Mapping[str, Story], name: str) -> None:
    assert CASES[name].tone in played[name].tones, played[name].events


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.quiet])
def test_whoever_goes_quiet_is_told_once_and_in_time(played: Mapping[str, Story], name: str) -> None:
    assert sorted(played[name].quiet, key=str) == sorted(CASES[name].quiet, key=str), played[name].events
    limits = {
        Quiet.CALLEE_WARNING: QUIET.silence_warning_s,
        Quiet.CALLEE: QUIET.silence_s,
        Quiet.BOTH: QUIET.idle_s,
        Quiet.MEDIA: QUIET.media_lost_s,
    }
    for event in played[name].events:
        if isinstance(event, WentQuiet):
            assert event.for_s >= (limits[event.quiet] or 0.0)


@pytest.mark.parametrize("name", CASES)
def test_listening_starts_once_and_is_not_lost(played: Mapping[str, Story], name: str) -> None:
    assert len(played[name].told(ListeningStarted)) == 1, played[name].events
    assert played[name].told(ListeningLost) == []


@pytest.mark.parametrize("name", CASES)
def test_no_verdict_is_told_before_the_answer_and_all_in_the_order_of_their_times(
    played: Mapping[str, Story], name: str
) -> None:
    story = played[name]
    told = [(event.at.at_s, event.what.told_s) for event in story.heard]
    assert told == sorted(told)
    for event in story.heard:
        if isinstance(event.what, Verdict):
            assert event.at.at_s >= story.answered_s - story.tolerance_s
            assert event.answered_s is not None
            assert event.what.told_s >= event.answered_s


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_heard_after_the_end(played: Mapping[str, Story], name: str) -> None:
    events = played[name].events
    ends = [index for index, event in enumerate(events) if isinstance(event, Ended)]
    assert ends
    assert not [event for event in events[ends[0] :] if isinstance(event, Heard | WentQuiet | ListeningLost)]


# Orders


@pytest.fixture
def message(tmp_path: Path) -> str:
    """A file that can be heard."""
    path = tmp_path / "message.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(
            b"".join((8000 if n // 8 % 2 else -8000).to_bytes(2, "little", signed=True) for n in range(round(8000 * MESSAGE_S)))
        )
    return str(path)


@pytest.fixture
def nothing(tmp_path: Path) -> str:
    path = tmp_path / "nothing.wav"
    path.write_bytes(b"this is no audio")
    return str(path)


async def test_messages_are_played_and_stopped_and_agents_told(new_listening_rig: RigMaker, message: str, nothing: str) -> None:
    async with new_listening_rig() as rig:
        await rig.until_listening()
        await asyncio.gather(
            a_message_is_played_to_its_end(rig, message),
            a_message_can_be_stopped(rig, message),
            what_cannot_be_played_is_refused(rig, nothing),
            agents_are_told(rig),
        )


async def a_message_is_played_to_its_end(rig: Rig, message: str) -> None:
    call = await TestCall.dialled(rig, scripts.STAYS_SILENT)
    await call.until(Answered)
    assert call.leg is not None
    await call.leg.leave_message(message)
    with pytest.raises(CarrierUnavailable):
        await call.leg.leave_message(message)
    played = await call.until(MessagePlayed)
    assert (played.complete, played.why) == (True, "")
    assert abs(played.played_s - MESSAGE_S) < 0.1
    assert (await call.listed()).has_agent
    await call.close()
    heard_s = (await call.far_end_over()).heard_s
    assert heard_s is None or heard_s > MESSAGE_S / 2


async def a_message_can_be_stopped(rig: Rig, message: str) -> None:
    call = await TestCall.dialled(rig, scripts.STAYS_SILENT, line=1)
    await call.until(Answered)
    assert call.leg is not None
    await call.leg.stop_message()
    await call.leg.leave_message(message)
    await call.leg.stop_message()
    played = await call.until(MessagePlayed)
    assert not played.complete
    assert played.why
    await call.close()


async def what_cannot_be_played_is_refused(rig: Rig, nothing: str) -> None:
    call = await TestCall.dialled(rig, scripts.STAYS_SILENT, line=2)
    await call.until(Answered)
    assert call.leg is not None
    for path in (nothing, f"{nothing}.missing"):
        with pytest.raises(CarrierUnavailable):
            await call.leg.leave_message(path)
    assert not [event for event in await call.rest() if isinstance(event, MessagePlayed)]
    await call.close()


async def agents_are_told(rig: Rig) -> None:
    call = await TestCall.dialled(rig, scripts.TALKS_ON, line=3)
    await call.until(Answered)
    assert call.leg is not None
    await call.leg.tell_agents(FACTS)
    await call.leg.tell_agents({"orchestrator.plan": "carry_on"})
    async with asyncio.timeout(PATIENCE_REAL_S):
        while await rig.agent_was_told(call.room.name) != FACTS | {"orchestrator.plan": "carry_on"}:
            await asyncio.sleep(0.02)
    await call.close()
