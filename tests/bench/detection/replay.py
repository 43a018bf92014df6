"""Replays verdicts from the probabilities of all moments: what thresholds would have been worth, in milliseconds for a half.

A replay decides as `verdict.py` does on timing and beeps, for all clips at once. Knows no audio and no trees; chooses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sip.voicemail.demands import Demand, Demands, log_odds
from sip.voicemail.events import DetectorSettings, Kind
from sip.voicemail.framing import HOP_S
from sip.voicemail.tones import LAG_HOPS
from sip.voicemail.verdict import DECISION_S
from tests.bench.detection.labels import Label
from tests.bench.detection.scoring import SPEAKING_MACHINES

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
LAG_S = LAG_HOPS * HOP_S
ENDS_S = 0.5
"""The last moment of a clip lies no further before its end."""
HANG_UP = 0.98
"""How sure hanging up asks to be by default (orchestrator/detection.py)."""


class Labelled(Protocol):
    """Moments of clips."""

    @property
    def labels(self) -> Sequence[Label]:
        """Of each clip."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Every moment at which something could have been decided; (clips, most moments of a clip), NaN where there are fewer."""

    labels: Sequence[Label]
    log_odds: Floats
    """Of a machine, all evidence together."""
    since_s: Floats
    """Since the first speech."""
    told_s: Floats
    """Of the stream."""

    @classmethod
    def of(
        cls, labels: Sequence[Label], *, clip: npt.NDArray[np.intp], log_odds: Floats, since_s: Floats, told_s: Floats
    ) -> Moments:
        """From rows in order of time; `clip` (n,) says which clip each is of."""
        counts = np.bincount(clip, minlength=len(labels))
        place = np.concatenate([np.arange(count) for count in counts]) if len(clip) else np.zeros(0, np.intp)
        padded = []
        for column in (log_odds, since_s, told_s):
            matrix = np.full((len(labels), max(1, int(counts.max(initial=0)))), np.nan)
            matrix[clip, place] = column
            padded.append(matrix)
        return cls(labels, *padded)

    def only(self, chosen: Flags) -> Moments:
        """Those of some clips."""
        labels = [label for label, is_chosen in zip(self.labels, chosen, strict=True) if is_chosen]
        return Moments(labels, self.log_odds[chosen], self.since_s[chosen], self.told_s[chosen])


@dataclass(frozen=True, slots=True)
class Worth:
    """What thresholds are worth on some clips: shares of 1, and seconds."""

    lost: float
    """People taken for machines, of all, outside long answers, of long answers."""
    lost_short: float
    lost_long: float
    missed: float
    """Machines taken for people, at the final and at the first verdict."""
    missed_first: float
    lost_first: float
    uncertain: float
    accuracy: float
    person_first_s: float
    """Median from the end of the first utterance, of the right ones."""
    person_final_s: float
    machine_final_s: float
    """Median, and 95th percentile, from the first speech, of the right ones."""
    machine_final_p95_s: float
    hung_up_people: float
    """Final verdict machine, told at 0.98 or more: of people, and of machines."""
    hung_up_machines: float

    def __str__(self) -> str:
        shares = ("lost", "lost_short", "lost_long", "missed", "missed_first", "lost_first", "uncertain", "accuracy")
        told = [f"{name} {getattr(self, name):.2%}" for name in shares]
        times = ("person_first_s", "person_final_s", "machine_final_s", "machine_final_p95_s")
        told += [f"{name} {getattr(self, name):.2f}" for name in times]
        return ", ".join([*told, f"hung up on {self.hung_up_people:.2%} people {self.hung_up_machines:.1%} machines"])


@dataclass(frozen=True, slots=True)
class Decided:
    """The two verdicts of every clip; arrays of one length."""

    machine: Flags
    person: Flags
    log_odds: Floats
    at_s: Floats
    first_machine: Flags
    first_person: Flags
    first_at_s: Floats


