"""Trains sip/voicemail on the corpus's training half: writes speech.json (`train_speech.py`) and, with it, model.json.

    python -m tests.bench.detection.train

Every clip is heard by the product's own detector; at each moment at which it would decide, the features and what they belong to
are a row. Rows of a clip share one weight. Boosted trees are fitted; their log odds are calibrated by a straight line
(logistic regression, Platt 1999) on predictions for clips of whose texts and voices the trees had seen neither: unlike steps,
it goes on to the ends, where hanging up is decided. Same corpus, same file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

import sip.voicemail
from sip.voicemail.classifier import parse
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings, Kind
from sip.voicemail.features import FEATURES
from sip.voicemail.likeness import SpeechModel
from sip.voicemail.likeness import parse as parse_speech
from sip.voicemail.verdict import DECISION_S
from tests.bench.detection import corpus
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Label, Part
from tests.bench.detection.plan import SIZES
from tests.bench.detection.train_speech import listen, speech_model

Floats = npt.NDArray[np.float64]

TEXT_FOLDS = 4
VOICE_FOLDS = 3
DEPTH = 4
LEARNING_RATE = 0.06
LEAST_MOMENTS_IN_LEAF = 600
SHRINKAGE = 30.0
BOUND = 7.0
"""Log odds are kept within it: 5,000 clips cannot tell more than 1 in 1,000."""
SINCE_FIRST = list(FEATURES).index("since_first_s")
MODEL = Path(sip.voicemail.__file__).with_name("model.json")
SPEECH = Path(sip.voicemail.__file__).with_name("speech.json")
MACHINES = {Kind.VOICEMAIL, Kind.MAILBOX_FULL, Kind.MENU, Kind.SCREENING, Kind.ANNOUNCEMENT, Kind.MACHINE}


@dataclass(frozen=True, slots=True)
class Forest:
    """How many trees, and how they grow."""

    trees: int
    chosen_from: float
    """The share of the features, drawn anew for each node, that it may ask for: fewer make trees that agree less."""


TIMING = Forest(trees=260, chosen_from=0.15)
TIMING_AND_WORDS = Forest(trees=170, chosen_from=1.0)


class Witness:
    """A classifier that knows nothing and remembers what it was asked: so the detector waits for the time limit."""

    def __init__(self) -> None:
        self.rows: list[Sequence[float]] = []

    def machine_probability(self, values: Sequence[float]) -> float:
        """Always 0.5."""
        self.rows.append(values)
        return 0.5


@dataclass(frozen=True, slots=True)
class Rows:
    """What the detector saw of some clips, moment by moment."""

    values: Floats
    """(n, features)."""
    clip: npt.NDArray[np.intp]
    """(n,): which clip each row is of."""
    labels: tuple[Label, ...]

    @property
    def is_machine(self) -> npt.NDArray[np.bool_]:
        """(n,)."""
        return np.array([label.kind in MACHINES for label in self.labels])[self.clip]

    @property
    def weight(self) -> Floats:
        """(n,): 1 for each clip."""
        rows = np.bincount(self.clip, minlength=len(self.labels))
        return np.asarray(1 / rows[self.clip], dtype=np.float64)


def is_learnt_from(label: Label) -> bool:
    """People and speaking machines, and music, of the main part: what timing has to tell apart."""
    return label.part is Part.MAIN and (label.kind is Kind.PERSON or label.kind in MACHINES)


def hear(clips: Iterable[Clip], *, speech: SpeechModel | None = None) -> Rows:
    """Let the detector hear clips, each answered at its first sample; `speech`: the package's own by default."""
    values: list[Sequence[float]] = []
    of_clip: list[int] = []
    labels: list[Label] = []
    settings = DetectorSettings()
    for clip in clips:
        witness = Witness()
        detector = CallDetector(sample_rate_hz=SAMPLE_RATE_HZ, settings=settings, classifier=witness, speech_model=speech)
        detector.answer()
        detector.feed(clip.samples[: round((settings.final_after_answer_s + 0.5) * SAMPLE_RATE_HZ)])
        rows = [row for row in witness.rows if row[SINCE_FIRST] <= settings.final_after_speech_s + DECISION_S]
        values += rows
        of_clip += [len(labels)] * len(rows)
        labels.append(clip.label)
    return Rows(np.array(values, dtype=np.float64), np.array(of_clip, dtype=np.intp), tuple(labels))


