"""Beeps: whether a burst is the tone after which a message may be spoken.

A beep is 70 ms to 2 s of one frequency, two at once, two in turn, or a sweep, between 400 and 2,500 Hz, and it stops. What
speaks against it, a voice that hums or a note of music, is summed up in tenths of a doubt: each figure of the burst that is
worse than beeps have through a bad line adds to it. Weights and limits were set on the training half of the corpus, as much
again made from another seed (900 beeps in all), and 3 h of its voices at other pitches and in other languages.
"""

from __future__ import annotations

import math

from sip.voicemail.measuring import Burst, Stretch
from sip.voicemail.spectrum import level_dbm0, mean_square_at

SHORTEST_S, LONGEST_S = 0.05, 2.1
LOWEST_HZ, HIGHEST_HZ = 385.0, 2_530.0
MOST_DOUBT = 1.3

_LEAST_FALL_DB, _LEAST_FALL = 5.0, 0.7
_ALONE, _RISES_DB, _CORE_RISES_DB = 0.05, 1.5, 3.0
_RISES_FROM_LOSS_DB = 45.0  # no noise is so soft: a lost packet came before
_SOFT_DBM0, _SOFTEST_DBM0 = -42.0, -47.0  # softer is somebody's music in the background
_LEAST_MEAN_SQUARE = mean_square_at(_SOFTEST_DBM0)
_SECOND_LINE, _SECOND_IN_WINDOW = 0.6, 0.4
_BESIDE, _BESIDE_OVER_NOISE, _BESIDE_DOUBT = 0.05, 4.0, 0.45
_HUM_BELOW_HZ, _HUM_SHORTER_S, _HUM_TREMBLES_HZ, _HUM_SWELLS_DB = 720.0, 0.18, 0.8, 0.8
_CRY_BELOW_HZ, _CRY_SHORTER_S = 1_000.0, 0.1  # the strongest harmonic of an open vowel, and how long it lasts at one frequency
_SWEEP_HZ = 60.0
_SWEEP_IS_SINGLE = 0.35


def beep_in(burst: Burst) -> Burst | None:
    """The beep that this burst, which is over, or its core is."""
    if doubt(burst) < MOST_DOUBT:
        return burst
    core = burst.core
    return core if core is not None and core.rise_db >= _CORE_RISES_DB and doubt(core) < MOST_DOUBT else None


def doubt(burst: Burst) -> float:
    """What speaks against a beep; infinite when it cannot be one."""
    longest = burst.longest
    if longest is None or not burst.lines or not burst.over or burst.from_start:
        return float("inf")
    possible = SHORTEST_S <= burst.duration_s <= LONGEST_S and LOWEST_HZ <= longest.hz <= HIGHEST_HZ
    # A tone falls to the noise, and not below it; music that goes on is no noise.
    above_noise_db = _above_noise_db(burst)
    least_fall_db = min(_LEAST_FALL_DB, _LEAST_FALL * above_noise_db)
    if not possible or burst.fall_db < least_fall_db or burst.mean_square < _LEAST_MEAN_SQUARE:
        return float("inf")
    # A bad line explains these, and the longer a tone is, the less they say.
    of_the_line = (
        7.0 * _above(0.95 - burst.noise, burst.purity)  # what sounds around it sounds with it, too
        + 0.12 * _above(min(12.0, above_noise_db), burst.fall_db)
        + 0.06 * _above(min(9.0, above_noise_db), burst.rise_db)
        + 1.5 * _above(0.9, burst.coverage)
        - min(0.8, 1.8 * _above(burst.duration_s, 0.17))
    )
    of_itself = (
        0.4 * _above(burst.spread_db, 1.0)
        + 0.5 * _above(len(burst.stretches), 2)
        + 0.5 * sum(1 for stretch in burst.stretches if stretch.hz < LOWEST_HZ)
        + 0.006 * _above(520.0, longest.hz)  # most voices that pass for a tone hum here
        + 6.0 * _above(0.12, burst.duration_s)
        + 0.12 * _above(_SOFT_DBM0, level_dbm0(burst.mean_square))
        + 0.08 * _above(burst.softer_db, 12.0)  # a machine's beep is about as loud as its greeting
        + _hum(burst, longest)
        + (_BESIDE_DOUBT if burst.beside > max(_BESIDE, _BESIDE_OVER_NOISE * burst.noise) else 0.0)  # amid talk
    )
    doubts = max(-0.2, of_the_line) + of_itself
    sweeps = longest.glide_hz >= _SWEEP_HZ and burst.dual <= _SWEEP_IS_SINGLE
    return doubts + (_sweeping(burst, longest) if sweeps else _swaying(burst, longest))


def _hum(burst: Burst, longest: Stretch) -> float:
    """Against a low tone that is short: an end of a vowel is both, and it trembles, if little."""
    below_hz = _CRY_BELOW_HZ if burst.duration_s < _CRY_SHORTER_S else _HUM_BELOW_HZ
    low, short = _above(below_hz, longest.hz), _above(_HUM_SHORTER_S, burst.duration_s)
    trembles = longest.wobble_hz / _HUM_TREMBLES_HZ + _above(burst.spread_db, _HUM_SWELLS_DB)
    return min(1.0, 0.2 * low * short) * min(1.0, trembles)


def _swaying(burst: Burst, longest: Stretch) -> float:
    """Against a steady tone: it has other lines, trembles or slides."""
    clean = _own_share(burst)
    return (
        3.0 * _above(0.93 - burst.noise, clean)
        + min(1.5, 9.0 * _above(burst.undertone, 0.015))
        + 12.0 * burst.dual * _above(0.15, burst.duration_s)  # two harmonics of a syllable
        + 0.1 * (1 + min(1.0, burst.duration_s)) * _above(longest.wobble_hz, 1.5)
        + 0.04 * _above(longest.glide_hz, 4.0)
    )


def _above_noise_db(burst: Burst) -> float:
    """How far a single tone stands above the noise around it, less 1 dB; without limit for what has other lines."""
    second = next((line for line in burst.lines[1:] if abs(line.hz - burst.lines[0].hz) > burst.line_width_hz), None)
    if burst.rise_db < _RISES_DB or (second is not None and second.share > _ALONE * burst.lines[0].share):
        return math.inf
    noise_db = -1.0 - 10 * math.log10(max(burst.noise, 1e-9))
    return noise_db if burst.rise_db > _RISES_FROM_LOSS_DB else max(noise_db, burst.rise_db)


def _own_share(burst: Burst) -> float:
    """The share of the one or two lines of a beep: a second one that is much weaker is another note that still sounds."""
    first, *others = burst.lines
    share = first.share + sum(line.share for line in others if abs(line.hz - first.hz) <= burst.line_width_hz)
    second = next((line for line in others if abs(line.hz - first.hz) > burst.line_width_hz), None)
    if second is None or (burst.dual < _SECOND_IN_WINDOW and second.share < _SECOND_LINE * first.share):
        return share
    return share + second.share


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
