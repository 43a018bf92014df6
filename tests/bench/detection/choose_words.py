"""Chooses the thresholds of sip/voicemail/demands.py with words, careful pace: on the training half, for strangers.

    python -m tests.bench.detection.choose_words

As choose.py does for timing alone, whose thresholds hold until words come and are taken as they are: every clip and its
transcript are heard once, by a speech model that did not hear the clip's voice, and what the judge was asked is kept. Its
questions are answered by two kinds of trees, of timing and of timing and words, that saw neither the clip's voice nor its text;
a random search from a fixed seed replays the verdicts. Prints what to copy, and what it is worth on texts that it was not
found on.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

from sip.voicemail.demands import DEMANDS, DEMANDS_WITH_WORDS, PHRASE_AT_LEAST, Demand, Demands, log_odds, probability_of
from sip.voicemail.events import Pace
from tests.bench.detection.choose import SURE_ENOUGH, cost, descend, options_of, report
from tests.bench.detection.replay import Answers, Decided, Floats, Worth, decide, worth
from tests.bench.detection.strangers import answers_of_strangers

LOOKS = 1500
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


def main() -> None:
    """Search, on all texts and on either half of them, and print what is found."""
    options = options_of("Choose the thresholds with words of sip/voicemail/demands.py.", looks=LOOKS)
    answers = answers_of_strangers(size=options.size, seed=options.seed, processes=options.processes, transcribed=True)
    report(
        answers,
        present=PRESENT,
        search=functools.partial(search, looks=options.looks),
        thresholds_of=thresholds_of,
        worth_of=worth_of,
    )


if __name__ == "__main__":
    main()
