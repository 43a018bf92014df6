"""Replays verdicts: what thresholds would have been worth for all clips at once, in milliseconds for a half.

A replay decides as `verdict.py` does on the questions that were recorded (`questions.py`), given the log odds that two
classifiers answer. Knows no audio, words or trees; chooses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sip.voicemail.demands import Demand, Demands, log_odds, probability_of
from sip.voicemail.events import Kind
from sip.voicemail.framing import HOP_S
from sip.voicemail.tones import LAG_HOPS
from sip.voicemail.verdict import BEEP_LOG_ODDS, DECISION_S, TONE_PROBABILITY
from sip.voicemail.wording import STRONG_PHRASE_LOG_ODDS, bounded
from tests.bench.detection.labels import Label
from tests.bench.detection.questions import Asked, Heard, Question, since_first_s
from tests.bench.detection.scoring import HANG_UP, SPEAKING_MACHINES

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
LAG_S = LAG_HOPS * HOP_S


@dataclass(frozen=True, slots=True)
class Answers:
    """The answered questions of every clip; (clips, most questions of a clip), NaN and -1 where there are fewer."""

    labels: Sequence[Label]
    log_odds: Floats
    """Of a machine, all evidence together."""
    since_s: Floats
    """Since the first speech."""
    told_s: Floats
    """Of the stream."""
    asked: npt.NDArray[np.int8]
    """As `Asked`."""
    is_heard: Flags
    """Words had come."""

    @classmethod
    def of(cls, heard: Sequence[Heard], *, timing: Floats, words: Floats) -> Answers:
        """`timing`, `words`: log odds of the rows of `questions.timing_rows` and `words_rows`, in their order."""
        shape = (len(heard), max((len(one.questions) for one in heard), default=1))
        odds, since, told = (np.full(shape, np.nan) for _ in range(3))
        asked, is_heard = np.full(shape, -1, np.int8), np.zeros(shape, np.bool_)
        timing_at = words_at = 0
        for clip, one in enumerate(heard):
            for at, question in enumerate(one.questions):
                by_timing = None if question.timing is None else float(timing[timing_at])
                by_words = None if question.words is None else float(words[words_at])
                timing_at += by_timing is not None
                words_at += by_words is not None
                odds[clip, at] = answer(question, timing=by_timing, words=by_words)
                since[clip, at], told[clip, at] = since_first_s(question), question.told_s
                asked[clip, at], is_heard[clip, at] = question.asked, question.is_heard
        return cls([one.label for one in heard], odds, since, told, asked, is_heard)

    def only(self, chosen: Flags) -> Answers:
        """Those of some clips."""
        labels = [label for label, is_chosen in zip(self.labels, chosen, strict=True) if is_chosen]
        odds, since, told = (column[chosen] for column in (self.log_odds, self.since_s, self.told_s))
        return Answers(labels, odds, since, told, self.asked[chosen], self.is_heard[chosen])


def answer(question: Question, *, timing: float | None, words: float | None) -> float:
    """The log odds that the judge believes, from those of the two classifiers."""
    if question.asked is Asked.TONE:
        return log_odds(TONE_PROBABILITY)
    if timing is None and question.asked is not Asked.PHRASE:
        return 0.0  # nothing was said: undecided, whatever the thresholds
    if timing is None:
        believed = STRONG_PHRASE_LOG_ODDS if question.is_strong else 0.0
    elif words is None:
        believed = timing
    else:
        by_timing = probability_of(timing)
        believed = log_odds(bounded(probability_of(words), timing_probability=by_timing, is_strong=question.is_strong))
    return believed + (BEEP_LOG_ODDS if question.after_beep else 0.0)


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


def decide(answers: Answers, *, before: Demands, after: Demands, phrase_at_least: float) -> Decided:
    """The verdicts at the default sensitivity; `before` words have come, and `after`."""
    known, since, heard = answers.log_odds, answers.since_s, answers.is_heard

    def asked(demand: Demand, demand_after: Demand) -> Floats:
        return np.where(heard, asked_for(demand_after, since), asked_for(demand, since))

    def limit(probability: float, probability_after: float) -> Floats:
        return np.where(heard, log_odds(probability_after), log_odds(probability))

    limit_machine, limit_person = (
        limit(before.limit_machine, after.limit_machine),
        limit(before.limit_person, after.limit_person),
    )
    limit_s = np.where(heard, after.limit_after_speech_s, before.limit_after_speech_s)
    with np.errstate(invalid="ignore"):
        ends = answers.asked == Asked.END
        grid = (answers.asked == Asked.GRID) | ends
        at_limit = ends | (grid & (since + LAG_S + DECISION_S > limit_s + 1e-6))
        machine = grid & (known >= np.where(at_limit, limit_machine, asked(before.final_machine, after.final_machine)))
        machine |= (answers.asked == Asked.BEEP) & (known >= limit_machine)
        machine |= (answers.asked == Asked.PHRASE) & (known >= log_odds(phrase_at_least))
        machine |= answers.asked == Asked.TONE
        person = grid & (known <= np.where(at_limit, limit_person, asked(before.final_person, after.final_person)))
        first_machine = grid & (known >= asked(before.first_machine, after.first_machine))
        first_machine |= answers.asked == Asked.RINGBACK  # call progress is not a person
        first_person = grid & (known <= asked(before.first_person, after.first_person))
    final = machine | person | at_limit
    rows, at = np.arange(len(known)), final.argmax(axis=1)
    is_machine = machine[rows, at]
    is_person = person[rows, at] & ~is_machine
    first = (first_machine | first_person | final).argmax(axis=1)
    same = first == at
    return Decided(
        machine=is_machine,
        person=is_person,
        log_odds=known[rows, at],
        at_s=answers.told_s[rows, at],
        first_machine=np.where(same, is_machine, first_machine[rows, first]),
        first_person=np.where(same, is_person, (first_person & ~first_machine)[rows, first]),
        first_at_s=answers.told_s[rows, first],
    )


def worth(answers: Answers, decided: Decided) -> Worth:
    """Counted as `scoring.py` counts."""
    labels = answers.labels
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
