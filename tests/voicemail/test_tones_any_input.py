"""Tone detectors and any stream: cut anyhow, at any rate, with any samples."""

from __future__ import annotations

import sys
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.voicemail.events import ToneKind
from sip.voicemail.framing import Framer
from sip.voicemail.spectrum import SpectrumAnalyser
from sip.voicemail.tones import ToneDetector
from tests.voicemail.line import Samples, at_rate, hum, listen, on_line, pieces, silence, tone, voice


def a_call() -> Samples:
    return on_line(
        tone(440, 480, seconds=0.4),
        silence(0.3),
        voice(1.2),
        hum(210, seconds=0.3),
        tone(850, seconds=0.3),
        silence(0.25),
        tone(941, 1_336, seconds=0.1),
        silence(0.2),
        tone(1_100, seconds=0.5),
        silence(0.3),
        tone(913.8, seconds=0.274),
        tone(1_370.6, seconds=0.274),
        tone(1_776.7, seconds=0.38),
        silence(0.4),
        tone(2_100, seconds=2.3),
        silence(0.2),
        snr_db=20,
        loss=0.04,
        seed=5,
    )


CALL = a_call()
WHOLE = listen([CALL])


@given(lengths=st.lists(st.one_of(st.integers(1, 400), st.integers(400, 20_000)), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_tones_and_flags_are_the_same_however_a_stream_is_cut(lengths: list[int]) -> None:
    assert len(WHOLE[0]) >= 5
    assert listen(pieces(CALL, lengths)) == WHOLE


def test_the_end_of_a_tone_that_a_louder_one_follows_at_once_is_flagged_however_the_stream_is_cut() -> None:
    soft, loud = tone(600, seconds=0.3), tone(1_000, seconds=0.3)
    samples = on_line(silence(0.5), 0.15 * soft, loud, silence(0.3))
    _, flags = listen([samples])
    for length in (80, 400, 800):
        assert listen(pieces(samples, [length]))[1] == flags


def test_frames_of_one_sample_and_of_ten_seconds_tell_the_same() -> None:
    short = CALL[:12_000]
    assert listen(pieces(short, [1])) == listen([short])


@given(
    seed=st.integers(0, 2**32 - 1),
    rate_hz=st.sampled_from([8_000, 11_025, 16_000, 48_000]),
    shape=st.lists(
        st.sampled_from(["noise", "zeros", "full", "low", "square", "offset", "tone", "ends"]), min_size=1, max_size=6
    ),
    lengths=st.lists(st.integers(0, 3_000), min_size=1, max_size=4).filter(any),
)
@settings(max_examples=40, deadline=None)
def test_no_samples_make_it_raise(seed: int, rate_hz: int, shape: list[str], lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    count = rate_hz // 8
    hz = rng.uniform(50, 3_900)
    parts = {
        "noise": rng.integers(-32_768, 32_768, count),
        "zeros": np.zeros(count),
        "full": np.full(count, 32_767),
        "low": rng.integers(-2, 3, count),
        "square": np.where(np.arange(count) * hz / rate_hz % 1 < 0.5, 32_767, -32_768),
        "offset": np.full(count, -32_768),
        "tone": 20_000 * np.sin(2 * np.pi * hz * np.arange(count) / rate_hz),
        "ends": np.where(np.arange(count) % 2, 32_767, -32_768),
    }
    samples = np.concatenate([parts[name] for name in shape]).astype(np.int16)
    tones, flags = listen(pieces(samples, lengths), sample_rate_hz=rate_hz)
    assert len(flags) <= samples.size * 100 // rate_hz + 1
    assert all(tone.began_s <= tone.ended_s <= tone.told_s + 0.02 for tone in tones)


@pytest.mark.parametrize("value", [0, 1, -1, 32_767, -32_768])
def test_a_line_that_stands_still_is_silence(value: int) -> None:
    tones, flags = listen(pieces(np.full(16_000, value, np.int16), [800]))
    assert tones == []
    assert not any(flags)


def test_a_clipped_beep_is_still_a_beep() -> None:
    samples = on_line(voice(1.0), silence(0.4), 4 * tone(900, seconds=0.4), silence(0.5), level_dbm0=-3)
    assert [tone.kind for tone in listen(pieces(samples, [800]))[0]] == [ToneKind.BEEP]


@pytest.mark.parametrize("rate_hz", [16_000, 24_000, 48_000])
def test_other_rates_tell_the_same_tones_at_the_same_times(rate_hz: int) -> None:
    tones, _ = listen(pieces(at_rate(CALL, rate_hz), [rate_hz // 50]), sample_rate_hz=rate_hz)
    assert [tone.kind for tone in tones] == [tone.kind for tone in WHOLE[0]]
    assert [tone.ended_s for tone in tones] == pytest.approx([tone.ended_s for tone in WHOLE[0]], abs=0.03)


def test_a_stream_without_end_is_heard_in_bounded_memory() -> None:
    framer, spectrum, detector = Framer(sample_rate_hz=8_000), SpectrumAnalyser(), ToneDetector()
    sizes = []
    for minute in range(4):
        for block in pieces(on_line(*[part for _ in range(24) for part in (tone(1_000, seconds=2.4), silence(0.1))]), [8_000]):
            hops = framer.feed(block)
            detector.feed(hops, spectrum.analyse(hops))
        sizes.append((minute, _size_of(detector)))
    assert sizes[-1][1] <= sizes[1][1] * 1.1
    assert sizes[-1][1] < 100_000


def _size_of(thing: object, seen: set[int] | None = None) -> int:
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    size = sys.getsizeof(thing)
    if isinstance(thing, np.ndarray):
        return size + (0 if thing.base is None else thing.base.nbytes)
    if isinstance(thing, dict):
        return size + sum(_size_of(key, seen) + _size_of(value, seen) for key, value in thing.items())
    if isinstance(thing, list | tuple | set | deque):
        return size + sum(_size_of(item, seen) for item in thing)
    if hasattr(thing, "__dict__"):
        return size + _size_of(vars(thing), seen)
    slots = getattr(type(thing), "__slots__", ())
    return size + sum(_size_of(getattr(thing, name), seen) for name in slots if hasattr(thing, name))
