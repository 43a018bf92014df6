"""Silence, idleness and lost media: told once, in time, and never for what was before the answer."""

from __future__ import annotations

import numpy as np
import pytest

from sip.events import Quiet
from sip.leg import ListeningPlan
from sip.livekit.listening.loudness import Loudness, level_dbm0
from sip.livekit.listening.quiet import QuietWatch

PLAN = ListeningPlan(silence_warning_s=4.0, silence_s=8.0, idle_s=10.0, media_lost_s=6.0)
RATE_HZ = 8000


def watched(plan: ListeningPlan = PLAN, *, answered_s: float = 100.0) -> QuietWatch:
    watch = QuietWatch(plan=plan)
    watch.answered(answered_s)
    return watch


def told(watch: QuietWatch, *moments_s: float) -> list[tuple[float, Quiet]]:
    return [(at_s, quiet) for at_s in moments_s for quiet, _ in watch.look(at_s)]


def test_nothing_counts_before_the_answer():
    watch = QuietWatch(plan=PLAN)
    assert told(watch, 1e9) == []
    watch.answered(1e9)
    assert told(watch, 1e9 + 3.9) == []


def test_each_is_told_once_when_its_time_has_come():
    seconds = [100.0 + second for second in range(60)]
    assert told(watched(), *seconds) == [
        (104.0, Quiet.CALLEE_WARNING),
        (106.0, Quiet.MEDIA),
        (108.0, Quiet.CALLEE),
        (110.0, Quiet.BOTH),
    ]


def test_the_warning_is_told_again_for_the_next_silence():
    watch = watched()
    assert told(watch, 104.0) == [(104.0, Quiet.CALLEE_WARNING)]
    watch.callee_heard(105.0)
    watch.packets_came(105.0)
    assert told(watch, 108.9, 109.0, 110.0) == [(109.0, Quiet.CALLEE_WARNING)]


def test_both_are_idle_only_if_neither_is_heard():
    watch = watched(ListeningPlan(idle_s=10.0))
    watch.agents_heard(107.0)
    assert told(watch, 110.0, 116.9) == []
    assert told(watch, 117.0) == [(117.0, Quiet.BOTH)]


def test_time_in_which_nobody_listened_was_not_silence():
    watch = watched()
    watch.time_jumped(3600.0)
    assert told(watch, 3703.0) == []
    assert told(watch, 3704.0) == [(3704.0, Quiet.CALLEE_WARNING)]


@pytest.mark.parametrize("plan", [ListeningPlan(), ListeningPlan(silence_s=1.0), ListeningPlan(media_lost_s=1.0)])
def test_what_nobody_asked_for_is_not_told(plan: ListeningPlan):
    watch = watched(plan)
    wanted = {quiet for quiet, limit_s in ((Quiet.CALLEE, plan.silence_s), (Quiet.MEDIA, plan.media_lost_s)) if limit_s}
    assert {quiet for _, quiet in told(watch, 1e6)} == wanted
    assert watch.wants_anything == bool(wanted)


# Loudness


def noise(dbm0: float, duration_s: float, seed: int = 1) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(size=round(duration_s * RATE_HZ))
    return (samples * 10 ** ((dbm0 - 3.17) / 20) * 32767 / np.sqrt(2)).clip(-32768, 32767).astype(np.int16)


def heard_s(samples: np.ndarray, frame_s: float = 0.05) -> float:
    loudness, size = Loudness(), round(frame_s * RATE_HZ)
    frames = [samples[start : start + size] for start in range(0, len(samples) - size + 1, size)]
    return sum(loudness.hears(frame, frame_s) for frame in frames) * frame_s


@pytest.mark.parametrize("dbm0", [-40.0, -20.0, -3.0])
def test_levels_are_dbm0(dbm0: float):
    assert level_dbm0(noise(dbm0, 1.0)) == pytest.approx(dbm0, abs=0.5)


def test_a_full_scale_sine_has_the_level_that_g711_gives_it():
    sine = (32767 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)).astype(np.int16)
    assert level_dbm0(sine) == pytest.approx(3.17, abs=0.02)


def test_silence_and_line_noise_are_not_heard():
    assert heard_s(np.zeros(10 * RATE_HZ, np.int16)) == 0
    assert heard_s(noise(-55.0, 20.0)) == 0


def test_loud_steady_noise_is_heard_for_some_seconds_only():
    assert heard_s(noise(-30.0, 60.0)) < 15.0


@pytest.mark.parametrize("dbm0", [-38.0, -25.0, -10.0])
def test_words_are_heard_also_over_noise(dbm0: float):
    pause, word = noise(dbm0 - 20, 1.0), noise(dbm0, 0.4, seed=2)
    assert heard_s(np.concatenate([pause, word] * 10)) > 2.0


def test_a_click_is_not_heard():
    samples = np.zeros(4 * RATE_HZ, np.int16)
    samples[9000:9020] = 30000
    assert heard_s(samples) == 0


@pytest.mark.parametrize("samples", [np.zeros(0, np.int16), np.full(400, -32768, np.int16), np.full(1, 32767, np.int16)])
def test_no_samples_are_too_odd(samples: np.ndarray):
    Loudness().hears(samples, 0.05)
