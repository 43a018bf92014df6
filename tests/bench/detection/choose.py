"""Chooses the thresholds of sip/voicemail/demands.py, careful pace: on the training half, with predictions for strangers.

    python -m tests.bench.detection.choose

A clip's moments get the probabilities of trees that saw neither its voice nor its text, on features by a speech model that did
not hear its voice: as near to a callee whom nobody has heard as the training half gets. The thresholds are lines with few free
numbers, found by a random search from a fixed seed and shown on texts that they were not found on. Prints what to copy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from sip.voicemail.demands import DEMANDS, Demands, probability_of
from sip.voicemail.events import Pace, ToneKind
from sip.voicemail.features import FEATURES
from sip.voicemail.likeness import parse as parse_speech
from sip.voicemail.verdict import BEEP_LOG_ODDS
from tests.bench.detection import corpus
from tests.bench.detection.labels import Clip
from tests.bench.detection.plan import SIZES
from tests.bench.detection.replay import LAG_S, Moments, Worth, decide, worth
from tests.bench.detection.train import (
    TIMING,
    VOICE_FOLDS,
    Floats,
    Rows,
    calibrate,
    fold_of,
    hear,
    is_learnt_from,
    out_of_fold,
    voice_folds,
)
from tests.bench.detection.train_speech import listen, speech_model

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
NEAR_S = 0.015
"""The detector asks when a tone is told, give or take a hop."""
SURE_LOG_ODDS = 9.0
"""Of tones that no person makes."""


def heard_by_strangers(clips: Callable[[], Iterator[Clip]]) -> Rows:
    """Rows of all clips, each by a speech model that did not hear its voice."""
    listened = [listen(clip) for clip in clips() if clip.label.speech]
    parts = []
    for fold in range(VOICE_FOLDS):
        others = [one for one in listened if fold not in voice_folds(one.label)]
        speech = parse_speech(speech_model(others, came_about={}))
        parts.append(hear((clip for clip in clips() if min(voice_folds(clip.label)) == fold), speech=speech))
        print(f"heard {fold + 1} of {VOICE_FOLDS} folds", flush=True)
    labels = tuple(label for part in parts for label in part.labels)
    first = np.cumsum([0, *(len(part.labels) for part in parts[:-1])])
    clip = np.concatenate([part.clip + before for part, before in zip(parts, first, strict=True)])
    tones = tuple(tones for part in parts for tones in part.tones)
    return Rows(np.concatenate([part.values for part in parts]), clip, labels, tones)


def moments_of(rows: Rows, odds: Floats) -> Moments:
    """With what tones add: the detector that was heard asked no more once a tone had told it enough, so its time is added."""
    since, onset = (rows.values[:, list(FEATURES).index(name)] for name in ("since_first_s", "onset_s"))
    told = since + onset + LAG_S
    starts = np.searchsorted(rows.clip, np.arange(len(rows.labels) + 1))
    kept: list[tuple[int, float, float, float]] = []
    for clip, tones in enumerate(rows.tones):
        mine = slice(starts[clip], starts[clip + 1])
        moments = list(zip(odds[mine].tolist(), since[mine].tolist(), told[mine].tolist(), strict=True))
        for kind, at_s in tones[:1]:
            before = [one for one in moments if one[2] < at_s - NEAR_S]
            asked = [one for one in moments if abs(one[2] - at_s) <= NEAR_S]
            begun_s = moments[0][2] - moments[0][1] if moments else at_s
            if kind is not ToneKind.BEEP:
                moments = [*before, (SURE_LOG_ODDS, max(0.0, at_s - begun_s), at_s)]
            elif asked:  # a beep with which nobody spoke says nothing
                moments = [*before, *((one[0] + BEEP_LOG_ODDS, *one[1:]) for one in moments[len(before) :])]
        kept += [(clip, *one) for one in moments]
    of_clip, *columns = (np.array(column) for column in zip(*kept, strict=True))
    return Moments.of(rows.labels, clip=of_clip.astype(np.intp), log_odds=columns[0], since_s=columns[1], told_s=columns[2])


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


def cost(found: Worth, aims: Mapping[str, tuple[float, float]] = AIMS) -> float:
    """What is above its aim costs; so does, a little, everything that is an error."""
    total = 0.0
    for name, (aim, weight) in aims.items():
        share = getattr(found, name) / aim
        total += weight * max(0.0, share - 1) + 0.05 * share
    return total + 20 * max(0.0, 0.973 - found.accuracy) + 3 * found.lost_first


def search(moments: Moments, *, looks: int, start: Sequence[float] = START) -> list[float]:
    """The best of so many random steps."""
    return descend(
        lambda x: cost(worth(moments, decide(moments, demands_of(x.tolist())))),
        looks=looks,
        start=start,
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


def main() -> None:
    """Search, on all texts and on either half of them, and print what is found."""
    parser = argparse.ArgumentParser(description="Choose the thresholds of sip/voicemail/demands.py on the training half.")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--looks", type=int, default=LOOKS)
    options = parser.parse_args()

    def clips() -> Iterator[Clip]:
        loaded = corpus.load_clips(half="train", size=options.size, seed=options.seed)
        return (clip for clip in loaded if is_learnt_from(clip.label))

    rows = heard_by_strangers(clips)
    odds = out_of_fold(rows, forest=TIMING)
    moments = moments_of(rows, np.interp(odds, *calibrate(odds, rows.is_machine, rows.weight)))
    report(moments, looks=options.looks)


def report(moments: Moments, *, looks: int) -> None:
    """What is found, and what it is worth."""
    print(f"present: {worth(moments, decide(moments, DEMANDS[Pace.CAREFUL]))}")
    halves = np.array([fold_of(max(label.prompt_ids, key=len, default=""), 8) % 2 for label in moments.labels])
    for half in (0, 1):
        found = demands_of(search(moments.only(halves == half), looks=looks))
        there, elsewhere = moments.only(halves == half), moments.only(halves != half)
        print(f"found on half {half}: {worth(there, decide(there, found))}")
        print(f"  on the other: {worth(elsewhere, decide(elsewhere, found))}", flush=True)
    numbers = search(moments, looks=looks)
    found = demands_of(numbers)
    print(f"found on all: {worth(moments, decide(moments, found))}")
    print(f"numbers: {[round(one, 3) for one in numbers]}")
    print(found)


if __name__ == "__main__":
    main()
