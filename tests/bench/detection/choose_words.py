"""Chooses the thresholds of sip/voicemail/demands.py with words, careful pace: on the training half, for strangers.

    python -m tests.bench.detection.choose_words

As choose.py does for timing alone, whose thresholds hold until words come and are taken as they are: every clip and its
transcript are heard once, by a speech model that did not hear the clip's voice, and what the judge was asked is kept. Its
questions are answered by two kinds of trees, of timing and of timing and words, that saw neither the clip's voice nor its text;
a random search from a fixed seed replays the verdicts. Prints what to copy, and what it is worth on texts that it was not
found on.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sip.voicemail.demands import DEMANDS, DEMANDS_WITH_WORDS, PHRASE_AT_LEAST, Demand, Demands, log_odds, probability_of
from sip.voicemail.events import Pace
from sip.voicemail.likeness import SpeechModel
from sip.voicemail.likeness import parse as parse_speech
from tests.bench.detection import corpus, questions
from tests.bench.detection.choose import SURE_ENOUGH, cost, descend
from tests.bench.detection.labels import Clip
from tests.bench.detection.plan import SIZES
from tests.bench.detection.questions import Heard
from tests.bench.detection.replay import Decided, Flags, Floats, Worth, worth
from tests.bench.detection.replay_words import Answers, decide
from tests.bench.detection.train import (
    TIMING,
    TIMING_AND_WORDS,
    VOICE_FOLDS,
    Forest,
    Rows,
    calibrate,
    fold_of,
    is_learnt_from,
    out_of_fold,
    voice_folds,
)
from tests.bench.detection.train_speech import Listened, listen, speech_model

LOOKS = 1500
SHARES = 24
"""The half is heard in so many shares, whatever the number of processes."""
START = (4.5, 3.43, 3.4, -6.1, -3.1, 1.3, -1.25, 0.6, 0.6, -0.15)
"""Log odds: the final machine early, in the middle and late; the final person early and late; the limit's machine and person;
a strong phrase; and how far the first machine and the first person are moved from where they are for timing alone."""
AIMS: dict[str, tuple[float, float]] = {
    "lost": (0.012, 3.0),
    "missed": (0.015, 3.0),
    "missed_first": (0.085, 6.0),
    "lost_first": (0.1, 1.0),
    "uncertain": (0.035, 4.0),
    "person_first_s": (0.8, 25.0),
    "machine_final_s": (4.45, 20.0),
    "machine_final_p95_s": (6.4, 20.0),
    "hung_up_people": (0.0004, 0.3),
}
"""At most so much, and what it costs to be above it. Errors are aimed higher than their targets: the trees that know all of the
training half know more than those that know half of it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What holds once words have come."""

    demands: Demands
    phrase_at_least: float


PRESENT = Thresholds(DEMANDS_WITH_WORDS[Pace.CAREFUL], PHRASE_AT_LEAST)


@dataclass(frozen=True, slots=True)
class Share:
    """One of `SHARES` of the training half."""

    size: str
    seed: int
    start: int

    def clips(self) -> Iterator[Clip]:
        """Its clips."""
        loaded = corpus.load_clips(half="train", size=self.size, seed=self.seed, every=SHARES, start=self.start)
        return (clip for clip in loaded if is_learnt_from(clip.label))


def heard_by_strangers(*, size: str, seed: int, processes: int) -> list[Heard]:
    """What the judge was asked about every clip, heard by a speech model that did not hear its voice."""
    shares = [Share(size, seed, start) for start in range(SHARES)]
    with multiprocessing.get_context("spawn").Pool(processes, initializer=os.nice, initargs=(19,)) as pool:
        listened = [one for part in pool.imap(_listen, shares) for one in part]
        models = [
            speech_model([one for one in listened if fold not in voice_folds(one.label)], came_about={})
            for fold in range(VOICE_FOLDS)
        ]
        del listened
        heard: list[Heard] = []
        for number, part in enumerate(pool.imap(functools.partial(_hear, models=models), shares), start=1):
            heard += part
            print(f"heard {number} of {SHARES} shares", flush=True)
    return heard


def _listen(share: Share) -> list[Listened]:
    return [listen(clip) for clip in share.clips() if clip.label.speech]


def _hear(share: Share, *, models: Sequence[str]) -> list[Heard]:
    parsed: list[SpeechModel] = [parse_speech(model) for model in models]
    return [questions.hear(clip, seed=share.seed, speech=parsed[min(voice_folds(clip.label))]) for clip in share.clips()]


def answered(heard: Sequence[Heard]) -> Answers:
    """By trees that know neither text nor voice."""
    return Answers.of(
        heard,
        timing=_for_strangers(questions.timing_rows(heard), forest=TIMING),
        words=_for_strangers(questions.words_rows(heard), forest=TIMING_AND_WORDS),
    )


def _for_strangers(rows: Rows, *, forest: Forest) -> Floats:
    odds = out_of_fold(rows, forest=forest)
    return np.interp(odds, *calibrate(odds, rows.is_machine, rows.weight))


def thresholds_of(x: Sequence[float]) -> Thresholds:
    """What the free numbers make."""
    early, middle, late, person_early, person_late, limit_machine, limit_person, phrase, first_machine, first_person = x

    def p(odds: float) -> float:
        return round(probability_of(min(max(odds, -SURE_ENOUGH), SURE_ENOUGH)), 4)

    def moved(demand: Demand, by: float) -> Demand:
        return tuple((at_s, p(log_odds(asked) + by)) for at_s, asked in demand)

    timing = DEMANDS[Pace.CAREFUL]
    demands = dataclasses.replace(
        timing,
        first_machine=moved(timing.first_machine, first_machine),
        first_person=moved(timing.first_person, first_person),
        final_machine=((1.4, p(early)), (2.9, p(middle)), (6.2, p(late))),
        final_person=((1.4, p(person_early)), (5.4, p(person_late)), (6.2, p(limit_person - 0.3))),
        limit_machine=p(limit_machine),
        limit_person=p(limit_person),
    )
    return Thresholds(demands, p(phrase))


def verdicts(answers: Answers, thresholds: Thresholds) -> Decided:
    """Of the careful pace."""
    before = DEMANDS[Pace.CAREFUL]
    return decide(answers, before=before, after=thresholds.demands, phrase_at_least=thresholds.phrase_at_least)


def worth_of(answers: Answers, thresholds: Thresholds) -> Worth:
    """What thresholds are worth."""
    return worth(answers, verdicts(answers, thresholds))


def search(answers: Answers, *, looks: int) -> list[float]:
    """The best of so many random steps."""

    def allows(x: Floats) -> bool:
        return bool(x[0] >= x[1] >= x[2] >= x[5] >= 0 >= x[6] >= x[4] >= x[3] and x[7] >= 0)

    return descend(lambda x: cost(worth_of(answers, thresholds_of(x.tolist())), AIMS), looks=looks, start=START, allows=allows)


def report(answers: Answers, *, looks: int) -> None:
    """What is found, and what it is worth."""
    print(f"present: {worth_of(answers, PRESENT)}")
    halves: Flags = np.array([fold_of(max(label.prompt_ids, key=len, default=""), 8) % 2 == 1 for label in answers.labels])
    for name, half in (("even", ~halves), ("odd", halves)):
        found = thresholds_of(search(answers.only(half), looks=looks))
        print(f"found on the {name} texts: {worth_of(answers.only(half), found)}")
        print(f"  on the others: {worth_of(answers.only(~half), found)}", flush=True)
    numbers = search(answers, looks=looks)
    found = thresholds_of(numbers)
    print(f"found on all: {worth_of(answers, found)}")
    print(f"numbers: {[round(one, 3) for one in numbers]}")
    print(found)


def main() -> None:
    """Search, on all texts and on either half of them, and print what is found."""
    parser = argparse.ArgumentParser(description="Choose the thresholds with words of sip/voicemail/demands.py.")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--looks", type=int, default=LOOKS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    heard = heard_by_strangers(size=options.size, seed=options.seed, processes=options.processes)
    report(answered(heard), looks=options.looks)


if __name__ == "__main__":
    main()
