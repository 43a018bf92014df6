"""Says of every hop of 10 ms whether it sounds like speech, beside a noise floor that adapts.

A hop is speech when the WebRTC detector says so and the speech band stands out of the noise, or when it stands out of it
by far. Knows nothing of utterances and tones: tones are taken out by whoever composes (`detector.py`).

Source of the detector: WebRTC's voice activity detector (Gaussian mixtures in six bands), by the `webrtcvad` wheels.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import NamedTuple

import numpy as np
import webrtcvad

from sip.voicemail.framing import HOP_RATE_HZ, HOP_SAMPLES, Hops
from sip.voicemail.spectrum import BIN_HZ, Floats, Spectra, level_dbm0

_SPEECH_BAND_HZ = (250.0, 3_400.0)
"""Hum is below it; above it is nothing that a telephone carries."""
_SPEECH_BINS = slice(round(_SPEECH_BAND_HZ[0] / BIN_HZ), round(_SPEECH_BAND_HZ[1] / BIN_HZ) + 1)
_HOP_BYTES = 2 * HOP_SAMPLES

_AGGRESSIVENESS = 2
"""Of WebRTC's four modes; 3 loses soft beginnings, 0 and 1 call noise speech."""
_STANDS_OUT_DB = 4.0
_STANDS_OUT_FAR_DB = 8.0
_BETWEEN = 0.45
"""Of the way from the floor to the loudest speech: what stays below it is somebody or something behind the callee."""
_AT_LEAST_BELOW_DB = 8.0
_AT_MOST_BELOW_DB = 30.0
_LOUDEST_FADES_DB = 0.01
"""In a hop: 1 dB a second, for callees who turn away, and for other callees."""
_QUIETEST_SPEECH_DBM0 = -56.0
"""Below this nothing is speech: 19 dB below a speaker at -35 dBm0."""
_LOWEST_FLOOR_DBM0 = -68.0

_STRETCH_HOPS = 25
_STRETCHES = 8
"""The floor is the lowest smoothed level of the last 8 stretches of 250 ms: speech pauses at least so often."""
_STEADY_HOPS = 40
_STEADY_DB = 4.0
"""Sound of 400 ms whose smoothed level moves by less than this is noise: speech moves by 10 dB and more."""
_SMOOTHING = 0.3
"""Of the level, per hop: a time constant of about 30 ms."""
_NOISE_HOPS = 10
_NOISE_SPREAD_DB = 1.2
_NOISE_FLATNESS_DB = 4.0
"""Sound of 100 ms whose level spreads by less, and the arithmetic mean of whose spectrum is less over its geometric mean, is
noise. Over 100 ms white and pink noise have 0.2 to 1.9 dB, the beginnings of words 6 to 30 (espeak-ng, five languages)."""
_NOISE_SWING_DB = 1.001 * math.sqrt(2 * _NOISE_HOPS) * _NOISE_SPREAD_DB
"""Where the loudest and the softest hop are further apart, the spread of all is more; this is quicker to see."""
_LOST_AT_MOST_HOPS = 12
"""Digital silence of up to 120 ms on a line that has noise is lost packets; where it lasts, the line is silent."""


class Sound(enum.IntEnum):
    """What a hop holds."""

    QUIET = 0
    SPEECH = 1
    NOISE = 2
    """Quiet, and so were the hops before it: what stood out there is steady noise that has begun."""
    LOST = 3
    """Its packets were lost."""
    FAINT = 4
    """Something that stands out of the noise, but not enough to be the one who spoke before."""


class HeardHop(NamedTuple):
    """What was heard in one hop."""

    sound: Sound
    level_dbm0: float
    """Of the speech band."""
    floor_dbm0: float
    """Of the noise in it."""
    loudest_dbm0: float
    """Of the speech so far; what was loud long ago counts for less."""
    spoken: bool
    """What the WebRTC detector says; of lost hops nothing."""


