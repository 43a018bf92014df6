"""Counts: verdicts against the truth, with intervals; tones against their labels. Figures only, no text."""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sip.voicemail.events import Kind, Tone, ToneKind
from tests.bench.detection.cadence import CadenceVerdict, Said
from tests.bench.detection.labels import Label, ToneLabel
from tests.bench.detection.trials import Told, Trial

SPEAKING_MACHINES = frozenset({Kind.VOICEMAIL, Kind.MAILBOX_FULL, Kind.MENU, Kind.SCREENING, Kind.ANNOUNCEMENT})
"""What the errors on machines are counted on; fax and call progress are counted with the tones."""
HANG_UP = 0.98
"""How sure hanging up asks to be by default (orchestrator/detection.py)."""
NEAR_S = 0.15
"""A told tone belongs to a label that it overlaps, give or take so much."""


class Taken(enum.Enum):
    """What somebody was taken for."""

    PERSON = "person"
    MACHINE = "machine"
    UNCERTAIN = "uncertain"


def taken_for(told: Told | CadenceVerdict | None) -> Taken:
    """Screening is a machine's voice; nothing heard decides nothing."""
    if isinstance(told, CadenceVerdict):
        return {Said.HUMAN: Taken.PERSON, Said.MACHINE: Taken.MACHINE, Said.NOTSURE: Taken.UNCERTAIN}[told.said]
    if told is None or told.kind in {Kind.UNCERTAIN, Kind.NOTHING}:
        return Taken.UNCERTAIN
    return Taken.PERSON if told.kind is Kind.PERSON else Taken.MACHINE


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if not total:
        return 0.0, 1.0
    z = 1.959964
    share = count / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return max(0.0, middle - half), min(1.0, middle + half)


def quantile(values: Iterable[float], q: float) -> float:
    """The q-quantile, or nan of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.floor(q * len(ordered)))] if ordered else math.nan


@dataclass(slots=True)
class Share:
    """So many of so many."""

    count: int = 0
    total: int = 0

    def add(self, *, counts: bool) -> None:
        """One more."""
        self.count += counts
        self.total += 1

    @property
    def value(self) -> float:
        """The share, 0 to 1; nan of nothing."""
        return self.count / self.total if self.total else math.nan


@dataclass(slots=True)
class Errors:
    """The two errors, and what is left undecided."""

    people_lost: Share = field(default_factory=Share)
    """People taken for machines."""
    machines_missed: Share = field(default_factory=Share)
    """Machines taken for people."""
    uncertain: Share = field(default_factory=Share)
    right: Share = field(default_factory=Share)
    """Of the decided."""

    def add(self, label: Label, taken: Taken) -> None:
        """One person or speaking machine."""
        person = label.kind is Kind.PERSON
        if person:
            self.people_lost.add(counts=taken is Taken.MACHINE)
        else:
            self.machines_missed.add(counts=taken is Taken.PERSON)
        self.uncertain.add(counts=taken is Taken.UNCERTAIN)
        if taken is not Taken.UNCERTAIN:
            self.right.add(counts=(taken is Taken.PERSON) == person)


def counts_as_person_or_machine(label: Label) -> bool:
    """Whether the two errors are counted on a clip."""
    return label.part.value == "main" and (label.kind is Kind.PERSON or label.kind in SPEAKING_MACHINES)


Chooses = Callable[[Trial], Told | CadenceVerdict | None]


def errors_of(trials: Sequence[Trial], chooses: Chooses, *, only: Callable[[Label], bool] = lambda _: True) -> Errors:
    """The errors of one verdict per clip."""
    errors = Errors()
    for trial in trials:
        if counts_as_person_or_machine(trial.label) and only(trial.label):
            errors.add(trial.label, taken_for(chooses(trial)))
    return errors


@dataclass(frozen=True, slots=True)
class Times:
    """Times to right verdicts, in seconds."""

    people_median: float
    """After the end of the first utterance."""
    people_p95: float
    machines_median: float
    """After the first speech."""
    machines_p95: float


def times_of(trials: Sequence[Trial], chooses: Chooses) -> Times:
    """How long verdicts took, counted where they were right."""
    people, machines = [], []
    for trial in trials:
        label, told = trial.label, chooses(trial)
        if told is None or not counts_as_person_or_machine(label):
            continue
        taken = taken_for(told)
        if label.kind is Kind.PERSON and taken is Taken.PERSON and label.first_utterance_end_s is not None:
            people.append(told.told_s - label.first_utterance_end_s)
        elif label.kind is not Kind.PERSON and taken is Taken.MACHINE and label.first_speech_s is not None:
            machines.append(told.told_s - label.first_speech_s)
    return Times(quantile(people, 0.5), quantile(people, 0.95), quantile(machines, 0.5), quantile(machines, 0.95))


@dataclass(slots=True)
class ToneScore:
    """One kind of tone against its labels."""

    found: Share = field(default_factory=Share)
    class_right: Share = field(default_factory=Share)
    """Of those labelled: found, and the class (of information tones) or the country (of ringback) right as well."""
    delays_s: list[float] = field(default_factory=list)
    """From the tone's end until it was told (patterns: from their beginning)."""


