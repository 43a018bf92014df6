"""Whether somebody is heard in a track, at next to no cost: the level of each frame against a floor that follows the noise.

For silence and idleness, which are told in seconds; what speaks, and whether it is speech at all, is the detectors' matter.
LiveKit's own active speakers cannot tell it: the server sends them to subscribers only, and computes them from a level that the
SIP service does not put into its packets (server participant_signal.go, SendSpeakerUpdate; SIP service room.go, NewTrack).
"""

from __future__ import annotations

import math

import numpy as np

FULL_SCALE_DBM0 = 3.17
"""Level of a sine at full scale (ITU-T G.711)."""
QUIETEST_DBM0 = -45.0
"""Below that nothing counts as heard: ITU-T P.56 puts soft speech 15 dB below the nominal -19 dBm0; this is well below that."""
ABOVE_FLOOR_DB = 9.0
RISE_DB_S = 2.0
"""The floor follows louder noise so slowly that speech, which has pauses, does not raise it,"""
FALL_DB_S = 40.0
"""and softer noise so fast."""
LOUD_S = 0.15
"""So much of a loud stretch must come before it counts: clicks do not."""
_LEAST_DBM0 = -90.0


def level_dbm0(samples: np.ndarray) -> float:
    """Level of mono int16 samples; -90 for digital silence."""
    if not samples.size:
        return _LEAST_DBM0
    wide = samples.astype(np.float32)
    power = float(np.dot(wide, wide)) / samples.size
    full_scale = 32767.0**2 / 2
    return max(_LEAST_DBM0, 10 * math.log10(max(power, 1e-3) / full_scale) + FULL_SCALE_DBM0)


class Loudness:
    """Follows one track."""

    def __init__(self) -> None:
        self._floor_dbm0 = QUIETEST_DBM0 - ABOVE_FLOOR_DB
        self._loud_s = 0.0

    def hears(self, samples: np.ndarray, duration_s: float) -> bool:
        """Whether somebody is heard in this frame, which lasts `duration_s`."""
        level = level_dbm0(samples)
        loud = level > max(QUIETEST_DBM0, self._floor_dbm0 + ABOVE_FLOOR_DB)
        if level > self._floor_dbm0:
            self._floor_dbm0 = min(level, self._floor_dbm0 + RISE_DB_S * duration_s)
        else:
            self._floor_dbm0 = max(level, self._floor_dbm0 - FALL_DB_S * duration_s)
        self._loud_s = self._loud_s + duration_s if loud else max(0.0, self._loud_s - duration_s)
        return loud and self._loud_s >= LOUD_S
