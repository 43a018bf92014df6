"""How sure a verdict must be, by the time since speech began and by pace: the thresholds of `verdict.py`, and nothing else.

Who looks often is deceived often: a threshold is low only at the moments when a look pays, and strict between them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sip.voicemail.events import Pace

Demand = Sequence[tuple[float, float]]
"""Seconds since the first speech, and a probability of a machine; straight lines of log odds between, level outside."""


@dataclass(frozen=True, slots=True)
class Demands:
    """How probable it must be, as probabilities of a machine: at least for machines, at most for people.

    CAREFUL's come of seven numbers, near those that tests/bench/detection/choose.py finds: it replays the training half with
    predictions by trees for voices and texts that they had not seen. FAST's were set by hand.
    """

    first_machine: Demand
    first_person: Demand
    final_machine: Demand
    """Before the time limit."""
    final_person: Demand
    limit_machine: float
    """At the time limit."""
    limit_person: float
    limit_after_speech_s: float
    """The time limit, if the settings have no earlier one."""
    pick_up: float
    """Of speech with the timing of a person after a machine's verdict."""
    pick_up_after_beep: float


DEMANDS: Mapping[Pace, Demands] = {
    Pace.CAREFUL: Demands(
        first_machine=((0.3, 0.9526), (1.3, 0.7503), (1.7, 0.7503), (3.0, 0.9726)),
        first_person=((0.3, 0.0547), (1.0, 0.1795), (1.4, 0.1795), (3.0, 0.0104)),
        final_machine=((1.0, 0.9942), (6.3, 0.9241)),
        final_person=((1.0, 0.0015), (6.3, 0.1854)),
        limit_machine=0.8176,
        limit_person=0.2729,
        limit_after_speech_s=math.inf,
        pick_up=0.03,
        pick_up_after_beep=0.3,
    ),
    Pace.FAST: Demands(
        first_machine=((0.8, 0.98), (1.5, 0.68), (2.2, 0.85)),
        first_person=((0.8, 0.15), (2.2, 0.1)),
        final_machine=((1.5, 0.98), (3.0, 0.95)),
        final_person=((1.5, 0.03), (3.0, 0.06)),
        limit_machine=0.8,
        limit_person=0.3,
        limit_after_speech_s=4.0,
        pick_up=0.03,
        pick_up_after_beep=0.3,
    ),
}


DEMANDS_WITH_WORDS: Mapping[Pace, Demands] = {
    Pace.CAREFUL: dataclasses.replace(
        DEMANDS[Pace.CAREFUL],
        first_machine=((0.3, 0.9649), (1.3, 0.8041), (1.7, 0.8041), (3.0, 0.9798)),
        first_person=((0.3, 0.0527), (1.0, 0.1739), (1.4, 0.1739), (3.0, 0.01)),
        final_machine=((1.4, 0.9902), (2.9, 0.9674), (6.2, 0.9669)),
        final_person=((1.4, 0.0015), (5.4, 0.0563), (6.2, 0.1788)),
        limit_machine=0.7944,
        limit_person=0.2271,
    ),
    Pace.FAST: DEMANDS[Pace.FAST],
}
"""The same once words of the call were heard, for probabilities of timing and words. CAREFUL's, and `PHRASE_AT_LEAST`, come of
ten numbers, found by tests/bench/detection/choose_words.py as those for timing are; FAST's are those for timing. Words come
late: a machine without a strong phrase, which `wording.py` squeezes below 0.97, has to be nearly sure before the time limit."""
PHRASE_AT_LEAST = 0.5911
"""So probable a machine must be, with timing and words, for a strong phrase to decide at once."""


def demanded(demand: Demand, since_s: float) -> float:
    """The probability that is asked for so long after speech began."""
    if since_s <= demand[0][0]:
        return demand[0][1]
    for (from_s, at_first), (until_s, at_last) in itertools.pairwise(demand):
        if since_s <= until_s:
            share = (since_s - from_s) / (until_s - from_s)
            return probability_of((1 - share) * log_odds(at_first) + share * log_odds(at_last))
    return demand[-1][1]


def log_odds(probability: float) -> float:
    """Of a probability, kept within 1e-4 of 0 and 1."""
    bounded = min(max(probability, 1e-4), 1 - 1e-4)
    return math.log(bounded / (1 - bounded))


def probability_of(log_odds: float) -> float:
    """Of log odds."""
    return 1 / (1 + math.exp(-log_odds))
