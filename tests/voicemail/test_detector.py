"""One call's detector: the same however its audio is cut, whatever the audio; bounded; and the verdicts end to end."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.voicemail.detector import CallDetector
from sip.voicemail.events import (
    DetectorEvent,
    DetectorSettings,
    Kind,
    Pace,
    PhraseHeard,
    SpeechEnded,
    SpeechStarted,
    Stage,
    Tone,
    ToneKind,
    Verdict,
    WordsHeard,
)
from tests.voicemail.line import Samples, at_rate, on_line, pieces, silence, tone, voice


def a_detector(*, sample_rate_hz: int = 8_000, pace: Pace = Pace.CAREFUL) -> CallDetector:
    return CallDetector(sample_rate_hz=sample_rate_hz, settings=DetectorSettings(pace=pace))


def told_of(samples: Samples, *, cut: list[int] | None = None, sample_rate_hz: int = 8_000) -> list[DetectorEvent]:
    """All events of a stream that is answered at its beginning."""
    detector = a_detector(sample_rate_hz=sample_rate_hz)
    events = detector.answer()
    for piece in pieces(samples, cut or [800]):
        events += detector.feed(piece)
    return events + detector.finish()


def verdicts(events: list[DetectorEvent]) -> list[Verdict]:
    return [event for event in events if isinstance(event, Verdict)]


def final(events: list[DetectorEvent]) -> Verdict:
    [verdict] = [verdict for verdict in verdicts(events) if verdict.stage is Stage.FINAL]
    return verdict


def speak(*parts: float) -> np.ndarray:
    """Speech and pauses in turn, in seconds."""
    return np.concatenate([silence(length) if at % 2 else _said(length, seed=at) for at, length in enumerate(parts)])


def _said(seconds: float, *, seed: int) -> np.ndarray:
    """Speech without pauses within: two voices' syllables fill each other's gaps."""
    return voice(seconds, seed=seed) + np.roll(voice(seconds, hz=180, seed=seed + 50), round(0.22 * 8_000))


HELLO = on_line(silence(0.5), speak(0.5), silence(6.0))
GREETING = on_line(silence(0.5), speak(3.0, 0.35, 3.2, 0.4, 2.0), silence(0.6), tone(850, seconds=0.4), silence(3.0), snr_db=35)
CALL = on_line(
    silence(0.4),
    tone(440, 480, seconds=0.6),
    silence(0.3),
    speak(0.6, 0.7, 2.5),
    tone(900, seconds=0.3),
    silence(2.0),
    speak(0.5),
    silence(2.0),
    snr_db=22,
    loss=0.03,
    seed=4,
)
WHOLE = told_of(CALL, cut=[CALL.size])


def test_hello_and_a_wait_is_a_person() -> None:
    events = told_of(HELLO)
    assert final(events).kind is Kind.PERSON
    first = verdicts(events)[0]
    assert first.kind is Kind.PERSON
    assert first.told_s < 0.5 + 0.5 + 1.6
    assert first.evidence["first_utterance_s"] == pytest.approx(0.5, abs=0.25)


def test_speech_that_goes_on_is_a_machine_in_bounded_time_and_its_beep_makes_it_voicemail() -> None:
    events = told_of(GREETING)
    verdict = final(events)
    assert verdict.kind is Kind.MACHINE
    assert verdict.told_s - 0.5 <= 6.6
    last = verdicts(events)[-1]
    assert (last.stage, last.kind, last.rule) == (Stage.REVISED, Kind.VOICEMAIL, "beep")
    assert last.machine_probability >= verdict.machine_probability


@pytest.mark.parametrize(
    ("sound", "kind", "rule"),
    [
        (tone(2_100, seconds=3.0), Kind.FAX, "fax"),
        (np.concatenate([tone(480, 620, seconds=0.5), silence(0.5)] * 5), Kind.CALL_PROGRESS, "progress"),
        (
            np.concatenate([tone(913.8, seconds=0.38), tone(1_370.6, seconds=0.274), tone(1_776.7, seconds=0.38), silence(1)]),
            Kind.ANNOUNCEMENT,
            "sit",
        ),
    ],
)
def test_tones_that_no_person_makes_decide_at_once(sound: np.ndarray, kind: Kind, rule: str) -> None:
    verdict = final(told_of(on_line(silence(0.4), sound, silence(0.5))))
    assert (verdict.kind, verdict.rule) == (kind, rule)
    assert verdict.machine_probability >= 0.98
    assert verdict.told_s < 5.5


def test_nothing_heard_ten_seconds_after_the_answer_is_nothing() -> None:
    detector = a_detector()
    detector.feed(np.zeros(16_000, np.int16))
    detector.answer()
    events = detector.feed(np.zeros(8_000 * 11, np.int16))
    verdict = final(events)
    assert verdict.kind is Kind.NOTHING
    assert 11.5 <= verdict.told_s <= 12.0


def test_before_the_answer_there_is_no_verdict_and_what_was_said_then_does_not_count() -> None:
    detector = a_detector()
    early = detector.feed(GREETING)
    assert verdicts(early) == []
    assert any(isinstance(event, SpeechStarted) for event in early)
    assert any(isinstance(event, Tone) and event.kind is ToneKind.BEEP for event in early)
    detector.answer()
    assert detector.answered_s == pytest.approx(GREETING.size / 8_000)
    verdict = final(detector.feed(HELLO))
    assert verdict.kind is Kind.PERSON


def test_late_speech_revises_nothing_heard() -> None:
    events = told_of(on_line(silence(11.0), speak(0.5), silence(5.0)))
    assert final(events).kind is Kind.NOTHING
    last = verdicts(events)[-1]
    assert (last.stage, last.kind) == (Stage.REVISED, Kind.PERSON)


def test_a_person_who_picks_up_after_the_beep_revises_the_machine() -> None:
    line = on_line(
        silence(0.5), speak(3.0, 0.35, 3.2), silence(0.5), tone(850, seconds=0.4), silence(1.2), speak(0.5), silence(5.0)
    )
    last = verdicts(told_of(line))[-1]
    assert (last.stage, last.kind, last.rule) == (Stage.REVISED, Kind.PERSON, "person_after_machine")


def test_words_decide_and_are_told_until_the_final_verdict() -> None:
    detector = a_detector()
    detector.answer()
    detector.feed(GREETING[: 8_000 * 2])
    events = detector.hear_words("Please leave a message after the tone", language="en", final=True)
    assert any(isinstance(event, WordsHeard) for event in events)
    assert any(isinstance(event, PhraseHeard) and event.kind is Kind.VOICEMAIL for event in events)
    verdict = final(events)
    assert (verdict.kind, verdict.rule) == (Kind.VOICEMAIL, "phrase")
    assert verdict.evidence["phrase"]
    later = detector.hear_words("thank you", language="en", final=True)
    assert not any(isinstance(event, WordsHeard) for event in later)


def test_a_transcript_names_the_kind_of_a_machine_that_timing_found() -> None:
    detector = a_detector()
    detector.answer()
    events = detector.feed(GREETING[: 8_000 * 8])
    assert final(events).kind is Kind.MACHINE
    [revised] = verdicts(detector.hear_words("the mailbox is full", language="en", final=False))
    assert (revised.stage, revised.kind) == (Stage.REVISED, Kind.MAILBOX_FULL)


def test_audio_that_ends_early_ends_with_a_final_verdict() -> None:
    for seconds in (0.0, 0.3, 1.2, 2.5):
        assert final(told_of(HELLO[: round(seconds * 8_000)])).kind in {Kind.NOTHING, Kind.UNCERTAIN, Kind.PERSON}


@given(lengths=st.lists(st.one_of(st.integers(1, 400), st.integers(400, 30_000)), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_events_are_the_same_however_a_stream_is_cut(lengths: list[int]) -> None:
    assert len(WHOLE) > 6
    assert told_of(CALL, cut=lengths) == WHOLE


def test_events_come_in_order_of_the_time_they_are_told() -> None:
    times = [event.told_s for event in WHOLE]
    assert times == sorted(times)
    ended = [event for event in WHOLE if isinstance(event, SpeechEnded)]
    assert all(event.began_s < event.ended_s <= event.told_s for event in ended)


@pytest.mark.parametrize("sample_rate_hz", [16_000, 48_000])
def test_verdicts_do_not_depend_on_the_sample_rate(sample_rate_hz: int) -> None:
    narrow = [(verdict.stage, verdict.kind) for verdict in verdicts(told_of(GREETING))]
    cut = [sample_rate_hz // 100]
    wide = told_of(at_rate(GREETING, sample_rate_hz), cut=cut, sample_rate_hz=sample_rate_hz)
    assert [(verdict.stage, verdict.kind) for verdict in verdicts(wide)] == narrow


@given(
    seed=st.integers(0, 2**32 - 1),
    parts=st.lists(
        st.tuples(st.sampled_from(["zero", "noise", "clipped", "dc", "random", "voice", "tone"]), st.integers(1, 12_000)),
        min_size=1,
        max_size=8,
    ),
    answered_at=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_no_int16_input_raises_and_each_answered_stream_gets_one_final_verdict(
    seed: int, parts: list[tuple[str, int]], answered_at: int
) -> None:
    rng = np.random.default_rng(seed)
    detector = a_detector()
    events: list[DetectorEvent] = []
    for at, (what, count) in enumerate(parts):
        if at == answered_at:
            events += detector.answer()
        events += detector.feed(_samples(what, count, rng))
        events += detector.miss(float(rng.uniform(-0.1, 0.4)))
    events += detector.finish()
    finals = [verdict for verdict in verdicts(events) if verdict.stage is Stage.FINAL]
    assert len(finals) == (1 if answered_at < len(parts) else 0)
    assert all(0 < verdict.machine_probability < 1 for verdict in verdicts(events))


def _samples(what: str, count: int, rng: np.random.Generator) -> Samples:
    match what:
        case "zero":
            sound = np.zeros(count)
        case "noise":
            sound = rng.normal(size=count) * 300
        case "clipped":
            sound = rng.choice([-32_768, 32_767], size=count)
        case "dc":
            sound = np.full(count, 20_000.0)
        case "voice":
            return on_line(voice(count / 8_000 + 0.1))[:count]
        case "tone":
            return on_line(tone(float(rng.uniform(300, 3_000)), seconds=count / 8_000 + 0.1))[:count]
        case _:
            sound = rng.integers(-32_768, 32_768, size=count).astype(float)
    return np.clip(sound, -32_768, 32_767).astype(np.int16)


def test_an_hour_of_speech_takes_no_more_memory_than_a_minute_and_stops_being_heard() -> None:
    detector = a_detector()
    detector.answer()
    minute = on_line(*[speak(2.0, 0.4) for _ in range(5)])
    tracemalloc.start()
    for _ in range(6):
        detector.feed(minute)
    after_a_minute, _ = tracemalloc.get_traced_memory()
    for _ in range(300):
        detector.feed(minute)
    after_an_hour, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert detector.is_done
    assert detector.now_s == pytest.approx(306 * minute.size / 8_000)
    assert after_an_hour <= after_a_minute + 20_000
    assert after_an_hour < 200_000


@pytest.mark.parametrize("sample_rate_hz", [7_999, 48_001, 0])
def test_a_rate_out_of_range_is_refused(sample_rate_hz: int) -> None:
    with pytest.raises(ValueError, match="sample rate"):
        a_detector(sample_rate_hz=sample_rate_hz)


def test_a_trace_has_a_row_for_each_hop_and_is_kept_only_when_asked_for() -> None:
    detector = CallDetector(sample_rate_hz=8_000, settings=DetectorSettings(), keep_trace=True)
    detector.feed(GREETING)
    trace = detector.trace()
    assert trace.level_dbm0.shape == trace.is_speech.shape == trace.is_tone.shape
    assert 0 <= GREETING.size // 80 - trace.level_dbm0.size <= 20
    assert trace.is_speech[100:300].mean() > 0.5
    with pytest.raises(ValueError, match="trace"):
        a_detector().trace()
