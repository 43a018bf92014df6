"""What people and machines say, by half, language and purpose; names and numbers are filled in from the same half."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.bench.detection.labels import Half

LANGUAGES = {"en": 0.46, "es": 0.11, "fr": 0.1, "de": 0.1, "it": 0.08, "pt": 0.08, "hi": 0.07}
"""The languages' shares."""
BREATH = "|"


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say: its pattern, and its breaths with names filled in."""

    pattern: str
    breaths: tuple[str, ...]


@functools.cache
def table(language: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """The texts of a language: half, purpose, patterns."""
    raw = tomllib.loads((Path(__file__).parent / "texts" / f"{language}.toml").read_text(encoding="utf-8"))
    return {half: {purpose: tuple(patterns) for purpose, patterns in purposes.items()} for half, purposes in raw.items()}


def bare(text: str) -> str:
    """A text as it sounds: lower case, letters, digits and marks only."""
    return " ".join(re.sub(r"[^\w\u0900-\u097f ]", " ", text.lower()).split())


class Script:
    """What one clip's voices say: the same names throughout."""

    def __init__(self, *, half: Half, language: str, rng: np.random.Generator) -> None:
        self._purposes = table(language)[half.value]
        self._rng = rng
        digits = [str(digit) for digit in rng.integers(0, 10, size=int(rng.integers(7, 11)))]
        self._names = {name: self._one(name) for name in ("first", "last", "company")} | {
            "number": " ".join([*digits[:3], "", *digits[3:]]).replace("  ", ", ")
        }

    def _one(self, purpose: str) -> str:
        patterns = self._purposes[purpose]
        return patterns[int(self._rng.integers(len(patterns)))]

    def line(self, purpose: str) -> Line:
        """Something to say for a purpose."""
        pattern = self._one(purpose)
        filled = pattern.format(**self._names)
        return Line(pattern=pattern, breaths=tuple(breath.strip() for breath in filled.split(BREATH)))
