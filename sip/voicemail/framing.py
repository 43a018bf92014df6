"""Hops: what every detector eats. Any mono stream of 8 to 48 kHz, cut anyhow, becomes hops of 10 ms at 8 kHz.

Responsible for resampling and cutting. Knows nothing of levels, spectra or what a sound may mean.

Samples and coefficients are whole numbers and their products are summed in float64, where they are exact: the hops are the
same, bit for bit, however the stream was cut.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

HOP_RATE_HZ = 8_000
HOP_SAMPLES = 80
HOP_S = HOP_SAMPLES / HOP_RATE_HZ
LOWEST_RATE_HZ = 8_000
HIGHEST_RATE_HZ = 48_000

FILTER_DELAY_S = 0.0015
"""By so much a resampled stream lags behind what was fed (half the filter's length); nothing at 8 kHz."""

_CUTOFF_HZ = 3_950.0
_KAISER_BETA = 5.0
_UNITY = 1 << 15
_MOST_PHASES = 512

Samples = npt.NDArray[np.int16]
Hops = npt.NDArray[np.int16]
_Exact = npt.NDArray[np.float64]


class Framer:
    """Turns one stream of samples into hops.

    Its memory is bounded: less than one hop and one filter's length between calls.
    """

    def __init__(self, *, sample_rate_hz: int) -> None:
        if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
            raise ValueError(f"sample rate {sample_rate_hz} Hz: must be {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz")
        self._resampler = None if sample_rate_hz == HOP_RATE_HZ else _Resampler(sample_rate_hz)
        self._rest: Samples = np.zeros(0, np.int16)

    def feed(self, samples: Samples) -> Hops:
        """All hops that `samples` (mono, one dimension, int16, any length) complete: shape (n, 80), int16.

        Raises ValueError for anything but one dimension of int16.
        """
        if samples.ndim != 1 or samples.dtype != np.int16:
            raise ValueError(f"samples must be one dimension of int16, not {samples.ndim} of {samples.dtype}")
        if self._resampler is not None:
            samples = self._resampler.feed(samples)
        if self._rest.size:
            samples = np.concatenate((self._rest, samples))
        count = samples.size // HOP_SAMPLES
        used = count * HOP_SAMPLES
        self._rest = samples[used:].copy()
        return samples[:used].reshape(count, HOP_SAMPLES)


class _Resampler:
    """Output sample n is the low-passed input at n * step / phases input samples, a filter's half length later."""

    def __init__(self, sample_rate_hz: int) -> None:
        common = math.gcd(sample_rate_hz, HOP_RATE_HZ)
        self._phases = HOP_RATE_HZ // common
        self._step = sample_rate_hz // common
        self._coefficients = _filter(sample_rate_hz, min(self._phases, _MOST_PHASES))
        taps = self._coefficients.shape[1]
        self._held: Samples = np.zeros(taps - 1, np.int16)  # input from sample `_held_from` on
        self._held_from = 1 - taps
        self._made = 0

    def feed(self, samples: Samples) -> Samples:
        held = np.concatenate((self._held, samples))
        taps = self._coefficients.shape[1]
        last = self._held_from + held.size - 1
        # Output n needs input up to n * step // phases.
        end = ((last + 1) * self._phases - 1) // self._step + 1 if last >= 0 else 0
        if end <= self._made:
            self._held = held
            return np.zeros(0, np.int16)
        begin = self._made * self._step // self._phases - taps + 1  # input that the first output needs
        window = held[begin - self._held_from :].astype(np.float64)
        made = self._decimated(window, end - self._made) if self._phases == 1 else self._interpolated(window, begin, end)
        self._made = end
        keep_from = end * self._step // self._phases - taps + 1
        self._held = held[keep_from - self._held_from :].copy()
        self._held_from += held.size - self._held.size
        return np.clip(np.rint(made * (1.0 / _UNITY)), -32_768, 32_767).astype(np.int16)

    def _decimated(self, window: _Exact, count: int) -> _Exact:
        """A whole step: one product of matrices for all outputs; `window` begins taps - 1 samples before the first."""
        taps, step = self._coefficients.shape[1], self._step
        rows = count + taps // step - 1
        # Row j ends at the input sample of output j - (taps / step - 1).
        blocks = window[taps - 1 - (taps - 1) // step * step - step + 1 :] if step > 1 else window
        blocks = blocks[: rows * step].reshape(rows, step)
        columns = taps // step
        parts = blocks @ self._coefficients[0].reshape(columns, step)[:, ::-1].T
        size = parts.itemsize
        diagonals = np.ndarray(
            (count, columns),
            np.float64,
            parts.tobytes(),
            (columns - 1) * columns * size,
            (columns * size, (1 - columns) * size),
        )
        made: _Exact = diagonals.sum(axis=1)
        return made

    def _interpolated(self, window: _Exact, begin: int, end: int) -> _Exact:
        """Any ratio: each output has its own phase of the filter."""
        phases, taps = self._coefficients.shape
        at = np.arange(self._made, end, dtype=np.int64) * self._step
        newest = at // self._phases - begin
        phase = at % self._phases * phases // self._phases
        made: _Exact = np.einsum(
            "ij,ij->i", window[newest[:, None] - np.arange(taps, dtype=np.int64)], self._coefficients[phase]
        )
        return made


@functools.lru_cache(maxsize=8)
def _filter(sample_rate_hz: int, phases: int) -> _Exact:
    """A Kaiser-windowed low-pass, shape (phases, taps), whole numbers; taps a multiple of the whole step.

    Down 6 dB at 3,950 Hz, at least 50 dB from 4,900 Hz on, less than 1 dB down at 3,400 Hz.
    """
    step = max(1, sample_rate_hz // HOP_RATE_HZ)
    taps = math.ceil(2 * FILTER_DELAY_S * sample_rate_hz / step) * step
    at = np.arange(taps)[None, :] + np.arange(phases)[:, None] / phases
    middle = FILTER_DELAY_S * sample_rate_hz
    off = at - middle
    kernel = np.sinc(2 * _CUTOFF_HZ / sample_rate_hz * off)
    kernel *= np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (off / middle) ** 2, 0, 1))) * (np.abs(off) <= middle)
    kernel *= _UNITY / kernel.sum(axis=1, keepdims=True)
    coefficients: _Exact = np.rint(kernel)
    coefficients.flags.writeable = False
    return coefficients
