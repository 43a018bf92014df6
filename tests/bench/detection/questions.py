"""What the detector asks its judge while it hears a clip and the clip's transcript: every question, whatever is answered.

A judge that never decides hears each clip once, to the time limit; thresholds and classifiers can then be tried on what it was
asked, without sound. Responsible for that record alone; knows no thresholds, and learns nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings, Fact, Kind, Tone, ToneKind, Verdict
from sip.voicemail.features import Timing
from sip.voicemail.likeness import SpeechModel
from sip.voicemail.verdict import DECIDING_TONES, DECISION_S, Judge
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Label
from tests.bench.detection.recogniser import recognised
from tests.bench.detection.train import SINCE_FIRST, Floats, Rows, Witness
from tests.bench.detection.trials import fed


class Asked(enum.IntEnum):
    """Why the judge was asked."""

    GRID = 0
    """A moment at which it decides by thresholds."""
    END = 1
    """The last of them: the time limit, or the end of the clip."""
    BEEP = 2
    PHRASE = 3
    """A strong phrase is new."""
    TONE = 4
    """Of those that decide by themselves."""
    RINGBACK = 5
    """A first verdict, if there was none."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was known when the judge was asked."""

    asked: Asked
    told_s: float
    timing: Sequence[float] | None
    """The features of timing, if there was speech."""
    words: Sequence[float] | None
    """The features of timing and words, if there was speech and words had come."""
    is_heard: bool
    """Words had come,"""
    is_strong: bool
    """a strong phrase among them,"""
    after_beep: bool
    """or a beep."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip's questions, in order of time."""

    label: Label
    questions: tuple[Question, ...]


class Recorder(Judge):
    """Writes down what it is asked and decides nothing. Takes the features from the two witnesses that the detector asks."""

    def __init__(self, *, settings: DetectorSettings, timing: Witness, words: Witness) -> None:
        super().__init__(settings=settings)
        self._timing_witness, self._words_witness = timing, words
        self._is_heard = self._is_strong = self._beeped = self._over = False
        self._known: Kind | None = None
        self.questions: list[Question] = []

    @property
    def is_done(self) -> bool:
        """The time limit is reached, or a tone has told what it is."""
        return self._over

    @property
    def wants_timing(self) -> bool:
        """Always."""
        return True

    def hear_tone(self, tone: Tone, timing: Timing | None, probability: float) -> list[Verdict]:
        """Nothing is decided."""
        del probability
        if tone.kind is ToneKind.BEEP and timing is not None:
            self._beeped = True
            self._record(Asked.BEEP, tone.told_s, timing)
        elif tone.kind is ToneKind.RINGBACK:
            self._record(Asked.RINGBACK, tone.told_s, timing)
        elif tone.kind in DECIDING_TONES:
            self._record(Asked.TONE, tone.told_s, timing)
            self._over = True
        return []

    def heed_words(self, wording: Mapping[str, Fact]) -> None:
        """Words were heard."""
        self._is_heard, self._is_strong = True, bool(wording["strong_phrases"])

    def hear_phrases(
        self,
        *,
        strong: Kind | None,
        leaning: Kind | None,
        phrase: str,
        told_s: float,
        timing: Timing | None,
        probability: float,
    ) -> list[Verdict]:
        """Nothing is decided."""
        del leaning, phrase, probability
        if strong is not None and strong is not self._known:
            self._record(Asked.PHRASE, told_s, timing)
        self._known = strong
        return []

    def consider(self, told_s: float, timing: Timing | None, probability: float) -> list[Verdict]:
        """Nothing is decided."""
        del probability
        self._over = told_s + DECISION_S > self._limit_s(timing) + 1e-6
        if timing is not None or self._over:
            self._record(Asked.END if self._over else Asked.GRID, told_s, timing)
        return []

    def finish(self, told_s: float, timing: Timing | None, probability: float) -> list[Verdict]:
        """Nothing is decided."""
        del probability
        if not self._over:
            self._record(Asked.END, told_s, timing)
        return []

    def _record(self, asked: Asked, told_s: float, timing: Timing | None) -> None:
        words = self._words_witness.rows[-1] if timing is not None and self._is_heard else None
        spoken = None if timing is None else self._timing_witness.rows[-1]
        self.questions.append(Question(asked, told_s, spoken, words, self._is_heard, self._is_strong, self._beeped))


def hear(clip: Clip, *, seed: int, transcribed: bool, speech: SpeechModel | None = None) -> Heard:
    """Let the detector hear a clip, answered at its first sample, and its transcript if it is `transcribed`.

    `speech`: the package's own by default.
    """
    settings = DetectorSettings()
    timing, words = Witness(), Witness()
    recorder = Recorder(settings=settings, timing=timing, words=words)
    detector = CallDetector(
        sample_rate_hz=SAMPLE_RATE_HZ,
        settings=settings,
        classifier=timing,
        words_classifier=words,
        judge=recorder,
        speech_model=speech,
    )
    detector.answer()
    pieces = recognised(clip.label, seed=seed) if transcribed else []
    for _ in fed(detector, clip, pieces=pieces):
        if detector.is_done:
            break
    detector.finish()
    return Heard(clip.label, tuple(recorder.questions))


def timing_rows(heard: Iterable[Heard]) -> Rows:
    """The features of timing of all questions that have them: what the classifier of timing is asked."""
    return _rows([(one.label, [question.timing for question in one.questions]) for one in heard])


def words_rows(heard: Iterable[Heard]) -> Rows:
    """The same for the classifier of timing and words."""
    return _rows([(one.label, [question.words for question in one.questions]) for one in heard])


def since_first_s(question: Question) -> float:
    """Since the first speech; 0 where there is none."""
    return 0.0 if question.timing is None else question.timing[SINCE_FIRST]


def _rows(clips: Sequence[tuple[Label, Sequence[Sequence[float] | None]]]) -> Rows:
    values: list[Sequence[float]] = []
    of_clip: list[int] = []
    for at, (_, asked) in enumerate(clips):
        there = [row for row in asked if row is not None]
        values += there
        of_clip += [at] * len(there)
    matrix: Floats = np.array(values, dtype=np.float64)
    return Rows(matrix, np.array(of_clip, dtype=np.intp), tuple(label for label, _ in clips))
