"""All detectors of one call behind one `feed`: hops, spectra, tones, speech, words and the verdict on them.

Audio becomes hops of 10 ms; each is judged once, when its tone flag is known (`LAG_HOPS` later), so that the events and their
times do not depend on how the stream was cut. Responsible for that order and for nothing that can be decided elsewhere.
Knows no rooms, files or policies. Never raises on int16 samples of one dimension.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sip.voicemail.activity import HeardHop, Sound, SpeechActivity
from sip.voicemail.classifier import Classifier, stock_classifier
from sip.voicemail.events import (
    DetectorEvent,
    DetectorSettings,
    PhraseHeard,
    SpeechEnded,
    SpeechStarted,
    Tone,
    ToneKind,
    Verdict,
    WordsHeard,
)
from sip.voicemail.features import Timing, measure
from sip.voicemail.framing import HOP_S, Framer, Hops, Samples
from sip.voicemail.hindsight import Hindsight
from sip.voicemail.likeness import SpeechModel, bands
from sip.voicemail.phrases import PhraseSpotter
from sip.voicemail.spectrum import Spectra, SpectrumAnalyser
from sip.voicemail.tones import LAG_HOPS, ToneDetector
from sip.voicemail.utterances import Change, Utterances
from sip.voicemail.verdict import DECISION_S, PICK_UP_WAIT_S, Judge
from sip.voicemail.wording import Wording, stock_words_classifier, weigh

_SPEAKING_DECISION_HOPS = round(DECISION_S / HOP_S)
_DECISION_HOPS = _SPEAKING_DECISION_HOPS // 2
"""A wait is what people's verdicts come of: it is looked at more often than speech."""
_PICK_UP_PAUSE_HOPS = 35
"""Speech after a machine's verdict may be a person's if it follows so much quiet, or a beep."""
_BLOCK_S = 1.0
"""Longer pieces are worked off in blocks of this length, to bound the memory that they take."""
_MISS_AT_MOST_S = 120.0
"""A longer gap is no loss of packets; it counts as so long."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What was seen of every hop of 10 ms, for pictures; arrays of one length."""

    level_dbm0: NDArray[np.float32]
    """Of the speech band."""
    is_speech: NDArray[np.bool_]
    """As the activity detector has it, tones taken out."""
    is_tone: NDArray[np.bool_]


