"""What the issue asks for, each figure beside ours: met or NOT MET."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sip.voicemail.events import ToneKind
from tests.bench.detection.cadence import CadenceVerdict
from tests.bench.detection.labels import Label
from tests.bench.detection.scoring import Share, errors_of, false_beeps, quantile, times_of, tone_scores
from tests.bench.detection.trials import WAYS, Told, Trial, Way


def first_of(way: Way) -> Callable[[Trial], Told | None]:
    """The first verdict of a way."""
    return lambda trial: trial.heard[way].first


def final_of(way: Way) -> Callable[[Trial], Told | None]:
    """The final verdict of a way."""
    return lambda trial: trial.heard[way].final


def cadence_of(trial: Trial) -> CadenceVerdict:
    """What the cadence rules said."""
    return trial.cadence


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that the issue asks for."""

    name: str
    figure: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is within its limit; what was not measured is not met."""
        if math.isnan(self.figure):
            return False
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def line(self) -> str:
        """One line of the table."""
        scale = 100 if self.unit == "%" else 1
        word = "at least" if self.at_least else "at most"
        figure = f"{self.figure * scale:.2f}" if self.unit != "streams" else f"{self.figure:.0f}"
        return (
            f"  {self.name:74s} {figure:>8s} {self.unit:8s} {word} {self.limit * scale:.4g}  {'met' if self.met else 'NOT MET'}"
        )


def targets(trials: Sequence[Trial], *, memory_bytes: float) -> list[Target]:
    """The issue's figures beside ours, as far as files can tell."""
    plain, words, fast = WAYS[0], WAYS[1], WAYS[2]
    final, spoken = errors_of(trials, final_of(plain)), errors_of(trials, final_of(words))
    classic, hasty = errors_of(trials, cadence_of), times_of(trials, first_of(fast))
    short = errors_of(trials, final_of(plain), only=lambda label: not label.is_long)
    long = errors_of(trials, final_of(plain), only=lambda label: label.is_long)
    times, first_times = times_of(trials, final_of(plain)), times_of(trials, first_of(plain))
    cpu_ms = 1000 * sum(trial.cpu_s for trial in trials) / max(1e-9, sum(trial.listened_s for trial in trials))
    found = [
        Target("people for machines, final, in all", final.people_lost.value, 0.025, "%"),
        Target("people for machines, final, outside long answers", short.people_lost.value, 0.01, "%"),
        Target("people for machines, final, long answers", long.people_lost.value, 0.25, "%"),
        Target("machines for people, first", errors_of(trials, first_of(plain)).machines_missed.value, 0.07, "%"),
        Target("machines for people, final", final.machines_missed.value, 0.03, "%"),
        Target("uncertain, final", final.uncertain.value, 0.06, "%"),
        Target("accuracy of the decided, final", final.right.value, 0.97, "%", at_least=True),
        Target("with transcripts: people for machines, final, in all", spoken.people_lost.value, 0.01, "%"),
        Target("with transcripts: machines for people, final", spoken.machines_missed.value, 0.02, "%"),
        Target("with transcripts: uncertain, final", spoken.uncertain.value, 0.03, "%"),
        Target("with transcripts: accuracy of the decided, final", spoken.right.value, 0.98, "%", at_least=True),
        Target("fast: first verdict on machines after first speech, median", hasty.machines_median, 2.8, "s"),
        Target("people lost; limit: a tenth of the cadence's", final.people_lost.value, classic.people_lost.value / 10, "%"),
        Target("machines missed; limit: the cadence's", final.machines_missed.value, classic.machines_missed.value, "%"),
        Target("first verdict on people after their first utterance, median", first_times.people_median, 0.9, "s"),
        Target("the same for the final verdict (the issue does not say which)", times.people_median, 0.9, "s"),
        Target("final verdict on machines after first speech, median", times.machines_median, 4.5, "s"),
        Target("final verdict on machines after first speech, p95", times.machines_p95, 6.5, "s"),
    ]  # fmt: skip
    return found + _tone_targets(trials) + [
        Target("CPU a second of audio, all detectors, one stream in 100 ms blocks", cpu_ms, 2.0, "ms"),
        Target("live streams on one core", 1000 / cpu_ms, 500, "streams", at_least=True),
        Target("memory a stream", memory_bytes / 1000, 200, "KB"),
    ]  # fmt: skip


def _tone_targets(trials: Sequence[Trial]) -> list[Target]:
    found = []
    beeps = tone_scores(trials, lambda trial: trial.tones, only=lambda _: True).get(ToneKind.BEEP)
    false = false_beeps(trials, lambda trial: trial.tones)
    if beeps is not None:
        found.append(Target("beep found", beeps.found.value, 0.98, "%", at_least=True))
        found.append(Target("beep told after its end, p95", quantile(beeps.delays_s, 0.95) * 1000, 100, "ms"))
        found.append(Target("false beeps for each hour of speech", false.in_speech / max(false.speech_hours, 1e-9), 2, "/h"))
    groups = {
        "special information tones": (ToneKind.SIT,),
        "fax (CNG, CED, modem)": (ToneKind.FAX_CNG, ToneKind.FAX_CED, ToneKind.MODEM),
        "busy and reorder": (ToneKind.BUSY, ToneKind.REORDER),
        "ringback": (ToneKind.RINGBACK,),
    }
    for line, only, least in (("clean", _is_clean, 0.99), ("degraded", _is_degraded, 0.97)):
        scores = tone_scores(trials, lambda trial: trial.tones, only=only)
        for name, kinds in groups.items():
            counted = [scores[kind] for kind in kinds if kind in scores]
            share = Share(sum(one.class_right.count for one in counted), sum(one.class_right.total for one in counted))
            found.append(Target(f"{name} found and class right, {line}", share.value, least, "%", at_least=True))
    return found


def _is_clean(label: Label) -> bool:
    return label.is_clean


def _is_degraded(label: Label) -> bool:
    return not label.is_clean
