"""Bursts: stretches in which one or two steady or sweeping frequencies hold nearly all of the power.

Responsible for finding where a tone may be, from when to when. Does not judge: a long vowel is a burst, too.

In quiet and in noise nothing but a few operations over whole blocks is done; hops are looked at one by one only where a
tone may be.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from sip.voicemail.framing import HOP_S, HOP_SAMPLES, Hops, Samples
from sip.voicemail.lines import HIGHEST_HZ, LOWEST_HZ
from sip.voicemail.measuring import BEFORE_HOPS, Burst, Track, measured, median
from sip.voicemail.spectrum import BIN_HZ, BINS, Spectra

CLOSING_HOPS = 6
"""So many hops without its tone end a burst: two lost packets of 20 ms are bridged, and a beep is told 80 ms after its end."""

LOOKS_S = (0.6, 1.05, 2.1, 2.6)
"""A burst that goes on is looked at when it is so old."""

STEADY_HOPS = 7
"""So many tonal hops, at one frequency, are taken for a tone before it is over."""

LAG_HOPS = 10
"""Whether a hop is part of a tone is known so many hops later."""

_LOW_BIN, _HIGH_BIN = round(LOWEST_HZ / BIN_HZ), round(HIGHEST_HZ / BIN_HZ) + 1
_TOTAL = slice(6, 117)  # 187 to 3,625 Hz
_LOBE = np.arange(-3, 4)  # a Hann window's main lobe, and a sweep's smear
_WORTH_A_LOOK = 0.38
_SHARE_OF_ONE, _SHARE_OF_TWO = 0.55, 0.68
_FADED, _FADING = 0.16, 0.97  # 8 dB below its level is not the tone any more; it may fade by 13 dB a second
_FEWEST_HOPS = 4
_WORTH_MEASURING, _LONG_HOPS, _LONG_WORTH_MEASURING = 0.78, 20, 0.68
_HEARD = 0.125  # 9 dB below
_LOUDEST_HOPS = 30
_NOISE_SHARE, _ABOVE_NOISE = 0.15, 3  # what the softest of what was heard is softer than; 6 to 9 dB over it
_STEADY_SHARE, _STEADY_HZ = 0.85, 25.0
_BEATING_SHARE, _BEATING_HZ = 0.93, 70.0  # two lines less than 60 Hz apart look like one that sways
_LOOK_HOPS = frozenset(round(look / HOP_S) for look in LOOKS_S)
_MOST_HOPS = max(_LOOK_HOPS) + 4
_HELD_HOPS = 60
_CHUNK_HOPS = 50

_Sight = tuple[float, float, float, float, float]


class BurstFinder:
    """Finds the bursts of one stream. Memory: 18 KB of samples, and 2.6 s of figures of a burst that goes on."""

    def __init__(self) -> None:
        self._hop = 0
        self._held: Samples = np.zeros(0, np.int16)
        self._recent = [0.0] * BEFORE_HOPS
        self._track: Track | None = None
        self._loudness = [0] * 40
        """How many hops outside bursts had a mean square of 2 to the n."""
        self.steady: list[list[int]] = []
        """First and last hops of what was taken for a tone before it was over; grows, and is shortened by its reader."""

    def feed(self, hops: Hops, spectra: Spectra) -> list[Burst]:
        """The bursts that ended within these hops, and looks at the one that goes on, in order of `told_hop`."""
        found: list[Burst] = []
        for begin in range(0, hops.shape[0], _CHUNK_HOPS):
            part = slice(begin, begin + _CHUNK_HOPS)
            self._hold(hops[part])
            squares = spectra.mean_square[part].tolist()
            sights = _sights(spectra.power[part]) if np.count_nonzero(spectra.loud[part]) else {}
            if sights or self._track is not None:
                self._walk(squares, sights, found)
            else:
                self._count(squares)
                self._recent = (self._recent + squares)[-BEFORE_HOPS:]
            self._hop += len(squares)
        return found

    def _hold(self, hops: Hops) -> None:
        kept = self._held[max(0, self._held.size - _HELD_HOPS * HOP_SAMPLES) :]
        self._held = np.concatenate((kept, hops.reshape(-1)))

    def _count(self, squares: list[float]) -> None:
        for square in squares:
            self._loudness[int(square).bit_length()] += 1

    def _walk(self, squares: list[float], sights: dict[int, _Sight], found: list[Burst]) -> None:
        chunk_end = self._hop + len(squares)
        for i, square in enumerate(squares):
            hop, track, sight = self._hop + i, self._track, sights.get(i)
            if sight is not None and (track is None or track.begins_anew(sight[-1])):
                track = self._track = Track(before=self._recent[-BEFORE_HOPS:], level=sight[-1])
                track.mean_squares.append(square)
                track.last_hop = hop
                track.add(hop, *sight)
            elif track is not None:
                if len(track.mean_squares) < _MOST_HOPS:
                    track.mean_squares.append(square)
                if sight is not None and sight[-1] > track.level * _FADED:
                    track.last_hop = hop
                    track.level = max(sight[-1], track.level * _FADING)
                    if len(track.hops) < _MOST_HOPS:
                        track.add(hop, *sight)
                    self._settle(track, hop)
                over = hop - track.last_hop >= CLOSING_HOPS
                if over or hop + 1 - track.hops[0] in _LOOK_HOPS:
                    self._close_or_look(track, hop, chunk_end, found, over=over)
            else:
                self._loudness[int(square).bit_length()] += 1
            self._recent.append(square)
        self._recent = self._recent[-BEFORE_HOPS:]

    def _settle(self, track: Track, hop: int) -> None:
        """Takes a burst for a tone, long before it is over, when it is clean and does not move."""
        if track.steady:
            self.steady[-1][1] = hop + 1
            return
        if len(track.hops) < STEADY_HOPS:
            return
        latest, share = track.hz[-STEADY_HOPS + 1 :], median(track.shares[-STEADY_HOPS:])
        width = max(latest) - min(latest)
        if (share >= _STEADY_SHARE and width <= _STEADY_HZ) or (share >= _BEATING_SHARE and width <= _BEATING_HZ):
            track.steady = True
            self.steady.append([max(track.hops[0] - 2, hop - LAG_HOPS), hop + 1])

    def _close_or_look(self, track: Track, hop: int, chunk_end: int, found: list[Burst], *, over: bool) -> None:
        least = _LONG_WORTH_MEASURING if len(track.hops) >= _LONG_HOPS else _WORTH_MEASURING
        if len(track.hops) >= _FEWEST_HOPS and median(track.shares) >= least:
            # Neither more nor less than what is held however the stream is cut.
            to = self._held.size - (chunk_end - hop - 1) * HOP_SAMPLES
            held = self._held[max(0, to - _HELD_HOPS * HOP_SAMPLES) : to]
            track.heard_before_s = self._heard_s(median(track.powers) * _HEARD)
            track.loudest_before = self._loudest()
            found.append(measured(track, held=held, told_hop=hop + 1, over=over))
        if over:
            self._track = None
            if not track.steady:
                self._count(track.mean_squares)

    def _heard_s(self, mean_square: float) -> float:
        """How much was heard that is at least so loud and is not the noise that is always there."""
        loudness = self._loudness
        quiet, floor = _NOISE_SHARE * sum(loudness), 0
        while floor < len(loudness) - 1 and sum(loudness[: floor + 1]) < quiet:
            floor += 1
        return sum(loudness[max(1, math.ceil(math.log2(mean_square + 1)), floor + _ABOVE_NOISE) :]) * HOP_S

    def _loudest(self) -> float:
        """The mean square that so much of what was heard reached, to 3 dB; 0 when there was less."""
        hops = 0
        for place in range(len(self._loudness) - 1, 0, -1):
            hops += self._loudness[place]
            if hops >= _LOUDEST_HOPS:
                return float(2 ** (place - 1))
        return 0.0


def _sights(power: npt.NDArray[np.float32]) -> dict[int, _Sight]:
    """What the tonal ones of n rows show, by row: Hz, share, Hz and share of the second peak, and power."""
    total = np.add.reduce(power[:, _TOTAL], axis=1)
    peaks = power[:, _LOW_BIN:_HIGH_BIN].argmax(axis=1)
    # Places in the flat array: taking is several times quicker than indexing by rows and columns.
    near = power.take(peaks[:, None] + _lobes(len(power)), mode="clip")
    lobes = np.add.reduce(near, axis=1)
    rows = (lobes > _WORTH_A_LOOK * total).nonzero()[0]
    if not rows.size:
        return {}
    if rows.size < len(power):
        peaks, near, lobes, total = peaks[rows], near[rows], lobes[rows], total[rows]
    rest = power[rows]
    first = _lobes(len(rest))
    rest.put(peaks[:, None] + first, 0, mode="clip")
    seconds = rest[:, _LOW_BIN:_HIGH_BIN].argmax(axis=1)
    second_near = rest.take(seconds[:, None] + first, mode="clip")
    second_lobes = np.add.reduce(second_near, axis=1)
    tonal = ((lobes >= _SHARE_OF_ONE * total) | (lobes + second_lobes >= _SHARE_OF_TWO * total)).nonzero()[0]
    if not tonal.size:
        return {}
    found = {}
    columns = (rows, peaks, near, lobes, total, seconds, second_near, second_lobes)
    for row, peak, bins, lobe, whole, second, second_bins, second_lobe in zip(
        *[column[tonal].tolist() for column in columns], strict=True
    ):
        share, second_share = lobe / whole, second_lobe / whole
        second_hz = _between(second + _LOW_BIN, *second_bins[2:5]) if second_share >= 0.1 * share else 0.0
        found[row] = (_between(peak + _LOW_BIN, *bins[2:5]), share, second_hz, second_share, lobe)
    return found


@functools.lru_cache(maxsize=_CHUNK_HOPS)
def _lobes(count: int) -> npt.NDArray[np.intp]:
    """(n, 7): where in the flat array of n rows the lobe of the lowest peak is that is looked for."""
    places = np.arange(_LOW_BIN, _LOW_BIN + count * BINS, BINS)[:, None] + _LOBE
    places.flags.writeable = False
    return places


def _between(peak: int, left: float, middle: float, right: float) -> float:
    """The frequency of a peak by a parabola through the logarithms of three bins."""
    below, above = math.log(middle / max(left, 1e-9)), math.log(middle / max(right, 1e-9))
    bend = below + above
    return (peak + (max(-0.5, min(0.5, (below - above) / (2 * bend))) if bend > 0 else 0.0)) * BIN_HZ
