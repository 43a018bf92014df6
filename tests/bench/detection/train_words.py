"""Trains the classifier of timing and words on the corpus's training half, and writes sip/voicemail/model_words.json.

    python -m tests.bench.detection.train_words

As train.py does for timing alone; the detector is fed the pieces of the simulated recogniser beside the sound, as trials.py
feeds them, and what it sees once words have come are the rows. Its log odds are calibrated on predictions by trees that had
seen neither the clip's texts (the first and the longest) nor its voices: words give away a text that was seen far sooner
than timing does. Same corpus, same file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

import sip.voicemail
from sip.voicemail.classifier import parse
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings, Kind
from sip.voicemail.features import FEATURES
from sip.voicemail.verdict import DECISION_S
from sip.voicemail.wording import WORD_FEATURES
from tests.bench.detection import corpus
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Label
from tests.bench.detection.plan import SIZES
from tests.bench.detection.recogniser import recognised
from tests.bench.detection.train import (
    DEPTH,
    LEARNING_RATE,
    SINCE_FIRST,
    TREES,
    Floats,
    Rows,
    Witness,
    calibrate,
    complete,
    errors,
    fit,
    is_learnt_from,
)
from tests.bench.detection.trials import BLOCK

TEXT_FOLDS = 4
VOICE_FOLDS = 3
NAMES = (*FEATURES, *WORD_FEATURES)
MODEL = Path(sip.voicemail.__file__).with_name("model_words.json")


def hear(clips: Iterable[Clip], *, seed: int) -> Rows:
    """Let the detector hear clips and their transcripts, each answered at its first sample: the rows once words have come."""
    values: list[Sequence[float]] = []
    of_clip: list[int] = []
    labels: list[Label] = []
    settings = DetectorSettings()
    for clip in clips:
        witness = Witness()
        detector = CallDetector(
            sample_rate_hz=SAMPLE_RATE_HZ, settings=settings, classifier=Witness(), words_classifier=witness
        )
        detector.answer()
        pieces = recognised(clip.label, seed=seed)
        end = min(clip.samples.size, round((settings.final_after_answer_s + 0.5) * SAMPLE_RATE_HZ))
        for begin in range(0, end, BLOCK):
            detector.feed(clip.samples[begin : begin + BLOCK])
            while pieces and pieces[0].at_s <= detector.now_s:
                piece = pieces.pop(0)
                detector.hear_words(piece.text, language=clip.label.language or None, final=piece.final)
        rows = [row for row in witness.rows if row[SINCE_FIRST] <= settings.final_after_speech_s + DECISION_S]
        values += rows
        of_clip += [len(labels)] * len(rows)
        labels.append(clip.label)
    return Rows(np.array(values, dtype=np.float64), np.array(of_clip, dtype=np.intp), tuple(labels))


def out_of_fold(rows: Rows) -> Floats:
    """Log odds of every row, by trees that have seen neither its clip's longest text (as a longest or first) nor its voices."""
    longest = np.array([_fold(max(label.prompt_ids, key=len, default=""), TEXT_FOLDS) for label in rows.labels])
    first = np.array([_fold("".join(label.prompt_ids[:1]), TEXT_FOLDS) for label in rows.labels])
    voices = [{_fold(voice, VOICE_FOLDS) for voice in label.voices} or {0} for label in rows.labels]
    log_odds = np.zeros(len(rows.clip))
    for text_fold, voice_fold in itertools.product(range(TEXT_FOLDS), range(VOICE_FOLDS)):
        held = (longest == text_fold) & np.array([min(folds) == voice_fold for folds in voices])
        seen = (longest != text_fold) & (first != text_fold) & np.array([voice_fold not in folds for folds in voices])
        held, seen = held[rows.clip], seen[rows.clip]
        trees = fit(rows.values[seen], rows.is_machine[seen], rows.weight[seen])
        log_odds[held] = trees.decision_function(rows.values[held])
    return log_odds


def _fold(name: str, folds: int) -> int:
    return zlib.crc32(name.encode()) // 7 % folds


def document(rows: Rows, trees: HistGradientBoostingClassifier, log_odds: Floats, *, came_about: dict[str, object]) -> str:
    """The model file, as train.py writes its own."""
    at, to = calibrate(log_odds, rows.is_machine, rows.weight)
    heard = np.unique(rows.clip)
    head = {
        "came_about": came_about
        | {
            "clips": len(heard),
            "people": sum(rows.labels[clip].kind is Kind.PERSON for clip in heard),
            "moments": len(rows.clip),
            "trees": TREES,
            "depth": DEPTH,
            "learning_rate": LEARNING_RATE,
            "cross_validated_by_text_and_voice": errors(log_odds, rows, (at, to)),
        },
        "features": list(NAMES),
        "bias": round(float(trees._baseline_prediction.item()), 5),
        "calibration": {"trees_log_odds": [round(one, 3) for one in at], "log_odds": [round(one, 3) for one in to]},
    }
    lines = ",\n".join(json.dumps(tree) for tree in complete(trees))
    return json.dumps(head, indent=1)[:-2] + ',\n "trees": [\n' + lines + "\n]}\n"


def main() -> None:
    """Train, calibrate, write the model, print what it is worth."""
    parser = argparse.ArgumentParser(description="Train sip/voicemail/model_words.json on the corpus's training half.")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--seed", type=int, default=corpus.SEED)
    parser.add_argument("--date", type=dt.date.fromisoformat, default=dt.datetime.now(dt.UTC).date())
    parser.add_argument("--out", type=Path, default=MODEL)
    options = parser.parse_args()
    clips = corpus.load_clips(half="train", size=options.size, seed=options.seed)
    rows = hear((clip for clip in clips if is_learnt_from(clip.label)), seed=options.seed)
    log_odds = out_of_fold(rows)
    came_about: dict[str, object] = {
        "by": "tests/bench/detection/train_words.py",
        "date": options.date.isoformat(),
        "corpus": {"half": "train", "size": options.size, "seed": options.seed},
    }
    text = document(rows, fit(rows.values, rows.is_machine, rows.weight), log_odds, came_about=came_about)
    parse(text, names=NAMES)
    options.out.write_text(text, encoding="utf-8")
    print(json.dumps(json.loads(text)["came_about"], indent=1))


if __name__ == "__main__":
    main()
