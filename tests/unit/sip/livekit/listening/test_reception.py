"""A callee's audio: gaps and jumps of time, the answer, a detector that fails, and when all has been said."""

from __future__ import annotations

import numpy as np
import pytest

from sip.leg import ListeningPlan
from sip.livekit.listening.reception import RATE_HZ, Reception
from sip.voicemail.events import (
    DetectorEvent,
    DetectorSettings,
    Kind,
    PhraseHeard,
    SpeechStarted,
    Stage,
    Tone,
    ToneKind,
    Verdict,
)

FRAME_S = 0.05
BEEP = Tone(ToneKind.BEEP, 1.0, 1.4, 1.5)


class Detector:
    """Tells what a test wants, at stream times."""

    def __init__(self, plans: dict[float, DetectorEvent]) -> None:
        self.now_s = 0.0
        self.is_done = False
        self.fed_s = 0.0
        self.missed_s: list[float] = []
        self.answered_s: float | None = None
        self.words: list[str] = []
        self.fails = False
        self._plans = plans

    def feed(self, samples: np.ndarray) -> list[DetectorEvent]:
        if self.fails:
            raise ValueError("broken")
        self.fed_s += len(samples) / RATE_HZ
        return self._pass(len(samples) / RATE_HZ)

    def miss(self, duration_s: float) -> list[DetectorEvent]:
        self.missed_s.append(round(duration_s, 3))
        return self._pass(duration_s)

    def answer(self) -> list[DetectorEvent]:
        self.answered_s = self.now_s
        return []

    def hear_words(self, text: str, *, language: str | None, final: bool) -> list[DetectorEvent]:
        self.words.append(text)
        return [PhraseHeard(Kind.MENU, "en", text, self.now_s, self.now_s)]

    def finish(self) -> list[DetectorEvent]:
        return [verdict(Stage.FINAL, Kind.UNCERTAIN, self.now_s)]

    def _pass(self, duration_s: float) -> list[DetectorEvent]:
        self.now_s += duration_s
        return [self._plans.pop(at_s) for at_s in sorted(self._plans) if at_s <= self.now_s + 1e-9]


def verdict(stage: Stage, kind: Kind, told_s: float = 0.0) -> Verdict:
    return Verdict(stage, kind, 0.5, told_s, "timing")


class Desk:
    """A reception, its detector, and a clock that starts at 1000 s."""

    def __init__(
        self, plans: dict[float, DetectorEvent] | None = None, *, detect: bool = True, beep_wait_s: float = 60.0
    ) -> None:
        self.detector = Detector(plans or {})
        self.events: list[DetectorEvent] = []
        self.lost: list[str] = []
        self.over = 0
        self.now_s = 1000.0
        self.reception = Reception(
            plan=ListeningPlan(DetectorSettings(beep_wait_s=beep_wait_s)),
            detect=detect,
            audience=self,
            new_detector=lambda _: self.detector,
        )

    def told(self, what: DetectorEvent, answered_s: float | None) -> None:
        self.events.append(what)

    def detection_lost(self, why: str) -> None:
        self.lost.append(why)

    def detection_over(self) -> None:
        self.over += 1

    def hear(self, duration_s: float, *, takes_s: float | None = None) -> None:
        """Frames come for so long; by the clock they take `takes_s`."""
        count = round(duration_s / FRAME_S)
        for _ in range(count):
            self.now_s += (duration_s if takes_s is None else takes_s) / count
            self.reception.take(np.zeros(round(FRAME_S * RATE_HZ), np.int16), self.now_s)

    def starve(self, duration_s: float) -> None:
        for _ in range(round(duration_s / 0.25)):
            self.now_s += 0.25
            self.reception.pass_time(self.now_s)


def test_a_steady_stream_misses_nothing():
    desk = Desk()
    desk.hear(30.0)
    assert desk.detector.missed_s == []


def test_lost_audio_is_told_as_missed_and_stream_time_keeps_up_with_the_clock():
    desk = Desk()
    desk.hear(5.0)
    desk.now_s += 0.8
    desk.hear(5.0)
    assert sum(desk.detector.missed_s) == pytest.approx(0.8, abs=0.05)
    assert desk.detector.now_s == pytest.approx(10.8, abs=0.05)


