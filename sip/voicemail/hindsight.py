"""Which of the last seconds were speech, judged with hindsight: against the loudest and the quietest of all that was heard.

While a call goes on, nobody can know whether what is heard is the callee or somebody behind him; once the callee has spoken,
it is plain which was which. So the classifier's features are measured on spans that are found anew at each moment. Babble and
music behind a voice then count as what they are: on 300 clips of the training half false speech falls from 0.9 to 0.2 s
of ten, and from 4.3 to 0.3 s in babble. Responsible for spans only; knows neither tones nor who speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

KEPT_HOPS = 1_200
"""12 s: longer than any time limit that a verdict has by default."""
BRIDGED_HOPS = 20
"""Shorter pauses are closures and breaths inside words and sentences: 200 ms."""
_LEAST_SPEECH_HOPS = 6
_FORGOTTEN_HOPS = 14
"""What stood out in the 140 ms before noise was recognised was that noise."""

_LOUDEST_HOPS = 25
_LOUD_SMOOTHING = np.ones(3) / 3
_QUIET_SHARE = 0.2
"""The background is as loud as the quietest fifth of what was heard."""
_QUIET_FROM_HOPS = 100
"""Of less than a second nobody knows the background; the noise floor stands in for what is missing."""
_BETWEEN = 0.5
"""Speech is what lies above the middle between background and voice,"""
_AT_MOST_BELOW_DB = 30.0
_AT_LEAST_BELOW_DB = 8.0
"""but within these of the voice."""
_SPREAD_HOPS = 2
"""A hop beside a loud one is as loud: 20 ms to either side."""
_LOWEST_DBM0 = -68.0

_VOWEL_HOPS = 50
"""What sounds like a tone for no longer, and was not told to be one, is a vowel that was held, if speech is beside it:"""
_BESIDE_HOPS = 12
_SPEECH_BESIDE_HOPS = 5
"""so many hops of the twelve before it or after it. Round a tone there is quiet."""

Span = tuple[int, int]
"""Hops of the stream, the second not included."""


@dataclass(frozen=True, slots=True)
class Past:
    """What was heard, as it looks from a moment."""

    spans: Sequence[Span] = ()
    """Speech; pauses of less than 200 ms are in it."""
    contrast_db: float = 0.0
    """By how much the voice is louder than the background: short pauses and soft words are sure only where it is large."""
    unrest_db: float = 0.0
    """Standard deviation of the levels below the middle between them: noise has 1 to 3, babble and music 5 and more."""


class Hindsight:
    """The last seconds of one stream, hop by hop."""

    def __init__(self) -> None:
        self._hops = 0
        self._first = 0
        self._tonal_until = 0
        self._levels: npt.NDArray[np.float32] = np.zeros(2 * KEPT_HOPS, np.float32)
        self._stood_out: npt.NDArray[np.bool_] = np.zeros(2 * KEPT_HOPS, np.bool_)
        self._tonal: npt.NDArray[np.bool_] = np.zeros(2 * KEPT_HOPS, np.bool_)
        self._noise: list[int] = []

    def take(self, *, levels_dbm0: Sequence[float], stood_out: Sequence[bool], noise: Iterable[int]) -> None:
        """Take the next hops, at most KEPT_HOPS / 2: their levels, which stand out of the noise, and which tell of noise.

        `noise`: hops of the stream.
        """
        at, count = self._hops - self._first, len(levels_dbm0)
        if at + count > self._levels.size:
            for kept in (self._levels, self._stood_out, self._tonal):
                kept[: at - KEPT_HOPS // 2] = kept[KEPT_HOPS // 2 : at]
            self._first += KEPT_HOPS // 2
            at -= KEPT_HOPS // 2
            self._noise = [hop for hop in self._noise if hop >= self._first]
        self._levels[at : at + count] = levels_dbm0
        self._stood_out[at : at + count] = stood_out
        self._noise += noise
        self._hops += count

    def mark_tonal(self, tonal: npt.NDArray[np.bool_]) -> None:
        """Whether hops sound like a tone; from where the last marks ended."""
        at = self._tonal_until - self._first
        self._tonal[at : at + tonal.size] = tonal
        self._tonal_until += tonal.size

    def forget(self, *, from_hop: int, until_hop: int) -> None:
        """These hops were a tone, which is known now."""
        begin, end = max(0, from_hop - self._first), max(0, min(until_hop, self._hops) - self._first)
        self._stood_out[begin:end] = False

    def look_back(self, *, from_hop: int, until_hop: int, floor_dbm0: float) -> Past:
        """What was heard between two hops (at most the last 12 s of it).

        `floor_dbm0`: of the noise at the end.
        """
        end = until_hop - self._first
        begin = max(from_hop - self._first, end - KEPT_HOPS, 0)
        stood_out = _with_vowels(self._stood_out[begin:end], self._tonal[begin:end])
        for hop in self._noise:
            at = hop - self._first - begin
            if 0 <= at < end - begin:
                stood_out[max(0, at - _FORGOTTEN_HOPS) : at] = False
        standing = int(np.count_nonzero(stood_out))
        if standing < _LEAST_SPEECH_HOPS:
            return Past()
        levels = self._levels[begin:end]
        smooth = np.convolve(levels, _LOUD_SMOOTHING, mode="same")[stood_out]
        loudest = min(_LOUDEST_HOPS, standing)
        voice = float(np.partition(smooth, standing - loudest)[standing - loudest :].mean())
        missing = max(0, _QUIET_FROM_HOPS - levels.size)
        place = int(_QUIET_SHARE * (levels.size + missing))
        background = floor_dbm0 if place < missing else float(np.partition(levels, place - missing)[place - missing])
        background = max(background, _LOWEST_DBM0)
        middle = background + _BETWEEN * (voice - background)
        threshold = max(voice - _AT_MOST_BELOW_DB, min(voice - _AT_LEAST_BELOW_DB, middle))
        loud = np.convolve(levels > threshold, np.ones(2 * _SPREAD_HOPS + 1), mode="same") > 0
        low = levels[levels < middle]
        return Past(
            spans=_bridged(np.flatnonzero(stood_out & loud), first=begin + self._first),
            contrast_db=voice - background,
            unrest_db=float(low.std()) if low.size >= _LEAST_SPEECH_HOPS else 0.0,
        )


def _with_vowels(stood_out: npt.NDArray[np.bool_], tonal: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What stood out, tones excepted."""
    spoken = stood_out & ~tonal
    if not tonal.any():
        return spoken
    edges = (np.flatnonzero(tonal[1:] != tonal[:-1]) + 1).tolist()
    if tonal[0]:
        edges.insert(0, 0)
    if tonal[-1]:
        edges.append(tonal.size)
    is_spoken = spoken.tolist()
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        beside = max(sum(is_spoken[max(0, begin - _BESIDE_HOPS) : begin]), sum(is_spoken[end : end + _BESIDE_HOPS]))
        if beside >= _SPEECH_BESIDE_HOPS and end - begin <= _VOWEL_HOPS:
            spoken[begin:end] = stood_out[begin:end]
    return spoken


def _bridged(spoken: npt.NDArray[np.intp], *, first: int) -> list[Span]:
    """Spans of hops that are speech, those of less than 60 ms of it left out."""
    if not spoken.size:
        return []
    gaps = np.flatnonzero(np.diff(spoken) > BRIDGED_HOPS)
    begins = [0, *(gaps + 1).tolist()]
    ends = [*gaps.tolist(), spoken.size - 1]
    return [
        (first + int(spoken[begin]), first + int(spoken[end]) + 1)
        for begin, end in zip(begins, ends, strict=True)
        if end - begin + 1 >= _LEAST_SPEECH_HOPS
    ]
