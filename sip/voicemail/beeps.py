"""Beeps: whether a burst is the tone after which a message may be spoken.

A beep is 70 ms to 2 s of one frequency, two at once, two in turn, or a sweep, between 400 and 2,500 Hz, and it stops. What
speaks against it, a voice that hums, is summed up in tenths of a doubt: each figure of the burst that is worse than beeps
have through a bad line adds to it. Weights and limits were set on 400 synthetic beeps, half of them with noise at 10 to 15 dB
below them, Opus and 5 % packet loss, and on 90 minutes of spoken prompts and synthetic speech (`tests/bench/detection`).
"""

from __future__ import annotations

from sip.voicemail.measuring import Burst, Stretch
from sip.voicemail.spectrum import mean_square_at

SHORTEST_S, LONGEST_S = 0.06, 2.1
LOWEST_HZ, HIGHEST_HZ = 385.0, 2_530.0
MOST_DOUBT = 1.4

_LEAST_FALL_DB = 5.0
_LEAST_MEAN_SQUARE = mean_square_at(-42.0)  # softer is somebody's music in the background
_HUM_BELOW_HZ, _HUM_SHORTER_S, _HUM_TREMBLES_HZ, _HUM_SWELLS_DB = 720.0, 0.18, 0.8, 0.8
_SWEEP_HZ = 60.0
_SWEEP_IS_SINGLE = 0.35


def is_beep(burst: Burst) -> bool:
    """Whether this burst, which is over, is a beep."""
    return doubt(burst) < MOST_DOUBT


def doubt(burst: Burst) -> float:
    """What speaks against a beep; infinite when it cannot be one."""
    longest = burst.longest
    if longest is None or not burst.lines or not burst.over or burst.from_start:
        return float("inf")
    possible = SHORTEST_S <= burst.duration_s <= LONGEST_S and LOWEST_HZ <= longest.hz <= HIGHEST_HZ
    if not possible or burst.fall_db < _LEAST_FALL_DB or burst.mean_square < _LEAST_MEAN_SQUARE:
        return float("inf")
    # A bad line explains these, and the longer a tone is, the less they say.
    of_the_line = (
        7.0 * _above(0.95 - burst.noise, burst.purity)  # what sounds around it sounds with it, too
        + 0.12 * _above(12.0, burst.fall_db)
        + 0.06 * _above(9.0, burst.rise_db)
        + 1.5 * _above(0.9, burst.coverage)
        - min(0.8, 1.8 * _above(burst.duration_s, 0.17))
    )
    of_itself = (
        0.4 * _above(burst.spread_db, 1.0)
        + 0.5 * _above(len(burst.stretches), 2)
        + 0.5 * sum(1 for stretch in burst.stretches if stretch.hz < LOWEST_HZ)
        + 0.006 * _above(520.0, longest.hz)  # most voices that pass for a tone hum here
        + 6.0 * _above(0.12, burst.duration_s)
        + _hum(burst, longest)
    )
    doubts = max(-0.2, of_the_line) + of_itself
    sweeps = longest.glide_hz >= _SWEEP_HZ and burst.dual <= _SWEEP_IS_SINGLE
    return doubts + (_sweeping(burst, longest) if sweeps else _swaying(burst, longest))


def _hum(burst: Burst, longest: Stretch) -> float:
    """Against a low tone that is short: an end of a vowel is both, and it trembles, if little."""
    low, short = _above(_HUM_BELOW_HZ, longest.hz), _above(_HUM_SHORTER_S, burst.duration_s)
    trembles = longest.wobble_hz / _HUM_TREMBLES_HZ + _above(burst.spread_db, _HUM_SWELLS_DB)
    return min(1.0, 0.2 * low * short) * min(1.0, trembles)


def _swaying(burst: Burst, longest: Stretch) -> float:
    """Against a steady tone: it has other lines, trembles or slides."""
    clean = burst.lines[0].share + burst.lines[1].share
    return (
        3.0 * _above(0.93 - burst.noise, clean)
        + min(1.5, 9.0 * _above(burst.undertone, 0.015))
        + 12.0 * burst.dual * _above(0.15, burst.duration_s)  # two harmonics of a syllable
        + 0.1 * (1 + min(1.0, burst.duration_s)) * _above(longest.wobble_hz, 1.5)
        + 0.04 * _above(longest.glide_hz, 4.0)
    )


def _sweeping(burst: Burst, longest: Stretch) -> float:
    """Against a sweep: it does not go straight, or hardly goes anywhere."""
    return (
        0.3
        + 6.0 * _above(longest.wobble_hz / longest.glide_hz, 0.03)
        + 0.02 * _above(80.0, longest.glide_hz)
        + 3.0 * _above(burst.dual, 0.2)
        + 2.0 * _above(burst.undertone, 0.35)
    )


def _above(value: float, limit: float) -> float:
    return max(0.0, value - limit)
