"""What is heard before the answer, and what it changes in the reading of an end."""

from __future__ import annotations

import pytest

from sip.causes import HangupCause, Reading, Signal, TrunkRules, hangup_cause
from sip.early_media import with_early_media
from sip.voicemail.events import Kind, PhraseHeard, SpeechEnded, SpeechStarted, Tone, ToneKind
from sip.voicemail.preconnect import EarlyMediaFinding, read_early_media


def spoke(*stretches: tuple[float, float]) -> list[SpeechStarted | SpeechEnded]:
    return [
        event
        for began, ended in stretches
        for event in (SpeechStarted(began, began + 0.1), SpeechEnded(began, ended, ended + 0.2))
    ]


def tone(kind: ToneKind, detail: str = "") -> Tone:
    return Tone(kind, 0.5, 1.5, 1.6, detail=detail)


def reading(code: int = 480, *, ring_s: float = 5.0, q850: int | None = None) -> Reading:
    return hangup_cause(
        Signal(sip_code=code, q850_cause=q850),
        answered=False,
        rang=True,
        ring_s=ring_s,
        ring_timeout_s=30.0,
        rules=TrunkRules(),
    )


def test_speech_before_the_answer_is_a_machines():
    finding = read_early_media(spoke((1.0, 2.5), (3.0, 4.5)), ended_s=5.0)
    assert finding is not None
    assert (finding.kind, finding.rule) == (Kind.MACHINE, "speech")


def test_speech_that_the_end_cut_off_counts():
    assert read_early_media([SpeechStarted(1.0, 1.1)], ended_s=4.0) is not None


@pytest.mark.parametrize(
    "events",
    [
        [],
        [tone(ToneKind.RINGBACK, "US")],
        spoke((1.0, 2.0)),
        [tone(ToneKind.RINGBACK, "US"), *spoke((0.0, 25.0))],
    ],
)
def test_ringing_music_and_a_word_say_nothing(events):
    assert read_early_media(events, ended_s=30.0) is None


def test_words_say_more_than_tones_and_tones_more_than_speech():
    sit = tone(ToneKind.SIT, "VC")
    phrase = PhraseHeard(Kind.VOICEMAIL, "en", "leave a message", 3.0, 3.5)
    assert read_early_media([sit, *spoke((2.0, 6.0)), phrase], ended_s=6.0).rule == "phrase"
    assert read_early_media([sit, *spoke((2.0, 6.0))], ended_s=6.0).detail == "VC"
    assert read_early_media([tone(ToneKind.BUSY)], ended_s=6.0).rule == "busy"


@pytest.mark.parametrize(
    ("finding", "cause"),
    [
        (EarlyMediaFinding(Kind.MACHINE, "speech"), HangupCause.FORWARDED_TO_VOICEMAIL),
        (EarlyMediaFinding(Kind.VOICEMAIL, "phrase", "leave a message"), HangupCause.FORWARDED_TO_VOICEMAIL),
        (EarlyMediaFinding(Kind.MAILBOX_FULL, "phrase", "mailbox is full"), HangupCause.FORWARDED_TO_VOICEMAIL),
        (EarlyMediaFinding(Kind.ANNOUNCEMENT, "phrase", "is switched off"), HangupCause.SUBSCRIBER_ABSENT),
        (EarlyMediaFinding(Kind.ANNOUNCEMENT, "sit", "IC"), HangupCause.UNALLOCATED_NUMBER),
        (EarlyMediaFinding(Kind.ANNOUNCEMENT, "sit", "VC"), HangupCause.UNALLOCATED_NUMBER),
        (EarlyMediaFinding(Kind.ANNOUNCEMENT, "sit", "NC''"), HangupCause.NETWORK_ERROR),
        (EarlyMediaFinding(Kind.ANNOUNCEMENT, "sit", ""), HangupCause.SUBSCRIBER_ABSENT),
        (EarlyMediaFinding(Kind.CALL_PROGRESS, "busy"), HangupCause.USER_BUSY),
        (EarlyMediaFinding(Kind.CALL_PROGRESS, "reorder"), HangupCause.NETWORK_ERROR),
    ],
)
@pytest.mark.parametrize("ring_s", [0.4, 5.0, 25.0])
def test_what_was_heard_overrides_ring_times(finding, cause, ring_s):
    read = with_early_media(reading(480, ring_s=ring_s), finding)
    assert read.cause is cause
    assert read.evidence["inferred"].startswith("early_media_")


@pytest.mark.parametrize(("code", "q850"), [(404, None), (486, None), (603, None), (480, 17)])
def test_what_names_its_cause_by_itself_stands(code, q850):
    before = reading(code, q850=q850)
    assert with_early_media(before, EarlyMediaFinding(Kind.MACHINE, "speech")) is before


def test_nothing_heard_changes_nothing():
    before = reading()
    assert with_early_media(before, None) is before