def decide(moments: Moments, demands: Demands) -> Decided:
    """The verdicts that these thresholds give, at the default sensitivity."""
    settings = DetectorSettings()
    known = moments.log_odds
    there = ~np.isnan(known)
    since, told = moments.since_s, moments.told_s
    limit_s = min(settings.final_after_speech_s, demands.limit_after_speech_s)
    over = since + LAG_S + DECISION_S > limit_s + 1e-6
    at_limit = there & (over | (told + DECISION_S > settings.final_after_answer_s + 1e-6))
    with np.errstate(invalid="ignore"):
        machine = there & (
            known >= np.where(at_limit, log_odds(demands.limit_machine), asked_for(demands.final_machine, since))
        )
        person = there & (known <= np.where(at_limit, log_odds(demands.limit_person), asked_for(demands.final_person, since)))
        first_machine = there & (known >= asked_for(demands.first_machine, since))
        first_person = there & (known <= asked_for(demands.first_person, since))
    last = there.sum(axis=1) - 1
    at_end = np.arange(known.shape[1]) == np.maximum(last, 0)[:, None]
    durations_s = np.array([label.duration_s for label in moments.labels])
    final = machine | person | at_limit
    final |= at_end & ~final.any(axis=1)[:, None]
    rows, at = np.arange(len(known)), final.argmax(axis=1)
    held = known[rows, at]
    unasked = ~(machine | person | at_limit)[rows, at]
    last[unasked & (told[rows, at] < durations_s - ENDS_S)] = -1  # then nothing was speech after all
    with np.errstate(invalid="ignore"):
        is_machine = (last >= 0) & np.where(unasked, held >= log_odds(demands.limit_machine), machine[rows, at])
        is_person = (last >= 0) & ~is_machine & np.where(unasked, held <= log_odds(demands.limit_person), person[rows, at])
    first = (first_machine | first_person | final).argmax(axis=1)
    same = first == at
    return Decided(
        machine=is_machine,
        person=is_person,
        log_odds=held,
        at_s=told[rows, at],
        first_machine=np.where(same, is_machine, first_machine[rows, first]),
        first_person=np.where(same, is_person, (first_person & ~first_machine)[rows, first]),
        first_at_s=told[rows, first],
    )


def worth(moments: Labelled, decided: Decided) -> Worth:
    """Counted as `scoring.py` counts."""
    labels = moments.labels
    is_person = np.array([label.kind is Kind.PERSON for label in labels])
    is_machine = np.array([label.kind in SPEAKING_MACHINES for label in labels])
    is_long = np.array([label.is_long for label in labels])
    said_s = np.array([_or_nan(label.first_utterance_end_s) for label in labels])
    spoke_s = np.array([_or_nan(label.first_speech_s) for label in labels])
    counted = is_person | is_machine
    decisive = (decided.machine | decided.person) & counted
    right = (decided.machine & is_machine) | (decided.person & is_person)
    hung_up = decided.machine & (decided.log_odds >= log_odds(HANG_UP))
    found = is_machine & decided.machine
    return Worth(
        lost=_share(decided.machine, is_person),
        lost_short=_share(decided.machine, is_person & ~is_long),
        lost_long=_share(decided.machine, is_person & is_long),
        missed=_share(decided.person, is_machine),
        missed_first=_share(decided.first_person, is_machine),
        lost_first=_share(decided.first_machine, is_person),
        uncertain=_share(~(decided.machine | decided.person), counted),
        accuracy=_share(right, decisive),
        person_first_s=_quantile((decided.first_at_s - said_s)[is_person & decided.first_person], 0.5),
        person_final_s=_quantile((decided.at_s - said_s)[is_person & decided.person], 0.5),
        machine_final_s=_quantile((decided.at_s - spoke_s)[found], 0.5),
        machine_final_p95_s=_quantile((decided.at_s - spoke_s)[found], 0.95),
        hung_up_people=_share(hung_up, is_person),
        hung_up_machines=_share(hung_up, is_machine),
    )


def asked_for(demand: Demand, since_s: Floats) -> Floats:
    """`demands.demanded` for many moments, in log odds."""
    return np.interp(since_s, [at_s for at_s, _ in demand], [log_odds(asked) for _, asked in demand])


def _share(of: Flags, among: Flags) -> float:
    return float(of[among].mean()) if among.any() else np.nan


def _quantile(values: Floats, q: float) -> float:
    there = values[~np.isnan(values)]
    return float(np.quantile(there, q)) if there.size else np.nan


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
