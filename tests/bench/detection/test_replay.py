"""Thresholds are chosen on replays: a replay gives the verdicts that the detector gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sip.voicemail.demands import DEMANDS, log_odds, probability_of
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings, Kind, Pace, Stage, Verdict
from sip.voicemail.features import FEATURES
from tests.bench.detection import making, plan, sounds, speech
from tests.bench.detection.choose import moments_of
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Half
from tests.bench.detection.replay import Moments, decide, worth
from tests.bench.detection.train import hear, is_learnt_from

CLIPS = 40
SELDOM = 2
"""What was said is, with hindsight, no speech any more at the moment of the verdict; a replay does not know that."""
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


def verdicts(clip: Clip) -> tuple[Verdict, Verdict]:
    """The detector's own, first and final."""
    detector = CallDetector(sample_rate_hz=SAMPLE_RATE_HZ, settings=DetectorSettings(), classifier=LongIsMachine())
    detector.answer()
    events = [*detector.feed(clip.samples), *detector.finish()]
    told = [one for one in events if isinstance(one, Verdict)]
    return told[0], next(one for one in told if one.stage is Stage.FINAL)


def is_machine(verdict: Verdict) -> bool:
    return verdict.kind not in {Kind.PERSON, Kind.UNCERTAIN, Kind.NOTHING}


def replayed(clips: list[Clip]) -> Moments:
    rows = hear(clips)
    odds = [log_odds(LongIsMachine().machine_probability(values)) for values in rows.values]
    return moments_of(rows, np.array(odds))


def test_a_replay_gives_the_verdicts_that_the_detector_gives(clips: list[Clip]):
    moments = replayed(clips)
    decided = decide(moments, DEMANDS[Pace.CAREFUL])
    same, kinds = 0, set()
    for clip in range(len(clips)):
        first, final = verdicts(clips[clip])
        verdict = (is_machine(final), final.kind is Kind.PERSON)
        at_once = final.kind is Kind.NOTHING or decided.at_s[clip] == pytest.approx(final.told_s, abs=0.021)
        first_too = first.rule == "ringback" or (first.kind is Kind.PERSON) == decided.first_person[clip]
        same += verdict == (decided.machine[clip], decided.person[clip]) and at_once and first_too
        kinds.add(verdict)
    assert same >= CLIPS - SELDOM
    assert len(kinds) == 3  # people, machines and those that are neither were among them


def test_a_replay_counts_as_the_benchmark_counts(clips: list[Clip]):
    moments = replayed(clips)
    found = worth(moments, decide(moments, DEMANDS[Pace.CAREFUL]))
    people = [clip for clip in clips if clip.label.kind is Kind.PERSON]
    lost = [clip for clip in people if is_machine(verdicts(clip)[1])]
    assert abs(found.lost * len(people) - len(lost)) <= 1
