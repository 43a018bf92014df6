"""What listeners make of the scripts: who answered, by the real detectors; and how long somebody is quiet, by the script."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from sip.causes import HangupCause
from sip.events import AgentJoined, Answered, Ended, EndSignal, MessagePlayed, Quiet
from sip.leg import ListeningPlan
from sip.simulated import scripts
from sip.simulated.hearing import Hearing, hear, quiet_spells
from sip.simulated.scripts import number_of
from sip.simulated.steps import Script
from sip.voicemail.events import DetectorSettings, Kind, Stage, Tone, ToneKind, Verdict

from .conftest import Desk, to_the_end, until

FINALS = {
    scripts.TALKS_ON: {Kind.PERSON},
    scripts.TALKS_8_S: {Kind.PERSON},
    scripts.FALLS_SILENT: {Kind.PERSON},
    scripts.VOICEMAIL_WITH_BEEP: {Kind.MACHINE, Kind.VOICEMAIL},
    scripts.VOICEMAIL_WITHOUT_BEEP: {Kind.MACHINE},
    scripts.PERSON_INTERRUPTS_MACHINE: {Kind.MACHINE},
    scripts.MAILBOX_FULL: {Kind.MAILBOX_FULL},
    scripts.MENU: {Kind.MENU},
    scripts.CALL_SCREENING: {Kind.SCREENING},
    scripts.ANNOUNCEMENT: {Kind.ANNOUNCEMENT},
    scripts.FAX: {Kind.FAX},
    scripts.BUSY_AFTER_ANSWER: {Kind.CALL_PROGRESS},
    scripts.STAYS_SILENT: {Kind.NOTHING},
}
LATEST = {
    scripts.VOICEMAIL_WITH_BEEP: Kind.VOICEMAIL,
    scripts.PERSON_INTERRUPTS_MACHINE: Kind.PERSON,
    scripts.MAILBOX_FULL: Kind.MAILBOX_FULL,
}


def heard(script: Script) -> Hearing:
    return hear(script, DetectorSettings())


def verdicts(hearing: Hearing) -> list[Verdict]:
    return [event for _, event in hearing.late if isinstance(event, Verdict)]


@pytest.mark.parametrize("script", FINALS, ids=lambda script: script.name)
def test_each_script_gets_one_final_verdict_of_its_kind(script: Script):
    (final,) = [verdict for verdict in verdicts(heard(script)) if verdict.stage is Stage.FINAL]
    assert final.kind in FINALS[script], final


@pytest.mark.parametrize("script", LATEST, ids=lambda script: script.name)
def test_the_latest_verdict_knows_what_was_heard_last(script: Script):
    assert verdicts(heard(script))[-1].kind is LATEST[script]


@pytest.mark.parametrize(
    ("script", "tones"),
    [
        (scripts.EARLY_MEDIA_THEN_UNAVAILABLE, set()),
        (scripts.EARLY_ANNOUNCEMENT, {ToneKind.SIT}),
        (scripts.EARLY_BUSY, {ToneKind.BUSY}),
    ],
    ids=lambda value: value.name if isinstance(value, Script) else "",
)
def test_early_media_is_heard_and_gives_no_verdict(script: Script, tones: set[ToneKind]):
    hearing = heard(script)
    assert hearing.early
    assert hearing.late == ()
    assert not [event for _, event in hearing.early if isinstance(event, Verdict)]
    assert {event.kind for _, event in hearing.early if isinstance(event, Tone)} == tones


def test_what_was_heard_once_is_not_worked_out_again():
    assert heard(scripts.FAX) is heard(scripts.FAX)


def test_quiet_is_read_off_the_script():
    plan = ListeningPlan(silence_warning_s=2.0, silence_s=3.0, idle_s=4.0, media_lost_s=5.0)
    # One word, from 0.3 to 0.9 s.
    told = sorted(quiet_spells(scripts.FALLS_SILENT, plan), key=lambda spell: spell[0])
    assert [(round(at_s, 3), quiet) for at_s, quiet, _ in told] == [
        (2.9, Quiet.CALLEE_WARNING),
        (3.9, Quiet.CALLEE),
        (4.9, Quiet.BOTH),
    ]


def test_lost_media_are_lost_from_when_they_stop():
    told = list(quiet_spells(scripts.AUDIO_STOPS, ListeningPlan(media_lost_s=5.0)))
    assert told == [(7.0, Quiet.MEDIA, 5.0)]
    assert list(quiet_spells(scripts.FALLS_SILENT, ListeningPlan(media_lost_s=5.0))) == []


@pytest.mark.parametrize(
    ("script", "cause", "rule"),
    [
        (scripts.EARLY_MEDIA_THEN_UNAVAILABLE, HangupCause.FORWARDED_TO_VOICEMAIL, "early_media_speech"),
        (scripts.EARLY_ANNOUNCEMENT, HangupCause.SUBSCRIBER_ABSENT, "early_media_sit"),
        (scripts.EARLY_BUSY, HangupCause.USER_BUSY, "early_media_busy"),
    ],
    ids=lambda value: value.name if isinstance(value, Script) else "",
)
async def test_what_is_heard_before_the_answer_decides_what_the_end_means(
    desk: Desk, script: Script, cause: HangupCause, rule: str
):
    room = await desk.carrier.open_room(desk.room_plan(listening=ListeningPlan()))
    await until(room, AgentJoined)
    await desk.carrier.dial(room, desk.dial_plan(number_of(script)))
    ended = (await to_the_end(room))[-1]
    assert isinstance(ended, Ended)
    assert (ended.cause, ended.evidence["inferred"]) == (cause, rule)


async def test_what_nobody_listens_to_changes_nothing(desk: Desk):
    room = await desk.carrier.open_room(desk.room_plan())
    await until(room, AgentJoined)
    await desk.carrier.dial(room, desk.dial_plan(number_of(scripts.EARLY_BUSY)))
    ended = (await to_the_end(room))[-1]
    assert isinstance(ended, Ended)
    assert ended.cause is HangupCause.FORWARDED_TO_VOICEMAIL


async def test_a_message_takes_its_time_and_an_agent_that_is_told_to_speak_does(desk: Desk, tmp_path: Path):
    path = tmp_path / "message.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 4))
    room, leg = await desk.dialled(number_of(scripts.TALKS_ON), behaviour="speaks_after_beep")
    await until(room, Answered)
    began_s = desk.clock.now_s()
    await leg.leave_message(str(path))
    played = await until(room, MessagePlayed)
    assert (played.complete, played.played_s) == (True, 4.0)
    assert played.at.at_s - began_s >= 4.0
    await leg.tell_agents({"orchestrator.plan": "speak_now"})
    signal = await until(room, EndSignal)
    assert signal.reason == "message left"
