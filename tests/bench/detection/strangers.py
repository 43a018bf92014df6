"""The training half as strangers hear it: what was asked about each clip, answered by models that knew neither voice nor text.

As near to a callee whom nobody has heard as the training half gets: what thresholds are chosen on. Chooses nothing.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sip.voicemail.likeness import SpeechModel
from sip.voicemail.likeness import parse as parse_speech
from tests.bench.detection import corpus, questions
from tests.bench.detection.labels import Clip
from tests.bench.detection.questions import Heard
from tests.bench.detection.replay import Answers
from tests.bench.detection.train import (
    TIMING,
    TIMING_AND_WORDS,
    VOICE_FOLDS,
    Floats,
    Forest,
    Rows,
    calibrate,
    is_learnt_from,
    out_of_fold,
    voice_folds,
)
from tests.bench.detection.train_speech import Listened, listen, speech_model

SHARES = 24
"""The half is heard in so many shares, whatever the number of processes."""


def answers_of_strangers(*, size: str, seed: int, processes: int, transcribed: bool) -> Answers:
    """What the judge was asked about every clip of the half, and what trees that know neither text nor voice answer."""
    heard = heard_by_strangers(size=size, seed=seed, processes=processes, transcribed=transcribed)
    timing = _for_strangers(questions.timing_rows(heard), forest=TIMING)
    words = _for_strangers(questions.words_rows(heard), forest=TIMING_AND_WORDS) if transcribed else np.zeros(0)
    return Answers.of(heard, timing=timing, words=words)


@dataclass(frozen=True, slots=True)
class Share:
    """One of `SHARES` of the training half."""

    size: str
    seed: int
    start: int
    transcribed: bool

    def clips(self) -> Iterator[Clip]:
        """Its clips."""
        loaded = corpus.load_clips(half="train", size=self.size, seed=self.seed, every=SHARES, start=self.start)
        return (clip for clip in loaded if is_learnt_from(clip.label))


def heard_by_strangers(*, size: str, seed: int, processes: int, transcribed: bool) -> list[Heard]:
    """What the judge was asked about every clip, heard by a speech model that did not hear its voice."""
    shares = [Share(size, seed, start, transcribed) for start in range(SHARES)]
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
    return [
        questions.hear(clip, seed=share.seed, transcribed=share.transcribed, speech=parsed[min(voice_folds(clip.label))])
        for clip in share.clips()
    ]


def _for_strangers(rows: Rows, *, forest: Forest) -> Floats:
    odds = out_of_fold(rows, forest=forest)
    return np.interp(odds, *calibrate(odds, rows.is_machine, rows.weight))
