"""Trains the classifier of timing and words on the corpus's training half, and writes sip/voicemail/model_words.json.

    python -m tests.bench.detection.train_words

As train.py does for timing alone; the detector is fed the pieces of the simulated recogniser beside the sound, as trials.py
feeds them, and what it sees once words have come are the rows. Same corpus, same file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

import sip.voicemail
from sip.voicemail.classifier import parse
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings
from sip.voicemail.features import FEATURES
from sip.voicemail.verdict import DECISION_S
from sip.voicemail.wording import WORD_FEATURES
from tests.bench.detection import corpus
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Label
from tests.bench.detection.plan import SIZES
from tests.bench.detection.recogniser import recognised
from tests.bench.detection.train import SINCE_FIRST, TIMING_AND_WORDS, Rows, Witness, document, is_learnt_from
from tests.bench.detection.trials import fed

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
        end = min(clip.samples.size, round((settings.final_after_answer_s + 0.5) * SAMPLE_RATE_HZ))
        for _ in fed(detector, clip, pieces=recognised(clip.label, seed=seed)):
            if round(detector.now_s * SAMPLE_RATE_HZ) >= end:
                break
        rows = [row for row in witness.rows if row[SINCE_FIRST] <= settings.final_after_speech_s + DECISION_S]
        values += rows
        of_clip += [len(labels)] * len(rows)
        labels.append(clip.label)
    return Rows(np.array(values, dtype=np.float64), np.array(of_clip, dtype=np.intp), tuple(labels))


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
    came_about: dict[str, object] = {
        "by": "tests/bench/detection/train_words.py",
        "date": options.date.isoformat(),
        "corpus": {"half": "train", "size": options.size, "seed": options.seed},
    }
    text = document(rows, names=NAMES, forest=TIMING_AND_WORDS, came_about=came_about)
    parse(text, names=NAMES)
    options.out.write_text(text, encoding="utf-8")
    print(json.dumps(json.loads(text)["came_about"], indent=1))


if __name__ == "__main__":
    main()
