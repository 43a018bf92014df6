"""The lines of a tone: a fine spectrum of up to 0.4 s of it, and what of its power lies where.

Responsible for one transform of some samples. Knows nothing of hops, bursts or what a line may mean.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sip.voicemail.framing import HOP_RATE_HZ, Samples

LOWEST_HZ, HIGHEST_HZ = 350.0, 2_600.0
"""Where lines are looked for."""
MOST_SAMPLES = 3_200

_POINTS = 4_096
_BIN_HZ = HOP_RATE_HZ / _POINTS
_LOW, _HIGH = round(200 / _BIN_HZ), round(3_600 / _BIN_HZ)
_FIRST, _LAST = round(LOWEST_HZ / _BIN_HZ), round(HIGHEST_HZ / _BIN_HZ)
_SPLIT_PERIODS, _SPLIT_MOST_HZ = 4.5, 24.0  # over the length of it: so far does a phase that jumps spread a line
_UNDERTONES = (0.5, 1.5, 1 / 3, 2 / 3, 4 / 3, 0.75, 1.25)

_Power = npt.NDArray[np.float32]


class Line(NamedTuple):
    """One frequency of a fine spectrum."""

    hz: float
    share: float
    """Of the power between 200 and 3,600 Hz."""


class Lines(NamedTuple):
    """What a fine spectrum shows."""

    strongest: tuple[Line, ...]
    """Three, strongest first; or none."""
    width_hz: float
    """Lines closer together than this may be one that a repeated or lost packet has split."""
    first_share: float
    """Of the power, within `width_hz` of the strongest line."""
    undertone: float
    """Power at simple fractions of the strongest line's frequency, where a voice has more harmonics, over its own; the
    second line left out."""


NO_LINES = Lines((), 0.0, 0.0, 0.0)


def lines_of(samples: Samples) -> Lines:
    """The lines of at most MOST_SAMPLES int16 samples of a tone, at least 30 ms of them."""
    count = samples.size
    spectrum = np.fft.rfft((samples - np.float32(samples.mean())) * _window(count), _POINTS)[: _HIGH + 1]
    power: _Power = np.square(spectrum.real) + np.square(spectrum.imag)
    total = float(np.add.reduce(power[_LOW:_HIGH])) + 1e-9
    half = math.ceil(2 * HOP_RATE_HZ / count / _BIN_HZ)  # a Hann window's main lobe
    rest = power.copy()
    strongest = []
    for _ in range(3):
        peak = int(rest[_FIRST:_LAST].argmax()) + _FIRST
        left, middle, right = (math.log(value + 1e-9) for value in rest[peak - 1 : peak + 2].tolist())
        bend = left - 2 * middle + right
        off = max(-0.5, min(0.5, (left - right) / (2 * bend))) if bend < 0 else 0.0
        lobe = rest[peak - half : peak + half + 1]
        strongest.append(Line(hz=(peak + off) * _BIN_HZ, share=float(np.add.reduce(lobe)) / total))
        lobe.fill(0)
    width_hz = min(_SPLIT_MOST_HZ, _SPLIT_PERIODS * HOP_RATE_HZ / count)
    first, near = round(strongest[0].hz / _BIN_HZ), max(half, round(width_hz / _BIN_HZ))
    first_share = float(np.add.reduce(power[first - near : first + near + 1])) / total
    return Lines(tuple(strongest), width_hz, first_share, _undertone(power, strongest, half))


def _undertone(power: _Power, lines: list[Line], half: int) -> float:
    peak = round(lines[0].hz / _BIN_HZ)
    main = float(np.add.reduce(power[peak - half : peak + half + 1])) + 1e-9
    for line in lines[:2]:
        at = round(line.hz / _BIN_HZ)
        power[max(0, at - 2 * half) : at + 2 * half + 1] = 0
    most = 0.0
    for ratio in _UNDERTONES:
        at = round(peak * ratio)
        if _LOW <= at < _HIGH:
            most = max(most, float(np.add.reduce(power[max(0, at - half) : at + half + 1])))
    return most / main


@functools.lru_cache(maxsize=64)
def _window(count: int) -> _Power:
    window = np.hanning(count).astype(np.float32)
    window.flags.writeable = False
    return window
