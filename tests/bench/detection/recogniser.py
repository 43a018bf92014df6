"""A simulated speech recogniser: the words of a clip, late and partly wrong, as interim and final pieces."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from tests.bench.detection.labels import Half, Label, Word
from tests.bench.detection.script import LANGUAGES, table

DELAY_S = 0.7
"""Words come so long after they were said."""
WORD_ERROR_RATE = 0.1
"""A third of the wrong words are missing, the others are other words of the same language."""
INTERIM_S = 0.4
"""An interim piece comes so often."""
PIECE_PAUSE_S = 0.3
"""A pause that ends a piece."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a transcript."""

    text: str
    final: bool
    at_s: float


def recognised(label: Label, *, seed: int) -> list[Piece]:
    """What a recogniser would send about a clip, in order of time."""
    rng = np.random.default_rng([seed, *label.clip_id.encode()])
    words = _misheard(label, rng)
    if not words:
        return []
    groups: list[list[Word]] = [[words[0]]]
    for before, word in itertools.pairwise(words):
        if word.began_s - before.ended_s >= PIECE_PAUSE_S:
            groups.append([])
        groups[-1].append(word)
    pieces = []
    for group in groups:
        ends_s = group[-1].ended_s
        for at_s in np.arange(group[0].ended_s, ends_s, INTERIM_S):
            said = [word.text for word in group if word.ended_s <= at_s]
            if said:
                pieces.append(Piece(text=" ".join(said), final=False, at_s=round(float(at_s) + DELAY_S, 3)))
        pieces.append(Piece(text=" ".join(word.text for word in group), final=True, at_s=round(ends_s + DELAY_S, 3)))
    return sorted(pieces, key=lambda piece: piece.at_s)


def _misheard(label: Label, rng: np.random.Generator) -> list[Word]:
    language = label.language if label.language in LANGUAGES else "en"
    lines = (line for lines in table(language)[Half(label.half).value].values() for line in lines)
    vocabulary = sorted({word for line in lines for word in line.split() if word.isalpha()})
    words = []
    for word in label.words:
        draw = float(rng.random())
        if draw < WORD_ERROR_RATE / 3:
            continue
        if draw < WORD_ERROR_RATE:
            word = Word(text=vocabulary[int(rng.integers(len(vocabulary)))], began_s=word.began_s, ended_s=word.ended_s)
        words.append(word)
    return words
