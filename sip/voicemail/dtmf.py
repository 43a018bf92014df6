"""DTMF: which key a burst of two tones is (ITU-T Q.23, Q.24). Knows nothing of what a key may mean."""

from __future__ import annotations

from sip.voicemail.measuring import Burst

LOW_HZ = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ = (1_209.0, 1_336.0, 1_477.0, 1_633.0)
KEYS = ("123A", "456B", "789C", "*0#D")

_TOLERANCE = 0.02  # must take 1.5 %, must refuse 3.5 % (Q.24); half a line's width more for a short key in noise
_LEAST_SHARE, _LESS_IN_NOISE = 0.9, 1.5
_MOST_TWIST = 8.0  # power of one over the other: 9 dB
_SHORTEST_S = 0.036  # of 40 ms (Q.24)
_MOST_GLIDE_HZ = 25.0
_LEAST_CHANGE_DB = 6.0  # a key begins and ends; two formants pass by in a voice that goes on
_MOST_SPREAD_DB = 3.0
_MOST_UNDERTONE = 0.05


def key(burst: Burst) -> str:
    """The key, or nothing when the burst is none."""
    if not burst.over or burst.duration_s < _SHORTEST_S or len(burst.lines) < 2:
        return ""
    low, high = sorted(burst.lines[:2], key=lambda line: line.hz)
    least_share = _LEAST_SHARE - _LESS_IN_NOISE * burst.noise
    if low.share + high.share < least_share or max(low.share, high.share) > _MOST_TWIST * min(low.share, high.share):
        return ""
    longest = burst.longest
    if longest is None or longest.glide_hz > _MOST_GLIDE_HZ or burst.spread_db > _MOST_SPREAD_DB:
        return ""
    if min(burst.rise_db, burst.fall_db) < _LEAST_CHANGE_DB or burst.undertone > _MOST_UNDERTONE:
        return ""
    row, column = _nearest(low.hz, LOW_HZ), _nearest(high.hz, HIGH_HZ)
    return "" if row is None or column is None else KEYS[row][column]


def _nearest(hz: float, table: tuple[float, ...]) -> int | None:
    at = min(range(len(table)), key=lambda i: abs(table[i] - hz))
    return at if abs(table[at] - hz) <= _TOLERANCE * table[at] else None
