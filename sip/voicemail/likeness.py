"""How like speech every hop of 10 ms is, from what was seen of it and of the ten hops to either side: a small perceptron.

Its weights and how they came about are in speech.json, written by the training script of the repository. Knows levels, the
noise floor and the verdicts of `activity.py`; nothing of tones, utterances and who speaks.

Inputs and weights are whole numbers and their products are summed in float64, where they are exact: what a hop gets is the
same, bit for bit, however many are asked for at once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from sip.voicemail.activity import HeardHop, Sound
from sip.voicemail.spectrum import Floats, Spectra

CONTEXT_HOPS = 10
"""To either side; as late as tones are told, so that nothing waits for it."""
CHANNELS = (
    "above_floor", "below_loudest", "spoken", "stood_out", "noise", "lost",
    "below_250_hz", "below_600_hz", "below_1100_hz", "below_1800_hz", "below_3400_hz",
)  # fmt: skip
"""Of a hop: level over the noise floor and below the loudest speech (quarters of a decibel, 0 to 160), what the WebRTC
detector says, and what `activity.py` calls it (0 or 1); then by how much all of the spectrum is louder than what lies between
this frequency and the one before it (quarters of a decibel, 0 to 160)."""
STRETCHES = ((-10, -6), (-6, -3), (-3, -1), (-1, 0), (0, 1), (1, 2), (2, 4), (4, 7), (7, 11))
"""Hops from the one in question, the second not included: a weight belongs to a channel in one of these. Each begins where
the one before it ends."""
_EDGES = (*(begin for begin, _ in STRETCHES), STRETCHES[-1][1])
_AT_ONCE_HOPS = 50
_PLACES = (
    (np.arange(_AT_ONCE_HOPS)[:, None, None] + (np.array(_EDGES) + CONTEXT_HOPS)[None, :, None]) * len(CHANNELS)
    + np.arange(len(CHANNELS))
).reshape(_AT_ONCE_HOPS, -1)
"""Where in the flat array of running sums those of a hop's edges are."""
STEPS_A_DB = 4
_MOST_STEPS = 160.0
_SPOKEN = 8
_BAND_BINS = np.array((2, 8, 19, 35, 58))
_END_BIN = 110
_FLAG_NAMES = 4
_LEAST_POWER = np.float32(1)
_STEPS = np.array([STEPS_A_DB] * 2 + [1] * _FLAG_NAMES + [10 * STEPS_A_DB] * len(_BAND_BINS), np.float64)
SEEN = 4 + len(_BAND_BINS)
"""Columns of what is remembered of a hop, see `seen`."""

_FLAGS = np.zeros((16, _FLAG_NAMES))
for _code in range(16):
    _sound = _code % _SPOKEN
    _FLAGS[_code] = (
        _code >= _SPOKEN,
        _sound in (Sound.SPEECH.value, Sound.FAINT.value),
        _sound == Sound.NOISE.value,
        _sound == Sound.LOST.value,
    )

Seen = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]


def bands(spectra: Spectra) -> Floats:
    """The last columns of what is remembered of hops: (n, 5)."""
    powers: Floats = np.add.reduceat(spectra.power[:, :_END_BIN], _BAND_BINS, axis=1)
    return powers


def seen(heard: Sequence[HeardHop], powers: Floats) -> Seen:
    """What is remembered of hops, (n, 9): level in dBm0, dB above the floor and below the loudest, a code, `bands`.

    Lost hops count as loud as the floor.
    """
    rows = np.empty((len(heard), SEEN), np.float32)
    told: list[float] = []
    for sound, level, floor, loudest, spoken in heard:
        if sound is Sound.LOST:
            level = floor
        told += (level, level - floor, loudest - level, sound + _SPOKEN if spoken else sound)
    rows[:, :4] = np.array(told, np.float32).reshape(-1, 4)
    rows[:, 4:] = powers
    return rows


def inputs(remembered: Seen) -> Exact:
    """The channels, summed over the hops before each: (n + 1, channels), whole numbers."""
    sums = np.zeros((len(remembered) + 1, len(CHANNELS)))
    channels = sums[1:]
    channels[:, :2] = remembered[:, 1:3]
    channels[:, 2 : 2 + _FLAG_NAMES] = _FLAGS.take(remembered[:, 3].astype(np.intp), axis=0, mode="clip")
    power = remembered[:, 4:] + _LEAST_POWER
    channels[:, 2 + _FLAG_NAMES :] = np.log10(np.add.reduce(power, axis=1, keepdims=True) / power)
    channels *= _STEPS
    np.rint(channels, out=channels)
    np.maximum(channels, 0.0, out=channels)
    np.minimum(channels, _MOST_STEPS, out=channels)
    return np.add.accumulate(sums, axis=0)


class SpeechModel:
    """One hidden layer of rectified sums, and a line through what hindsight knows."""

    def __init__(
        self, *, hidden: Exact, bias: Exact, out: Exact, out_bias: float, unit: float, with_hindsight: Sequence[float]
    ) -> None:
        """`hidden` (units, channels, stretches), `bias` and `out` (units,): whole numbers; log odds are their sum over `unit`.

        `with_hindsight`: see `Hindsight`. ValueError if the shapes do not fit.
        """
        units = len(bias)
        if hidden.shape != (units, len(CHANNELS), len(STRETCHES)) or out.shape != (units,) or len(with_hindsight) != 4:
            raise ValueError(f"a speech model of {hidden.shape} weights for {units} units does not fit")
        # What a stretch holds is the running sum at its end less that at its beginning.
        at_edges = np.zeros((len(_EDGES), len(CHANNELS), units))
        at_edges[1:] += hidden.T
        at_edges[:-1] -= hidden.T
        self._hidden = at_edges.reshape(-1, units)
        self._bias, self._out, self._out_bias, self._unit = bias, out, out_bias, unit
        self.with_hindsight = tuple(with_hindsight)

    def log_odds(self, remembered: Seen) -> Exact:
        """(n - 20,): of speech, for all hops but the first and the last ten."""
        count = max(0, len(remembered) - 2 * CONTEXT_HOPS)
        sums = inputs(remembered)
        units = np.empty((count, len(self._bias)))
        for begin in range(0, count, _AT_ONCE_HOPS):
            part = slice(begin, min(begin + _AT_ONCE_HOPS, count))
            at_edges = sums[begin:].take(_PLACES[: part.stop - begin], mode="clip")
            np.matmul(at_edges, self._hidden, out=units[part])
        units += self._bias
        np.maximum(units, 0.0, out=units)
        found: Exact = units @ self._out
        found += self._out_bias
        found /= self._unit
        return found


def parse(document: str) -> SpeechModel:
    """The model of a file (JSON). ValueError if it is none, or was trained on other inputs than these."""
    model = json.loads(document)
    if list(model["channels"]) != list(CHANNELS) or [tuple(one) for one in model["stretches"]] != list(STRETCHES):
        raise ValueError("the speech model was trained on other inputs; train it anew")
    return SpeechModel(
        hidden=np.array([unit["weights"] for unit in model["units"]], dtype=np.float64),
        bias=np.array([unit["bias"] for unit in model["units"]], dtype=np.float64),
        out=np.array([unit["out"] for unit in model["units"]], dtype=np.float64),
        out_bias=float(model["out_bias"]),
        unit=float(model["unit"]),
        with_hindsight=model["with_hindsight"],
    )


@functools.cache
def stock_speech_model() -> SpeechModel:
    """The package's own, read once: it is shared by all streams and never changes."""
    return parse(files("sip.voicemail").joinpath("speech.json").read_text(encoding="utf-8"))