def fit(values: Floats, is_machine: npt.NDArray[np.bool_], weight: Floats, *, forest: Forest) -> HistGradientBoostingClassifier:
    """Boosted trees, the same for the same rows."""
    trees = HistGradientBoostingClassifier(
        max_iter=forest.trees,
        max_features=forest.chosen_from,
        max_depth=DEPTH,
        max_leaf_nodes=2**DEPTH,
        learning_rate=LEARNING_RATE,
        min_samples_leaf=LEAST_MOMENTS_IN_LEAF,
        l2_regularization=SHRINKAGE,
        early_stopping=False,
        random_state=0,
    )
    return trees.fit(values, is_machine, sample_weight=weight / weight.mean())


def out_of_fold(rows: Rows, *, forest: Forest) -> Floats:
    """Log odds of every row, by trees that have seen neither its clip's longest text (as a longest or first) nor its voices."""
    longest = np.array([fold_of(max(label.prompt_ids, key=len, default=""), TEXT_FOLDS) for label in rows.labels])
    first = np.array([fold_of("".join(label.prompt_ids[:1]), TEXT_FOLDS) for label in rows.labels])
    voices = [voice_folds(label) for label in rows.labels]
    log_odds = np.zeros(len(rows.clip))
    for text_fold, voice_fold in itertools.product(range(TEXT_FOLDS), range(VOICE_FOLDS)):
        held = (longest == text_fold) & np.array([min(folds) == voice_fold for folds in voices])
        seen = (longest != text_fold) & (first != text_fold) & np.array([voice_fold not in folds for folds in voices])
        held, seen = held[rows.clip], seen[rows.clip]
        if held.any():
            trees = fit(rows.values[seen], rows.is_machine[seen], rows.weight[seen], forest=forest)
            log_odds[held] = trees.decision_function(rows.values[held])
    return log_odds


def fold_of(name: str, folds: int) -> int:
    """Which fold a text or a voice is in."""
    return zlib.crc32(name.encode()) // 7 % folds


def voice_folds(label: Label) -> frozenset[int]:
    """Of all voices of a clip; the least is the one in which it is held back."""
    return frozenset(fold_of(voice, VOICE_FOLDS) for voice in label.voices) or frozenset({0})


def calibrate(log_odds: Floats, is_machine: npt.NDArray[np.bool_], weight: Floats) -> tuple[list[float], list[float]]:
    """The line from the trees' log odds to true ones: its two points at the bounds."""
    line = LogisticRegression(C=1e6).fit(log_odds[:, None], is_machine, sample_weight=weight)
    slope, offset = float(line.coef_.item()), float(line.intercept_.item())
    return [(bound - offset) / slope for bound in (-BOUND, BOUND)], [-BOUND, BOUND]


def complete(trees: HistGradientBoostingClassifier) -> list[dict[str, list[float]]]:
    """The fitted trees as complete ones: a leaf above the last depth is repeated below itself."""
    whole = []
    for (predictor,) in trees._predictors:
        nodes = predictor.nodes
        features, thresholds, leaves = [0] * (2**DEPTH - 1), [0.0] * (2**DEPTH - 1), [0.0] * 2**DEPTH
        waiting = [(0, 0, 0)]
        while waiting:
            place, at, depth = waiting.pop()
            node = nodes[at]
            if depth == DEPTH:
                leaves[place - (2**DEPTH - 1)] = round(float(node["value"]), 5)
                continue
            if node["is_leaf"]:
                waiting += [(2 * place + 1, at, depth + 1), (2 * place + 2, at, depth + 1)]
                continue
            features[place], thresholds[place] = int(node["feature_idx"]), round(float(node["num_threshold"]), 6)
            waiting += [(2 * place + 1, int(node["left"]), depth + 1), (2 * place + 2, int(node["right"]), depth + 1)]
        whole.append({"features": features, "thresholds": thresholds, "leaves": leaves})
    return whole


