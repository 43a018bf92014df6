"""Chooses the thresholds of sip/voicemail/demands.py, careful pace: on the training half, with predictions for strangers.

    python -m tests.bench.detection.choose

A clip's moments get the probabilities of trees that saw neither its voice nor its text, on features by a speech model that did
not hear its voice: as near to a callee whom nobody has heard as the training half gets. The thresholds are lines with few free
numbers, found by a random search from a fixed seed and shown on texts that they were not found on. Prints what to copy.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from sip.voicemail.demands import DEMANDS, Demands, probability_of
from sip.voicemail.events import Pace
from tests.bench.detection import corpus
from tests.bench.detection.plan import SIZES
from tests.bench.detection.replay import Answers, Flags, Floats, Worth, decide, worth
from tests.bench.detection.strangers import answers_of_strangers
from tests.bench.detection.train import fold_of

T = TypeVar("T")

LOOKS = 2000
SPREADS = (0.08, 0.25)
START = (1.6, 0.45, -1.1, 1.4, 1.0, 1.5, 2.0)
"""The limit's machine, how fast the final machine rises towards the beginning, the limit's person, how fast the final person
falls; the first machine, the first person, and how fast both grow strict away from their best moments: log odds, a second."""
AIMS: dict[str, tuple[float, float]] = {
    "lost": (0.02, 1.0),
    "lost_short": (0.009, 2.0),
    "lost_long": (0.145, 0.5),
    "missed": (0.034, 1.0),
    "missed_first": (0.08, 3.0),
    "uncertain": (0.083, 2.0),
    "person_first_s": (0.8, 2.0),
    "machine_final_s": (4.5, 4.0),
    "machine_final_p95_s": (6.4, 2.0),
}
"""At most so much, and what it costs to be above it. What must not be is aimed lower than its target, since other voices and
texts are harder, most of all for long answers, of which there are few; what else there is is aimed higher, since the trees
that know all of the training half know more than those that know half of it."""
SURE_ENOUGH = 6.5
"""No threshold asks for higher log odds: what is as sure as the classifier can be is final at once."""


def demands_of(x: Sequence[float]) -> Demands:
    """The thresholds that the free numbers make."""
    limit_machine, machine_slope, limit_person, person_slope, first_machine, first_person, strictness = x
    present = DEMANDS[Pace.CAREFUL]

    def p(odds: float) -> float:
        return round(probability_of(min(max(odds, -SURE_ENOUGH), SURE_ENOUGH)), 4)

    def sharp(best: float, around: tuple[float, float], sign: float) -> tuple[tuple[float, float], ...]:
        low, high = around
        return tuple(
            (at_s, p(sign * (best + strictness * max(low - at_s, at_s - high, 0.0)))) for at_s in (0.3, low, high, 3.0)
        )

    return Demands(
        first_machine=sharp(first_machine, (1.3, 1.7), 1.0),
        first_person=sharp(first_person, (1.0, 1.4), -1.0),
        final_machine=((1.0, p(limit_machine + 1.0 + machine_slope * 5.3)), (6.3, p(limit_machine + 1.0))),
        final_person=((1.0, p(limit_person - 0.5 - person_slope * 5.3)), (6.3, p(limit_person - 0.5))),
        limit_machine=p(limit_machine),
        limit_person=p(limit_person),
        limit_after_speech_s=present.limit_after_speech_s,
        pick_up=present.pick_up,
        pick_up_after_beep=present.pick_up_after_beep,
    )


def cost(found: Worth, aims: Mapping[str, tuple[float, float]]) -> float:
    """What is above its aim costs; so does, a little, everything that is an error."""
    total = 0.0
    for name, (aim, weight) in aims.items():
        share = getattr(found, name) / aim
        total += weight * max(0.0, share - 1) + 0.05 * share
    return total + 20 * max(0.0, 0.973 - found.accuracy) + 3 * found.lost_first


def worth_of(answers: Answers, demands: Demands) -> Worth:
    """What thresholds are worth where no words come."""
    return worth(answers, decide(answers, before=demands, after=demands, phrase_at_least=1.0))


def search(answers: Answers, *, looks: int) -> list[float]:
    """The best of so many random steps."""
    return descend(
        lambda x: cost(worth_of(answers, demands_of(x.tolist())), AIMS),
        looks=looks,
        start=START,
        allows=lambda x: min(x[[0, 1, 3, 4, 5, 6]]) >= 0 and x[2] <= 0,
    )


def descend(
    costs_of: Callable[[Floats], float], *, looks: int, start: Sequence[float], allows: Callable[[Floats], bool]
) -> list[float]:
    """The cheapest numbers of so many random steps, from a fixed seed."""
    rng = np.random.default_rng(0)
    best = np.array(start)
    least = costs_of(best)
    for _ in range(looks):
        steps = rng.normal(size=best.size) * rng.choice(SPREADS) * (rng.random(best.size) < 0.4)
        tried = best + steps
        if not allows(tried):
            continue
        costs = costs_of(tried)
        if costs < least:
            best, least = tried, costs
    return [float(one) for one in best]


def report(
    answers: Answers,
    *,
    present: T,
    search: Callable[[Answers], list[float]],
    thresholds_of: Callable[[Sequence[float]], T],
    worth_of: Callable[[Answers, T], Worth],
) -> None:
    """Search on either half of the texts and on all, and print what is found and what it is worth."""
    print(f"present: {worth_of(answers, present)}")
    odd: Flags = np.array([fold_of(max(label.prompt_ids, key=len, default=""), 8) % 2 == 1 for label in answers.labels])
    for name, half in (("even", ~odd), ("odd", odd)):
        found = thresholds_of(search(answers.only(half)))
        print(f"found on the {name} texts: {worth_of(answers.only(half), found)}")
        print(f"  on the others: {worth_of(answers.only(~half), found)}", flush=True)
    numbers = search(answers)
    found = thresholds_of(numbers)
    print(f"found on all: {worth_of(answers, found)}")
    print(f"numbers: {[round(one, 3) for one in numbers]}")
    print(found)


def options_of(description: str, *, looks: int) -> argparse.Namespace:
    """Of the command line: size, seed, looks, processes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--looks", type=int, default=looks)
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Search, on all texts and on either half of them, and print what is found."""
    options = options_of("Choose the thresholds of sip/voicemail/demands.py on the training half.", looks=LOOKS)
    answers = answers_of_strangers(size=options.size, seed=options.seed, processes=options.processes, transcribed=False)
    report(
        answers,
        present=DEMANDS[Pace.CAREFUL],
        search=functools.partial(search, looks=options.looks),
        thresholds_of=demands_of,
        worth_of=worth_of,
    )


if __name__ == "__main__":
    main()
