"""Which of the last seconds were speech, judged with hindsight: against the loudest and the quietest of all that was heard.

While a call goes on, nobody can know whether what is heard is the callee or somebody behind him; once the callee has spoken,
it is plain which was which. So the classifier's features are measured on spans that are found anew at each moment. Babble and
music behind a voice then count as what they are: on 300 clips of the training half false speech falls from 0.9 to 0.2 s
of ten, and from 4.3 to 0.3 s in babble. Responsible for spans only; knows neither tones nor who speaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sip.voicemail.activity import HeardHop
from sip.voicemail.likeness import CONTEXT_HOPS, SEEN, Seen, SpeechModel, seen, stock_speech_model
from sip.voicemail.spectrum import Flags, Floats

KEPT_HOPS = 1_200
"""12 s: longer than any time limit that a verdict has by default."""
_WAITING_HOPS = 30
"""So many are written down at once, or fewer when somebody looks back: the calls that it takes cost more than the hops do."""
_SIZE = KEPT_HOPS + KEPT_HOPS // 2 + CONTEXT_HOPS
BRIDGED_HOPS = 20
"""Shorter pauses are closures and breaths inside words and sentences: 200 ms."""
_LEAST_SPEECH_HOPS = 6

_LOUDEST_HOPS = 25
_SMOOTHING = np.ones(3, np.float32) / 3
_AROUND = np.ones(2 * CONTEXT_HOPS - 1, np.float32) / (2 * CONTEXT_HOPS - 1)
_QUIET_SHARE = 0.2
"""The background is as loud as the quietest fifth of what was heard."""
_QUIET_FROM_HOPS = 100
"""Of less than a second nobody knows the background; the noise floor stands in for what is missing."""
_BETWEEN = 0.5
"""What lies below the middle between background and voice is background."""
_LEAST_CONTRAST_DB = 6.0
_LOWEST_DBM0 = -68.0
_SURE_LOG_ODDS = 0.5
"""Speech that was none costs more than a hop that was missed: pauses make the verdicts."""

_VOWEL_HOPS = 50
"""What sounds like a tone for no longer, and was not told to be one, is a vowel that was held, if speech is beside it:"""
_BESIDE_HOPS = 12
_SPEECH_BESIDE_HOPS = 5
"""so many hops of the twelve before it or after it. Round a tone there is quiet."""

Span = tuple[int, int]
"""Hops of the stream, the second not included."""


@dataclass(frozen=True, slots=True)
class View:
    """What the hops since a moment look like from another: arrays of one length."""

    first_hop: int
    log_odds: Floats
    """Of speech, by what was seen of each hop and those around it."""
    smooth_dbm0: Floats
    """The level over 30 ms,"""
    around_dbm0: Floats
    """and over 210."""
    background_dbm0: float
    forgotten: Flags
    tonal: Flags
    contrast_db: float
    unrest_db: float

    @property
    def a_db(self) -> float:
        """What a decibel is of the way from the background (0) to the voice (1)."""
        return 1 / max(self.contrast_db, _LEAST_CONTRAST_DB)


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
    """The last seconds of one stream, hop by hop.

    Speech is what is like it (`likeness.py`) and what stands where the voice does between background and voice, both alone
    and in the 200 ms around: four weights, of the log odds of likeness, of the two places (0 the background, 1 the voice),
    and an offset, tell the log odds of both together.
    """

    def __init__(self, *, model: SpeechModel | None = None) -> None:
        """`model`: the package's own by default."""
        self._model = model or stock_speech_model()
        self._hops = 0
        self._first = -CONTEXT_HOPS
        self._tonal_until = self._scored_until = 0
        self._seen: Seen = np.zeros((_SIZE, SEEN), np.float32)
        self._seen[:CONTEXT_HOPS, 0] = _LOWEST_DBM0
        self._levels: Floats = np.zeros(_SIZE, np.float32)
        self._log_odds: Floats = np.zeros(_SIZE, np.float32)
        self._smooth: Floats = np.zeros(_SIZE, np.float32)
        self._around: Floats = np.zeros(_SIZE, np.float32)
        self._forgotten: Flags = np.zeros(_SIZE, np.bool_)
        self._tonal: Flags = np.zeros(_SIZE, np.bool_)
        self._waiting: list[tuple[Sequence[HeardHop], Floats, Flags]] = []
        self._waiting_hops = 0

    def hear(self, heard: Sequence[HeardHop], powers: Floats, tonal: Flags) -> None:
        """Take the next hops, their `likeness.bands`, and marks for hops that may be others: see `mark_tonal`.

        They wait until there are many, or somebody looks back.
        """
        self._waiting.append((heard, powers, tonal))
        self._waiting_hops += len(heard)
        if self._waiting_hops >= _WAITING_HOPS:
            self._take_waiting()

    def _take_waiting(self) -> None:
        if not self._waiting:
            return
        if len(self._waiting) == 1:
            [(heard, powers, tonal)] = self._waiting
        else:
            heard = [one for some, _, _ in self._waiting for one in some]
            powers = np.concatenate([some for _, some, _ in self._waiting])
            tonal = np.concatenate([some for _, _, some in self._waiting])
        self._waiting, self._waiting_hops = [], 0
        self.take(seen(heard, powers))
        self.mark_tonal(tonal)

    def take(self, rows: Seen) -> None:
        """Take what was seen of the next hops, at most KEPT_HOPS / 2; see `likeness.seen`."""
        at, count = self._hops - self._first, len(rows)
        if at + count > self._tonal.size:
            keep_from = at - KEPT_HOPS - CONTEXT_HOPS
            for kept in (
                self._seen, self._levels, self._log_odds, self._smooth, self._around, self._forgotten, self._tonal,
            ):  # fmt: skip
                kept[: at - keep_from] = kept[keep_from:at]
            self._first += keep_from
            at -= keep_from
        self._seen[at : at + count] = rows
        self._forgotten[at : at + count] = False
        self._hops += count

    def mark_tonal(self, tonal: Flags) -> None:
        """Whether hops sound like a tone; from where the last marks ended."""
        at = self._tonal_until - self._first
        self._tonal[at : at + tonal.size] = tonal
        self._tonal_until += tonal.size

    def forget(self, *, from_hop: int, until_hop: int) -> None:
        """These hops were a tone, which is known now."""
        self._take_waiting()
        begin, end = max(0, from_hop - self._first), max(0, min(until_hop, self._hops) - self._first)
        self._forgotten[begin:end] = True

    def look_back(self, *, from_hop: int, until_hop: int, floor_dbm0: float) -> Past:
        """What was heard between two hops (at most the last 12 s of it, without the last 100 ms that were taken).

        `floor_dbm0`: of the noise at the end.
        """
        view = self.view(from_hop=from_hop, until_hop=until_hop, floor_dbm0=floor_dbm0)
        if view is None:
            return Past()
        of_likeness, of_place, of_places_around, offset = self._model.with_hindsight
        of_place, of_places_around = of_place * view.a_db, of_places_around * view.a_db
        spoken = of_likeness * view.log_odds
        spoken += of_place * view.smooth_dbm0
        spoken += of_places_around * view.around_dbm0
        like = spoken > _SURE_LOG_ODDS - offset + (of_place + of_places_around) * view.background_dbm0
        like = like > view.forgotten  # and not
        return Past(
            spans=_bridged(_with_vowels(like, view.tonal).nonzero()[0], first=view.first_hop),
            contrast_db=view.contrast_db,
            unrest_db=view.unrest_db,
        )

    def view(self, *, from_hop: int, until_hop: int, floor_dbm0: float) -> View | None:
        """What `look_back` judges by; None if nothing is like speech."""
        self._take_waiting()
        self._score(min(until_hop, self._hops - CONTEXT_HOPS))
        end = min(until_hop, self._scored_until) - self._first
        begin = max(from_hop - self._first, end - KEPT_HOPS, CONTEXT_HOPS)
        if end - begin < _LEAST_SPEECH_HOPS:
            return None
        forgotten, tonal, log_odds = self._forgotten[begin:end], self._tonal[begin:end], self._log_odds[begin:end]
        standing = (log_odds > 0) > (forgotten | tonal)  # and not
        count = int(np.count_nonzero(standing))
        if count < _LEAST_SPEECH_HOPS:
            return None
        levels, smooth = self._levels[begin:end], self._smooth[begin:end]
        loudest = min(_LOUDEST_HOPS, count)
        voices = smooth[standing]
        voices.partition(count - loudest)
        voice = float(np.add.reduce(voices[count - loudest :]) / loudest)
        missing = max(0, _QUIET_FROM_HOPS - levels.size)
        place = int(_QUIET_SHARE * (levels.size + missing))
        background = max(floor_dbm0 if place < missing else _lowest_but(place - missing, levels), _LOWEST_DBM0)
        middle = background + _BETWEEN * (voice - background)
        below = levels[levels < middle] - middle
        unrest = float(below @ below) / below.size - (float(np.add.reduce(below)) / below.size) ** 2 if below.size else 0.0
        return View(
            first_hop=begin + self._first,
            log_odds=log_odds,
            smooth_dbm0=smooth,
            around_dbm0=self._around[begin:end],
            background_dbm0=background,
            forgotten=forgotten,
            tonal=tonal,
            contrast_db=voice - background,
            unrest_db=math.sqrt(max(0.0, unrest)) if below.size >= _LEAST_SPEECH_HOPS else 0.0,
        )

    def _score(self, until_hop: int) -> None:
        """Have the likeness of all hops before this one that are kept: while nobody looks back, nothing is computed."""
        if until_hop <= self._scored_until:
            return
        begin = max(self._scored_until - self._first, CONTEXT_HOPS)
        end = until_hop - self._first
        with_context = self._seen[begin - CONTEXT_HOPS : end + CONTEXT_HOPS]
        self._log_odds[begin:end] = self._model.log_odds(with_context)
        levels = np.maximum(with_context[:, 0], _LOWEST_DBM0)
        self._levels[begin:end] = levels[CONTEXT_HOPS:-CONTEXT_HOPS]
        smooth = np.correlate(levels, _SMOOTHING, mode="valid")
        self._smooth[begin:end] = smooth[CONTEXT_HOPS - 1 : 1 - CONTEXT_HOPS]
        self._around[begin:end] = np.correlate(smooth, _AROUND, mode="valid")
        self._scored_until = until_hop


def _lowest_but(count: int, levels: Floats) -> float:
    """The level that `count` others do not exceed."""
    ordered = levels.copy()
    ordered.partition(count)
    return float(ordered[count])


def _with_vowels(stood_out: npt.NDArray[np.bool_], tonal: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What stood out, tones excepted."""
    if not np.count_nonzero(tonal):
        return stood_out
    spoken = stood_out > tonal  # and not
    edges = ((tonal[1:] != tonal[:-1]).nonzero()[0] + 1).tolist()
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
    ends = (spoken[1:] - spoken[:-1] > BRIDGED_HOPS).nonzero()[0].tolist()
    begins = [0, *[end + 1 for end in ends]]
    ends.append(spoken.size - 1)
    return [
        (first + int(spoken[begin]), first + int(spoken[end]) + 1)
        for begin, end in zip(begins, ends, strict=True)
        if end - begin + 1 >= _LEAST_SPEECH_HOPS
    ]