PATTERNS = frozenset({ToneKind.BUSY, ToneKind.REORDER, ToneKind.RINGBACK, ToneKind.FAX_CNG, ToneKind.FAX_CED, ToneKind.MODEM})


def belongs(told: Tone, label: ToneLabel) -> bool:
    """Whether a told tone may be a labelled one, whatever it was called."""
    return told.began_s <= label.ended_s + NEAR_S and told.ended_s >= label.began_s - NEAR_S


def score_tone(told: Sequence[Tone], label: ToneLabel, score: ToneScore) -> None:
    """Count one labelled tone."""
    matching = [tone for tone in told if tone.kind is label.kind and belongs(tone, label)]
    score.found.add(counts=bool(matching))
    right = any(class_is_right(tone, label) for tone in matching)
    score.class_right.add(counts=right)
    if matching:
        first = min(matching, key=lambda tone: tone.told_s)
        score.delays_s.append(first.told_s - (label.began_s if label.kind in PATTERNS else label.ended_s))


def class_is_right(told: Tone, label: ToneLabel) -> bool:
    """The class of information tones; the country among those that a ringback may be of."""
    match label.kind:
        case ToneKind.SIT:
            return told.detail == label.detail
        case ToneKind.RINGBACK:
            return label.detail in told.detail.split(",")
        case _:
            return True


def tone_scores(
    trials: Sequence[Trial], tells: Callable[[Trial], Sequence[Tone]], *, only: Callable[[Label], bool]
) -> dict[ToneKind, ToneScore]:
    """Each kind of tone, over all clips; residues of ringback need not be told."""
    scores: dict[ToneKind, ToneScore] = {}
    for trial in trials:
        if only(trial.label):
            for label in trial.label.tones:
                if label.detail != "residue":
                    score_tone(tells(trial), label, scores.setdefault(label.kind, ToneScore()))
    return scores


@dataclass(frozen=True, slots=True)
class FalseBeeps:
    """Beeps told where there is none."""

    in_speech: int
    """In clips where somebody speaks; not those that belong to another tone,"""
    speech_hours: float
    """of which there is so much."""
    other_tones: int
    """Other tones called a beep."""
    in_music: int
    music_hours: float
    in_silence: int
    """In clips without speech, music or tones."""


def false_beeps(trials: Sequence[Trial], tells: Callable[[Trial], Sequence[Tone]]) -> FalseBeeps:
    """Beeps that no labelled beep explains."""
    in_speech = other = in_music = in_silence = 0
    speech_s = music_s = 0.0
    for trial in trials:
        label = trial.label
        music = label.scenario == "music"
        music_s += label.duration_s if music else 0
        speech_s += sum(ended - began for began, ended in label.speech)
        for tone in tells(trial):
            if tone.kind is not ToneKind.BEEP or any(belongs(tone, beep) for beep in label.beeps):
                continue
            if any(belongs(tone, one) for one in label.tones):
                other += 1
            elif music:
                in_music += 1
            elif label.speech:
                in_speech += 1
            else:
                in_silence += 1
    return FalseBeeps(in_speech, speech_s / 3600, other, in_music, music_s / 3600, in_silence)


def calibration(
    trials: Sequence[Trial], chooses: Callable[[Trial], Told | None]
) -> list[tuple[float, float, int, float, float]]:
    """Bins of the told probability: from, to, clips, mean told, share of machines seen."""
    edges = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 1.0001)
    rows = []
    told = [
        (choice.machine_probability, trial.label.kind is not Kind.PERSON)
        for trial in trials
        if counts_as_person_or_machine(trial.label) and (choice := chooses(trial)) is not None
    ]
    for low, high in itertools.pairwise(edges):
        inside = [(p, machine) for p, machine in told if low <= p < high]
        if inside:
            mean = sum(p for p, _ in inside) / len(inside)
            seen = sum(machine for _, machine in inside) / len(inside)
            rows.append((low, min(high, 1.0), len(inside), mean, seen))
    return rows
