"""One Fourier transform for several detectors: the power spectrum of the last 32 ms, each 10 ms.

Responsible for turning hops into spectra and their energies. Knows nothing of what they may mean.

Every row depends on its own samples only and is computed alike in any batch: the spectra are the same, bit for bit,
however the stream was cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sip.voicemail.framing import HOP_RATE_HZ, HOP_SAMPLES, Hops

WINDOW_SAMPLES = 256
BINS = WINDOW_SAMPLES // 2 + 1
BIN_HZ = HOP_RATE_HZ / WINDOW_SAMPLES
"""31.25 Hz."""

FULL_SCALE_MEAN_SQUARE = 32_768.0**2 / 2
"""Of a sine at full scale, which is +3.17 dBm0 (ITU-T G.711, mu-law)."""
FULL_SCALE_DBM0 = 3.17
_LEAST_MEAN_SQUARE = FULL_SCALE_MEAN_SQUARE * 10 ** ((-100.0 - FULL_SCALE_DBM0) / 10)

QUIET_MEAN_SQUARE = 30.0**2
"""A window whose every hop lies below it (-55 dBm0) is not transformed: its row of power is zero."""

_BACK_HOPS = 3
"""The window of a hop begins in the third hop before it."""

_ONES = np.ones(HOP_SAMPLES)

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


def level_dbm0(mean_square: float) -> float:
    """The level of a signal with this mean square of its int16 samples; at least -100."""
    if mean_square <= _LEAST_MEAN_SQUARE:
        return -100.0
    return 10 * math.log10(mean_square / FULL_SCALE_MEAN_SQUARE) + FULL_SCALE_DBM0


def mean_square_at(level: float) -> float:
    """The mean square of int16 samples of a signal of this level in dBm0."""
    return float(FULL_SCALE_MEAN_SQUARE * 10 ** ((level - FULL_SCALE_DBM0) / 10))


@dataclass(frozen=True, slots=True)
class Spectra:
    """What is known of each of n hops."""

    power: Floats
    """(n, 129): one-sided power of the 256 samples that end with the hop, in squares of int16; a row sums to the window's
    mean square. Zero where not `loud`."""
    mean_square: npt.NDArray[np.float64]
    """(n,): of the hop's 80 samples alone, their mean taken off, so that a constant offset is silence."""
    loud: Flags
    """(n,): whether anything above -55 dBm0 is in the window."""

    def band(self, low_hz: float, high_hz: float) -> Floats:
        """(n,): mean square between two frequencies."""
        power: Floats = self.power[:, round(low_hz / BIN_HZ) : round(high_hz / BIN_HZ) + 1].sum(axis=1)
        return power


class SpectrumAnalyser:
    """Computes the spectra of one stream's hops; carries 176 samples and three energies from call to call."""

    def __init__(self) -> None:
        window = np.hanning(WINDOW_SAMPLES + 1)[:-1]
        self._window = (window * math.sqrt(2 / (WINDOW_SAMPLES * (window**2).sum()))).astype(np.float32)
        self._tail = np.zeros(WINDOW_SAMPLES - HOP_SAMPLES, np.float32)
        self._quiet_hops = _BACK_HOPS  # since the last one that was not

    def analyse(self, hops: Hops) -> Spectra:
        """The spectra of all `hops`, (n, 80) int16, in one batch; n may be 0."""
        count = hops.shape[0]
        exact = hops.astype(np.float64)
        sums = exact @ _ONES  # whole numbers: exact in any order
        sums *= sums
        sums /= HOP_SAMPLES
        mean_square = np.vecdot(exact, exact)
        mean_square -= sums
        mean_square /= HOP_SAMPLES
        heard, quiet_hops = [], self._quiet_hops
        for square in mean_square.tolist():
            quiet_hops = 0 if square >= QUIET_MEAN_SQUARE else quiet_hops + 1
            heard.append(quiet_hops <= _BACK_HOPS)
        self._quiet_hops = quiet_hops
        loud = np.array(heard, np.bool_)
        samples = np.concatenate((self._tail, exact.reshape(-1)), dtype=np.float32)
        self._tail = samples[count * HOP_SAMPLES :].copy()
        some = sum(heard)
        if not some:
            return Spectra(power=np.zeros((count, BINS), np.float32), mean_square=mean_square, loud=loud)
        frames = np.ndarray((count, WINDOW_SAMPLES), np.float32, samples.data, 0, (HOP_SAMPLES * 4, 4))
        if some == count:
            return Spectra(power=self._power(frames), mean_square=mean_square, loud=loud)
        power = np.zeros((count, BINS), np.float32)
        power[loud] = self._power(frames[loud])
        return Spectra(power=power, mean_square=mean_square, loud=loud)

    def _power(self, frames: Floats) -> Floats:
        parts = np.fft.rfft(frames * self._window).view(np.float32)
        parts *= parts
        power: Floats = parts[:, ::2] + parts[:, 1::2]
        return power