def test_frames_that_come_late_but_come_are_not_missed():
    desk = Desk()
    desk.hear(5.0)
    desk.now_s += 2.0
    desk.hear(2.0, takes_s=0.01)
    desk.hear(5.0)
    assert desk.detector.missed_s == []


def test_time_goes_on_without_frames_so_that_a_silent_line_gets_its_verdict():
    desk = Desk({10.0: verdict(Stage.FINAL, Kind.NOTHING)})
    desk.reception.answer(desk.now_s)
    desk.starve(11.0)
    assert desk.events == [verdict(Stage.FINAL, Kind.NOTHING)]


def test_frames_that_come_again_after_a_silence_go_on_at_the_right_time():
    desk = Desk()
    desk.hear(2.0)
    desk.starve(2.0)
    desk.hear(2.0)
    assert desk.detector.now_s == pytest.approx(6.0, abs=0.3)


def test_a_jump_of_time_ends_detection_before_the_final_verdict():
    desk = Desk({6.0: verdict(Stage.FINAL, Kind.MACHINE), 7.0: BEEP})
    desk.reception.answer(desk.now_s)
    desk.hear(2.0)
    desk.now_s += 3600.0
    desk.hear(8.0)
    assert len(desk.lost) == 1
    assert desk.events == [BEEP], "tones are still told"
    assert desk.detector.missed_s == []


def test_a_jump_of_time_after_the_final_verdict_is_of_no_matter():
    desk = Desk({1.0: verdict(Stage.FINAL, Kind.MACHINE)})
    desk.reception.answer(desk.now_s)
    desk.hear(2.0)
    desk.now_s += 3600.0
    desk.hear(5.0)
    assert desk.lost == []


def test_the_answer_is_at_the_end_of_what_was_heard():
    desk = Desk()
    desk.hear(3.0)
    desk.reception.answer(desk.now_s)
    desk.reception.answer(desk.now_s + 1.0)
    assert desk.detector.answered_s == pytest.approx(3.0)


def test_a_greeting_of_which_the_beginning_was_missed_gets_no_verdict():
    desk = Desk({3.0: verdict(Stage.FINAL, Kind.MACHINE)})
    desk.reception.answer(desk.now_s)
    desk.now_s += 1.5
    desk.hear(5.0)
    assert len(desk.lost) == 1
    assert desk.events == []


def test_a_detector_that_fails_ends_its_own_detection_only():
    desk = Desk()
    desk.hear(1.0)
    desk.detector.fails = True
    desk.hear(1.0)
    desk.reception.answer(desk.now_s)
    desk.reception.end()
    assert len(desk.lost) == 1
    assert "broken" in desk.lost[0]
    assert (desk.over, desk.reception.is_over) == (1, True)


def test_a_detector_that_cannot_even_begin_is_told():
    def broken(_: DetectorSettings) -> Detector:
        raise OSError("no model")

    desk = Desk()
    reception = Reception(plan=ListeningPlan(), detect=True, audience=desk, new_detector=broken)
    assert reception.is_over
    assert len(desk.lost) == 1


def test_after_a_restart_tones_and_speech_are_told_but_no_verdicts():
    speech = SpeechStarted(1.0, 1.2)
    desk = Desk({1.0: speech, 2.0: verdict(Stage.FINAL, Kind.MACHINE), 3.0: BEEP}, detect=False, beep_wait_s=5.0)
    desk.hear(6.0)
    desk.reception.hear_words("press one", language=None, final=True)
    assert desk.events == [speech, BEEP]
    assert desk.over == 1
    assert desk.lost == []


def test_it_is_over_when_the_detector_is_done():
    desk = Desk()
    desk.hear(1.0)
    desk.detector.is_done = True
    desk.hear(0.05)
    desk.hear(1.0)
    assert desk.over == 1
    assert desk.detector.fed_s == pytest.approx(1.05)


def test_a_callee_who_hangs_up_gets_a_last_verdict_only_if_he_had_answered():
    unanswered, answered = Desk(), Desk()
    answered.reception.answer(answered.now_s)
    for desk in (unanswered, answered):
        desk.hear(1.0)
        desk.reception.end()
        desk.reception.end()
    assert unanswered.events == []
    assert [event.kind for event in answered.events if isinstance(event, Verdict)] == [Kind.UNCERTAIN]
