"""Thresholds are chosen on replays: a replay gives the verdicts that the detector gives, with words and without."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from sip.voicemail.demands import DEMANDS, log_odds, probability_of
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings, Kind, Pace, Stage, Verdict
from sip.voicemail.features import FEATURES
from tests.bench.detection import choose, choose_words, making, plan, questions, sounds, speech
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Half
from tests.bench.detection.recogniser import recognised
from tests.bench.detection.replay import Answers, decide
from tests.bench.detection.train import is_learnt_from
from tests.bench.detection.train_words import NAMES
from tests.bench.detection.trials import fed

CLIPS = 40
SEED = 5


class LongIsMachine:
    """A classifier for which people are those who have said little."""

    def machine_probability(self, values: Sequence[float]) -> float:
        """By the length of all speech."""
        return probability_of(2.5 * (values[list(FEATURES).index("speech_s")] - 2.2))


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> list[Clip]:
    """Clips whose voices are noise in syllables, as long as their texts, over lines without a codec."""

    def burst(text: str, *, voice: speech.Voice) -> speech.Samples:
        noise = sounds.coloured_noise(len(text) * 500, slope=-1.0, rng=np.random.default_rng(len(text)))
        syllables = np.sin(np.arange(noise.size) * (np.pi * 4 / SAMPLE_RATE_HZ)) ** 2
        return speech.floats(noise * (0.05 + syllables))

    def uncoded(near, network, *, active, channel, babble, half, rng):
        line = (near + network) * 1500 + rng.normal(size=near.size) * 4
        return np.clip(np.rint(line), -32768, 32767).astype(np.int16)

    monkeypatch.setattr(speech, "speak", burst)
    monkeypatch.setattr(making, "transmit", uncoded)
    orders = plan.orders(size=plan.FULL, half=Half.TRAIN, seed=SEED)
    made = (making.make(order, seed=SEED) for order in orders if not order.scenario.startswith("recorded_"))
    learnt = (clip for clip in made if is_learnt_from(clip.label))
    return [clip for clip, _ in zip(learnt, range(CLIPS), strict=False)]


class SomewhatLongIsMachine:
    """The same, but never so sure that words could not say otherwise."""

    def machine_probability(self, values: Sequence[float]) -> float:
        """By the length of all speech."""
        return probability_of(values[list(FEATURES).index("speech_s")] - 3.5)


class TalkativeIsMachine:
    """A classifier for which people are those of whom few words were heard, or who say `sorry`."""

    def machine_probability(self, values: Sequence[float]) -> float:
        """By the counts of words."""
        words, person_words, strong = (values[NAMES.index(name)] for name in ("words", "person_words", "strong_phrases"))
        return probability_of(0.7 * (words - 7) - 1.5 * person_words + 2.0 * strong)


def verdicts(clip: Clip, *, words: bool = False) -> tuple[Verdict, Verdict]:
    """The detector's own, first and final; `words`: with the simulated recogniser's pieces."""
    detector = CallDetector(
        sample_rate_hz=SAMPLE_RATE_HZ,
        settings=DetectorSettings(),
        classifier=SomewhatLongIsMachine() if words else LongIsMachine(),
        words_classifier=TalkativeIsMachine(),
    )
    pieces = recognised(clip.label, seed=SEED) if words else []
    events = detector.answer()
    for brought in fed(detector, clip, pieces=pieces):
        events += brought
    events += detector.finish()
    told = [one for one in events if isinstance(one, Verdict)]
    return told[0], next(one for one in told if one.stage is Stage.FINAL)


def is_machine(verdict: Verdict) -> bool:
    return verdict.kind not in {Kind.PERSON, Kind.UNCERTAIN, Kind.NOTHING}


def replayed(clips: list[Clip]) -> Answers:
    heard = [questions.hear(clip, seed=SEED, transcribed=False) for clip in clips]
    timing = [log_odds(LongIsMachine().machine_probability(row)) for row in questions.timing_rows(heard).values]
    return Answers.of(heard, timing=np.array(timing), words=np.zeros(0))


def test_a_replay_gives_the_verdicts_that_the_detector_gives(clips: list[Clip]):
    demands = DEMANDS[Pace.CAREFUL]
    decided = decide(replayed(clips), before=demands, after=demands, phrase_at_least=1.0)
    kinds = set()
    for at, clip in enumerate(clips):
        first, final = verdicts(clip)
        verdict = (is_machine(final), final.kind is Kind.PERSON)
        assert verdict == (decided.machine[at], decided.person[at]), clip.label.clip_id
        assert (first.kind is Kind.PERSON) == decided.first_person[at]
        assert (first.told_s, final.told_s) == pytest.approx((decided.first_at_s[at], decided.at_s[at]), abs=1e-6)
        kinds.add(verdict)
    assert len(kinds) == 3  # people, machines and those that are neither were among them


def test_a_replay_counts_as_the_benchmark_counts(clips: list[Clip]):
    found = choose.worth_of(replayed(clips), DEMANDS[Pace.CAREFUL])
    people = [clip for clip in clips if clip.label.kind is Kind.PERSON]
    lost = [clip for clip in people if is_machine(verdicts(clip)[1])]
    assert found.lost == pytest.approx(len(lost) / len(people))


def beeped(clip: Clip) -> Clip:
    """A clip that is cut short by a beep, a breath after its first words."""
    until = round(((clip.label.first_speech_s or 0.0) + 1.5) * SAMPLE_RATE_HZ)
    tone = 3000 * np.sin(np.arange(SAMPLE_RATE_HZ // 2) * (2 * np.pi * 1000 / SAMPLE_RATE_HZ))
    quiet = np.random.default_rng(SEED).normal(size=SAMPLE_RATE_HZ) * 4
    samples = [clip.samples[:until], quiet[: SAMPLE_RATE_HZ // 4], tone, np.tile(quiet, 3)]
    return dataclasses.replace(clip, samples=np.concatenate(samples).astype(np.int16))


def answered(clips: list[Clip]) -> Answers:
    heard = [questions.hear(clip, seed=SEED, transcribed=True) for clip in clips]
    timing = [log_odds(SomewhatLongIsMachine().machine_probability(row)) for row in questions.timing_rows(heard).values]
    words = [log_odds(TalkativeIsMachine().machine_probability(row)) for row in questions.words_rows(heard).values]
    return Answers.of(heard, timing=np.array(timing), words=np.array(words))


def test_a_replay_with_words_gives_the_verdicts_that_the_detector_gives_with_words(clips: list[Clip]):
    clips = clips + [beeped(clip) for clip in clips[: CLIPS // 2]]
    answers = answered(clips)
    decided = choose_words.verdicts(answers, choose_words.PRESENT)
    rules, kinds = set(), set()
    for at, clip in enumerate(clips):
        first, final = verdicts(clip, words=True)
        assert (is_machine(final), final.kind is Kind.PERSON) == (decided.machine[at], decided.person[at]), clip.label.clip_id
        assert (is_machine(first), first.kind is Kind.PERSON) == (decided.first_machine[at], decided.first_person[at])
        assert (first.told_s, final.told_s) == pytest.approx((decided.first_at_s[at], decided.at_s[at]), abs=1e-6)
        assert final.machine_probability == pytest.approx(probability_of(decided.log_odds[at]), abs=2e-4)
        rules.add(final.rule)
        kinds.add((is_machine(final), final.kind is Kind.PERSON))
    assert rules >= {"timing", "time_limit", "phrase", "beep"}
    assert len(kinds) == 3  # people, machines and those that are neither were among them
