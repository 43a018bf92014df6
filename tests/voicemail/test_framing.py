"""Hops: the same however a stream is cut, at any rate, without what lies above the telephone's band."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.voicemail.framing import FILTER_DELAY_S, HOP_SAMPLES, Framer
from sip.voicemail.spectrum import SpectrumAnalyser, level_dbm0, mean_square_at
from tests.voicemail.line import Samples, pieces

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 47_999, 48_000)


def a_tone(hz: float, *, sample_rate_hz: int, seconds: float = 0.5) -> Samples:
    at = np.arange(int(seconds * sample_rate_hz)) / sample_rate_hz
    return np.asarray(8_000 * np.sin(2 * np.pi * hz * at)).astype(np.int16)


@given(
    rate_hz=st.sampled_from(RATES_HZ),
    lengths=st.lists(st.integers(0, 3_000), min_size=1, max_size=8).filter(any),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=40, deadline=None)
def test_hops_and_spectra_are_the_same_however_a_stream_is_cut(rate_hz: int, lengths: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, rate_hz // 5).astype(np.int16)
    samples[rate_hz // 20 : rate_hz // 8] = 0
    whole = Framer(sample_rate_hz=rate_hz).feed(samples)
    framer, analyser = Framer(sample_rate_hz=rate_hz), SpectrumAnalyser()
    parts = [framer.feed(piece) for piece in pieces(samples, lengths)]
    assert np.array_equal(np.concatenate(parts), whole)
    spectra = [analyser.analyse(part) for part in parts]
    together = SpectrumAnalyser().analyse(whole)
    assert np.array_equal(np.concatenate([part.power for part in spectra]), together.power)
    assert np.array_equal(np.concatenate([part.mean_square for part in spectra]), together.mean_square)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_tone_of_the_telephone_band_passes_unchanged_and_one_above_it_does_not(rate_hz: int) -> None:
    inside = Framer(sample_rate_hz=rate_hz).feed(a_tone(1_000, sample_rate_hz=rate_hz)).reshape(-1)
    delay_s = 0 if rate_hz == 8_000 else FILTER_DELAY_S
    expected = 8_000 * np.sin(2 * np.pi * 1_000 * (np.arange(inside.size) / 8_000 - delay_s))
    assert np.abs(inside - expected)[100:].max() < 80
    if rate_hz >= 11_025:
        above = Framer(sample_rate_hz=rate_hz).feed(a_tone(5_200, sample_rate_hz=rate_hz)).reshape(-1)[100:]
        assert np.sqrt((above.astype(float) ** 2).mean()) < 8_000 / np.sqrt(2) / 300


@pytest.mark.parametrize("rate_hz", [-1, 0, 7_999, 48_001, 96_000])
def test_a_rate_out_of_range_is_refused_by_name(rate_hz: int) -> None:
    with pytest.raises(ValueError, match=str(rate_hz)):
        Framer(sample_rate_hz=rate_hz)


def test_what_is_not_mono_int16_is_refused() -> None:
    with pytest.raises(ValueError, match="one dimension of int16"):
        Framer(sample_rate_hz=8_000).feed(np.zeros((80, 2), np.int16))
    with pytest.raises(ValueError, match="float32"):
        Framer(sample_rate_hz=8_000).feed(np.zeros(80, np.float32))


def test_nothing_is_kept_but_less_than_a_hop() -> None:
    framer = Framer(sample_rate_hz=8_000)
    assert framer.feed(np.zeros(HOP_SAMPLES - 1, np.int16)).shape == (0, HOP_SAMPLES)
    assert framer.feed(np.zeros(2, np.int16)).shape == (1, HOP_SAMPLES)
    assert framer.feed(np.zeros(0, np.int16)).shape == (0, HOP_SAMPLES)


def test_a_spectrum_sums_to_the_power_of_its_tone_and_a_level_is_dbm0() -> None:
    hops = Framer(sample_rate_hz=8_000).feed(a_tone(1_000, sample_rate_hz=8_000))
    spectra = SpectrumAnalyser().analyse(hops)
    assert spectra.power[10].sum() == pytest.approx(8_000**2 / 2, rel=0.01)
    assert spectra.band(900, 1_100)[10] == pytest.approx(8_000**2 / 2, rel=0.01)
    assert level_dbm0(32_768**2 / 2) == pytest.approx(3.17)
    assert level_dbm0(mean_square_at(-20)) == pytest.approx(-20)


def test_a_constant_offset_is_silence_and_silence_is_not_transformed() -> None:
    spectra = SpectrumAnalyser().analyse(np.full((20, HOP_SAMPLES), 9_000, np.int16))
    assert not spectra.loud.any()
    assert not spectra.power.any()
    assert not spectra.mean_square.any()