class CallDetector:
    """Hears one call and tells what it is. Bounded memory however long the call is, unless a trace is kept."""

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        settings: DetectorSettings,
        classifier: Classifier | None = None,
        words_classifier: Classifier | None = None,
        judge: Judge | None = None,
        speech_model: SpeechModel | None = None,
        keep_trace: bool = False,
    ) -> None:
        """`sample_rate_hz`: 8,000 to 48,000, else ValueError. `classifier` and `speech_model`: the package's own by default,
        as `words_classifier`, which is asked once words of the call are heard. `judge`: one with these settings by default.
        """
        self._framer = Framer(sample_rate_hz=sample_rate_hz)
        self._rate_hz = sample_rate_hz
        self._samples = 0
        self._spectrum = SpectrumAnalyser()
        self._tones = ToneDetector()
        self._activity = SpeechActivity()
        self._utterances = Utterances()
        self._hindsight = Hindsight(model=speech_model)
        self._spotter = PhraseSpotter()
        self._wording = Wording()
        self._classifier: Classifier = classifier or stock_classifier()
        self._words_classifier: Classifier = words_classifier or stock_words_classifier()
        self._judge = judge or Judge(settings=settings)
        self._undecided: deque[HeardHop] = deque()
        self._hops = 0
        self._answered_hop: int | None = None
        self._answered_s: float | None = None
        self._floor_dbm0 = 0.0
        self._beep_until_hop = 0
        self._pick_up_from_hop: int | None = None
        self._trace: list[tuple[float, bool, bool]] | None = [] if keep_trace else None
        self.heard_speech_at_s: float | None = None
        """When the first speech since the answer (or, before it, of the stream) began."""

    @property
    def now_s(self) -> float:
        """The end of what was fed."""
        return self._samples / self._rate_hz

    @property
    def verdict(self) -> Verdict | None:
        """The latest."""
        return self._judge.latest

    @property
    def answered_s(self) -> float | None:
        """When `answer` was called."""
        return self._answered_s

    @property
    def is_done(self) -> bool:
        """Nothing more will be told: the verdict is final and the wait for a beep or a person is over."""
        return self._judge.is_done

    def feed(self, samples: Samples) -> list[DetectorEvent]:
        """Take mono int16 samples, any number of them; the events that they bring, in order of `told_s`."""
        return self._feed(samples)

    def miss(self, duration_s: float) -> list[DetectorEvent]:
        """Packets were lost for so long: time goes on, and what was being said is not over for that. Nothing below 0."""
        if not 0 < duration_s < math.inf:
            return []
        events: list[DetectorEvent] = []
        missing = round(min(duration_s, _MISS_AT_MOST_S) * self._rate_hz)
        block = round(_BLOCK_S * self._rate_hz)
        while missing > 0:
            events += self._feed(np.zeros(min(block, missing), np.int16), lost=True)
            missing -= block
        return events

    def answer(self) -> list[DetectorEvent]:
        """The call was answered at the end of what was fed; what is being said counts from here on. Once."""
        if self._answered_hop is None:
            self._answered_hop = self._hops
            self._answered_s = self.now_s
            self.heard_speech_at_s = None
            self._judge.answer(self.now_s)
            self._wording.restart()
            if self._wording.is_heard:
                self._judge.heed_words(self._wording.facts)
        return []

    def hear_words(self, text: str, *, language: str | None, final: bool) -> list[DetectorEvent]:
        """Take a piece of a transcript; an interim piece (`final` False) is replaced by the next one."""
        if self._judge.is_done:
            return []
        now_s = self.now_s
        events: list[DetectorEvent] = []
        if final and self._judge.is_deciding:
            events.append(WordsHeard(text, language, now_s))
        found = self._spotter.hear(text, language=language, final=final)
        timing = None if self._answered_hop is None else self._timing(self._answered_hop)
        self._wording.hear(text, language=language, final=final, found=found, told_s=now_s, timing=timing)
        if self._answered_hop is not None and self._wording.is_heard:
            self._judge.heed_words(self._wording.facts)
        if not found:
            return events
        events += [PhraseHeard(one.kind, one.language, one.text, now_s, now_s) for one in found]
        probability = self._weigh(timing)
        strong, leaning = self._spotter.kind, self._spotter.leaning
        phrase = next((one.text for one in found if one.kind is strong), found[-1].text)
        events += self._judge.hear_phrases(
            strong=strong, leaning=leaning, phrase=phrase, told_s=now_s, timing=timing, probability=probability
        )
        return events

    def finish(self) -> list[DetectorEvent]:
        """No more audio: the final verdict, if there was none yet and the call was answered."""
        timing, probability = self._measure()
        return list(self._judge.finish(self.now_s, timing, probability))

    def trace(self) -> Trace:
        """What was seen so far; ValueError unless constructed with `keep_trace`."""
        if self._trace is None:
            raise ValueError("no trace was kept")
        levels, speech, tones = zip(*self._trace, strict=True) if self._trace else ((), (), ())
        return Trace(np.array(levels, np.float32), np.array(speech, np.bool_), np.array(tones, np.bool_))

    def _feed(self, samples: Samples, *, lost: bool = False) -> list[DetectorEvent]:
        events: list[DetectorEvent] = []
        block = round(_BLOCK_S * self._rate_hz)
        for at in range(0, len(samples), block):
            piece = samples[at : at + block]
            self._samples += len(piece)
            if not self._judge.is_done:
                hops = self._framer.feed(piece)
                if len(hops):
                    self._hear(hops, events, lost=lost)
        return events

    def _hear(self, hops: Hops, events: list[DetectorEvent], *, lost: bool) -> None:
        spectra = self._spectrum.analyse(hops)
        tones = deque(sorted(self._tones.feed(hops, spectra), key=lambda tone: tone.told_s))
        heard = self._activity.feed(hops, spectra)
        if lost:
            heard = [one._replace(sound=Sound.LOST, spoken=False) for one in heard]
        self._remember(heard, spectra)
        first = self._hops
        for at, is_tone in enumerate(self._tones.is_tone.tolist(), start=1):
            self._hops = first + at
            told_s = self._hops * HOP_S
            while tones and tones[0].told_s <= told_s + 1e-6:
                self._hear_tone(tones.popleft(), events)
            if self._hops > LAG_HOPS:
                self._decide(self._undecided.popleft(), told_s, events, is_tone=is_tone)
        for tone in tones:
            self._hear_tone(tone, events)

    def _remember(self, heard: list[HeardHop], spectra: Spectra) -> None:
        self._undecided.extend(heard)
        self._hindsight.hear(heard, bands(spectra), self._tones.is_tone[max(0, LAG_HOPS - self._hops) :])

    def _hear_tone(self, tone: Tone, events: list[DetectorEvent]) -> None:
        events.append(tone)
        self._hindsight.forget(from_hop=int(tone.began_s / HOP_S), until_hop=math.ceil(tone.ended_s / HOP_S))
        timing, probability = self._measure()
        events += self._judge.hear_tone(tone, timing, probability)
        if tone.kind is ToneKind.BEEP:
            self._beep_until_hop = round(tone.ended_s / HOP_S)

    def _decide(self, heard: HeardHop, told_s: float, events: list[DetectorEvent], *, is_tone: bool) -> None:
        """Take one hop whose tone flag is known."""
        sound, level_dbm0, self._floor_dbm0, _, _ = heard
        utterances = self._utterances
        if is_tone:
            sound = Sound.LOST if utterances.speaking else Sound.QUIET  # within speech it may be a vowel
        if self._trace is not None:
            self._trace.append((level_dbm0, sound is Sound.SPEECH, is_tone))
        if utterances.hops == self._answered_hop:
            utterances.cut()
        change = utterances.take(sound)
        if change is not None:
            last = utterances.said[-1]
            if change is Change.STARTED:
                self._start()
                events.append(SpeechStarted(last.from_hop * HOP_S, told_s))
            else:
                events.append(SpeechEnded(last.from_hop * HOP_S, last.until_hop * HOP_S, told_s))
        if self._answered_hop is not None:
            since_answer = utterances.hops - self._answered_hop
            if since_answer % _DECISION_HOPS == 0 and not (utterances.speaking and since_answer % _SPEAKING_DECISION_HOPS):
                self._consider(told_s, events)

    def _start(self) -> None:
        said = self._utterances.said
        if self.heard_speech_at_s is None:
            self.heard_speech_at_s = said[-1].from_hop * HOP_S
        if self._judge.awaits_person:
            quiet_from = max(said[-2].until_hop if len(said) > 1 else 0, self._beep_until_hop)
            after_beep = len(said) > 1 and self._beep_until_hop > said[-2].until_hop
            if after_beep or said[-1].from_hop - quiet_from >= _PICK_UP_PAUSE_HOPS:
                self._pick_up_from_hop = quiet_from

    def _consider(self, told_s: float, events: list[DetectorEvent]) -> None:
        timing, probability = self._measure() if self._judge.wants_timing else (None, 0.5)
        events += self._judge.consider(told_s, timing, probability)
        since = self._pick_up_from_hop
        if since is None or not self._judge.awaits_person:
            return
        picked_up = self._timing(since)
        if picked_up is None or picked_up.values[0] > PICK_UP_WAIT_S:
            self._pick_up_from_hop = None
            return
        p = self._classifier.machine_probability(picked_up.values)
        events += self._judge.consider_pick_up(told_s, picked_up, p, after_beep=since == self._beep_until_hop)

    def _measure(self) -> tuple[Timing | None, float]:
        """The timing since the answer, and the probability of a machine; None and 0.5 if nothing was said."""
        timing = None if self._answered_hop is None else self._timing(self._answered_hop)
        return timing, self._weigh(timing)

    def _weigh(self, timing: Timing | None) -> float:
        """The probability of a machine by a timing, and by the words if there are any."""
        by_timing = 0.5 if timing is None else self._classifier.machine_probability(timing.values)
        if not self._wording.is_heard:
            return by_timing
        return weigh(
            self._wording,
            classifier=self._words_classifier,
            told_s=self._hops * HOP_S,
            timing=timing,
            timing_probability=by_timing,
        )

    def _timing(self, anchor_hop: int) -> Timing | None:
        now_hop = self._utterances.hops
        past = self._hindsight.look_back(from_hop=anchor_hop, until_hop=now_hop, floor_dbm0=self._floor_dbm0)
        return measure(past, anchor_hop=anchor_hop, now_hop=now_hop)