def errors(log_odds: Floats, rows: Rows, curve: tuple[list[float], list[float]]) -> dict[str, float]:
    """What the out-of-fold predictions are worth, over all moments."""
    p = 1 / (1 + np.exp(-np.interp(log_odds, *curve)))
    y, w = rows.is_machine, rows.weight
    found = {
        "log_loss": log_loss(y, p, sample_weight=w),
        "brier": brier_score_loss(y, p, sample_weight=w),
        "auc": roc_auc_score(y, p, sample_weight=w),
    }
    elapsed = rows.values[:, 0]
    for at_s in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0):
        near = np.abs(elapsed - at_s) < 0.06
        found[f"people_above_0.5_at_{at_s:.0f}_s"] = float((p[near & ~y] > 0.5).mean())
        found[f"machines_below_0.5_at_{at_s:.0f}_s"] = float((p[near & y] <= 0.5).mean())
    return {name: round(float(value), 4) for name, value in found.items()}


def document(rows: Rows, *, names: Sequence[str], forest: Forest, came_about: dict[str, object]) -> str:
    """The model file of trees on these rows: one line for each tree, so that differences can be read."""
    log_odds = out_of_fold(rows, forest=forest)
    trees = fit(rows.values, rows.is_machine, rows.weight, forest=forest)
    at, to = calibrate(log_odds, rows.is_machine, rows.weight)
    heard = np.unique(rows.clip)
    head = {
        "came_about": came_about
        | {
            "clips": len(heard),
            "people": sum(rows.labels[clip].kind is Kind.PERSON for clip in heard),
            "moments": len(rows.clip),
            "trees": forest.trees,
            "chosen_from": forest.chosen_from,
            "depth": DEPTH,
            "learning_rate": LEARNING_RATE,
            "cross_validated_by_text_and_voice": errors(log_odds, rows, (at, to)),
        },
        "features": list(names),
        "bias": round(float(trees._baseline_prediction.item()), 5),
        "calibration": {"trees_log_odds": [round(one, 3) for one in at], "log_odds": [round(one, 3) for one in to]},
    }
    lines = ",\n".join(json.dumps(tree) for tree in complete(trees))
    return json.dumps(head, indent=1)[:-2] + ',\n "trees": [\n' + lines + "\n]}\n"


def main() -> None:
    """Train, calibrate, write the model, print what it is worth."""
    parser = argparse.ArgumentParser(description="Train speech.json and model.json on the corpus's training half.")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--date", type=dt.date.fromisoformat, default=dt.datetime.now(dt.UTC).date())
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--out-speech", type=Path, default=SPEECH)
    options = parser.parse_args()
    came_about: dict[str, object] = {
        "by": "tests/bench/detection/train.py",
        "date": options.date.isoformat(),
        "corpus": {"half": "train", "size": options.size, "seed": options.seed},
    }

    def learnt_from() -> Iterator[Clip]:
        clips = corpus.load_clips(half="train", size=options.size, seed=options.seed)
        return (clip for clip in clips if is_learnt_from(clip.label))

    speaking = [listen(clip) for clip in learnt_from() if clip.label.speech and clip.label.kind is not Kind.MACHINE]
    speech = speech_model(speaking, came_about=came_about)
    rows = hear(learnt_from(), speech=parse_speech(speech))
    text = document(rows, names=tuple(FEATURES), forest=TIMING, came_about=came_about)
    parse(text)
    options.out.write_text(text, encoding="utf-8")
    options.out_speech.write_text(speech, encoding="utf-8")
    print(json.dumps(json.loads(text)["came_about"], indent=1))


if __name__ == "__main__":
    main()