class SpeechActivity:
    """Marks the hops of one stream."""

    def __init__(self) -> None:
        self._webrtc = webrtcvad.Vad(_AGGRESSIVENESS)
        self._smooth_dbm0 = _LOWEST_FLOOR_DBM0
        self._floor_dbm0 = _LOWEST_FLOOR_DBM0
        self._lowest_dbm0 = [_LOWEST_FLOOR_DBM0] * _STRETCHES
        self._stretch_dbm0 = 0.0
        self._hops_in_stretch = 0
        self._steady_hops = 0
        self._steady_low_dbm0 = 0.0
        self._steady_high_dbm0 = 0.0
        self._recent_dbm0: deque[float] = deque(maxlen=_NOISE_HOPS)
        self._recent_power: Floats = np.zeros((_NOISE_HOPS, _SPEECH_BINS.stop - _SPEECH_BINS.start), np.float32)
        self._hops = 0
        self._zero_hops = 0
        self._loudest_dbm0 = _LOWEST_FLOOR_DBM0

    def feed(self, hops: Hops, spectra: Spectra) -> list[HeardHop]:
        """Take `hops` (n, 80) and their spectra; n answers."""
        raw = hops.tobytes()
        power = spectra.power[:, _SPEECH_BINS]
        in_window = np.add.reduce(power, axis=1).tolist()
        recent_dbm0, latest = self._recent_dbm0, _LatestPower(self._recent_power, power)
        heard, is_speech = [], self._webrtc.is_speech
        for at, in_hop in enumerate(spectra.mean_square.tolist()):
            level = level_dbm0(min(in_window[at], in_hop))  # the window says how much is in the band, the hop when
            if in_hop:
                self._zero_hops = 0
            else:
                self._zero_hops += 1
                if self._zero_hops <= _LOST_AT_MOST_HOPS and self._floor_dbm0 > _LOWEST_FLOOR_DBM0 + 2:
                    heard.append(HeardHop(Sound.LOST, level, self._floor_dbm0, self._loudest_dbm0, spoken=False))
                    continue
            self._follow(level)
            spoken = is_speech(raw[_HOP_BYTES * at : _HOP_BYTES * (at + 1)], HOP_RATE_HZ, HOP_SAMPLES)
            sound = Sound.QUIET
            if level > _QUIETEST_SPEECH_DBM0 and level - self._floor_dbm0 > (_STANDS_OUT_DB if spoken else _STANDS_OUT_FAR_DB):
                sound = self._whose(level)
                if (
                    self._hops % 2 == 0
                    and max(recent_dbm0) - min(recent_dbm0) <= _NOISE_SWING_DB
                    and self._is_noise(latest, at)
                ):
                    self._raise_floor(sum(recent_dbm0) / _NOISE_HOPS)
                    sound = Sound.NOISE
            heard.append(HeardHop(sound, level, self._floor_dbm0, self._loudest_dbm0, spoken))
        self._recent_power = latest.kept()
        return heard

    def _whose(self, level_dbm0: float) -> Sound:
        """Of what stands out: whether it is the one who spoke before."""
        smooth, floor = self._smooth_dbm0, self._floor_dbm0
        loudest = self._loudest_dbm0 = max(self._loudest_dbm0, smooth)
        middle = floor + _BETWEEN * (loudest - floor)
        threshold = max(loudest - _AT_MOST_BELOW_DB, min(loudest - _AT_LEAST_BELOW_DB, middle))
        return Sound.SPEECH if max(level_dbm0, smooth) > threshold else Sound.FAINT

    def _is_noise(self, latest: _LatestPower, at: int) -> bool:
        """Whether the last hops up to number `at` are steady and flat."""
        recent = self._recent_dbm0
        mean_dbm0 = sum(recent) / _NOISE_HOPS
        if sum([(level - mean_dbm0) ** 2 for level in recent]) > _NOISE_HOPS * _NOISE_SPREAD_DB**2:
            return False
        of_bins = latest.up_to(at).mean(axis=0, dtype=np.float64) + 1e-3
        flatness_db = 10 * (math.log10(of_bins.mean()) - float(np.log10(of_bins).mean()))
        return flatness_db < _NOISE_FLATNESS_DB

    def _raise_floor(self, level_dbm0: float) -> None:
        self._floor_dbm0 = max(self._floor_dbm0, level_dbm0)
        self._lowest_dbm0 = [max(lowest, level_dbm0) for lowest in self._lowest_dbm0]

    def _follow(self, level_dbm0: float) -> None:
        """Let the floor follow: down at once, up when a stretch or a steady sound says so."""
        self._hops += 1
        self._recent_dbm0.append(level_dbm0)
        self._loudest_dbm0 -= _LOUDEST_FADES_DB
        smooth = self._smooth_dbm0
        smooth += _SMOOTHING * (max(level_dbm0, _LOWEST_FLOOR_DBM0) - smooth)
        self._smooth_dbm0 = smooth
        if smooth < self._stretch_dbm0:
            self._stretch_dbm0 = smooth
        self._hops_in_stretch += 1
        if self._hops_in_stretch == _STRETCH_HOPS:
            self._lowest_dbm0 = [*self._lowest_dbm0[1:], self._stretch_dbm0]
            self._floor_dbm0 = min(self._lowest_dbm0)
            self._stretch_dbm0 = 0.0
            self._hops_in_stretch = 0
        if smooth < self._floor_dbm0:
            self._floor_dbm0 = smooth
        low, high = self._steady_low_dbm0, self._steady_high_dbm0
        if smooth < low:
            low = smooth
        if smooth > high:
            high = smooth
        if self._steady_hops == 0 or high - low > _STEADY_DB:
            self._steady_low_dbm0 = self._steady_high_dbm0 = smooth
            self._steady_hops = 1
            return
        self._steady_low_dbm0, self._steady_high_dbm0 = low, high
        self._steady_hops += 1
        if self._steady_hops >= _STEADY_HOPS and low > self._floor_dbm0:
            self._raise_floor(low)
            self._steady_hops = 0


class _LatestPower:
    """The spectra of the hops that are being looked at, and of those just before them: joined only if somebody asks."""

    def __init__(self, before: Floats, power: Floats) -> None:
        """`before` (10, bins): of the hops before those of `power` (n, bins)."""
        self._before, self._power = before, power
        self._joined: Floats | None = None

    def up_to(self, at: int) -> Floats:
        """(10, bins): of the hops up to number `at`."""
        if self._joined is None:
            self._joined = np.concatenate((self._before, self._power))
        return self._joined[at + 1 : at + 1 + _NOISE_HOPS]

    def kept(self) -> Floats:
        """(10, bins): of the last hops, and no memory beside them that is much larger."""
        count = len(self._power)
        if count == _NOISE_HOPS:
            return self._power
        return self._power[-_NOISE_HOPS:].copy() if count > _NOISE_HOPS else self.up_to(count - 1)
