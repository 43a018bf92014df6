"""Sounds have the frequencies, cadences and lengths that their names promise."""

from __future__ import annotations

import numpy as np
import pytest

from sip.simulated.audio import frames
from sip.simulated.scripts import SCRIPTS
from sip.simulated.steps import Sound, SoundKind


def heard(*sounds: Sound, seed: int = 1, rate_hz: int = 8000) -> np.ndarray:
    return np.concatenate([np.frombuffer(frame, np.int16) for frame in frames(sounds, seed=seed, sample_rate_hz=rate_hz)])


def at(samples: np.ndarray, from_s: float, to_s: float, rate_hz: int = 8000) -> np.ndarray:
    return samples[round(from_s * rate_hz) : round(to_s * rate_hz)].astype(float)


def frequencies(samples: np.ndarray, *, count: int, rate_hz: int = 8000) -> list[float]:
    """The strongest ones, in Hz, to about the resolution of the piece."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=8 * rate_hz))
    found: list[float] = []
    for _ in range(count):
        peak = int(np.argmax(spectrum))
        found.append(peak * rate_hz / (8 * rate_hz))
        spectrum[max(0, peak - 100) : peak + 100] = 0
    return sorted(found)


def loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples.astype(float)))))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
@pytest.mark.parametrize(
    ("kind", "from_s", "to_s", "hz"),
    [
        (SoundKind.RINGBACK, 0.1, 1.9, (440, 480)),
        (SoundKind.RINGBACK, 6.1, 7.9, (440, 480)),
        (SoundKind.BUSY, 0.05, 0.45, (480, 620)),
        (SoundKind.BUSY, 1.05, 1.45, (480, 620)),
        (SoundKind.SIT, 0.02, 0.31, (950,)),
        (SoundKind.SIT, 0.35, 0.64, (1400,)),
        (SoundKind.SIT, 0.68, 0.97, (1800,)),
        (SoundKind.FAX_CNG, 0.05, 0.45, (1100,)),
        (SoundKind.FAX_CNG, 3.55, 3.95, (1100,)),
        (SoundKind.FAX_CED, 0.0, 3.0, (2100,)),
    ],
)
def test_a_tone_has_its_frequencies_when_its_cadence_says_so(kind, from_s, to_s, hz, rate_hz):
    samples = at(heard(Sound(kind, 8.0), rate_hz=rate_hz), from_s, to_s, rate_hz)
    assert frequencies(samples, count=len(hz), rate_hz=rate_hz) == pytest.approx(hz, abs=2.0)


@pytest.mark.parametrize(
    ("kind", "from_s", "to_s"),
    [
        (SoundKind.RINGBACK, 2.0, 6.0),
        (SoundKind.BUSY, 0.5, 1.0),
        (SoundKind.SIT, 0.99, 8.0),
        (SoundKind.FAX_CNG, 0.5, 3.5),
        (SoundKind.SILENCE, 0.0, 8.0),
    ],
)
def test_the_pauses_of_a_cadence_are_digital_silence(kind, from_s, to_s):
    assert not at(heard(Sound(kind, 8.0)), from_s, to_s).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_beep_is_one_tone_where_real_carriers_beeps_are(seed: int):
    samples = heard(Sound(SoundKind.BEEP, 0.42), seed=seed)
    (hz,) = frequencies(samples[: round(0.42 * 8000)].astype(float), count=1)
    assert 645 <= hz <= 1015


def test_speech_has_the_band_and_the_rhythm_of_a_voice():
    samples = heard(Sound(SoundKind.SPEECH, 20.0)).astype(float)
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / 8000)
    assert power[(hz >= 100) & (hz <= 3400)].sum() > 0.95 * power.sum()
    assert power[hz < 50].sum() < 0.01 * power.sum()
    loud = np.array([loudness(frame) for frame in samples.reshape(-1, 160)])
    rhythm = np.abs(np.fft.rfft(loud - loud.mean()))
    rhythm_hz = np.fft.rfftfreq(len(loud), 0.02)
    syllables = (rhythm_hz >= 2.0) & (rhythm_hz <= 9.0)
    assert np.square(rhythm[syllables]).sum() > 0.4 * np.square(rhythm).sum()
    assert -30 <= 20 * np.log10(loudness(samples) / 32768) <= -22, "near the nominal level of speech"


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda script: script.name)
def test_the_same_seed_gives_the_same_frames_and_another_seed_other_speech(script):
    first = list(frames(script.audio, seed=3))
    assert first == list(frames(script.audio, seed=3))
    if any(sound.kind is SoundKind.SPEECH for sound in script.audio):
        assert first != list(frames(script.audio, seed=4))


@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_frames_are_20_ms_and_lose_nothing_between_sounds(rate_hz: int):
    sounds = (Sound(SoundKind.FAX_CED, 0.033), Sound(SoundKind.SILENCE, 0.05), Sound(SoundKind.FAX_CED, 0.033))
    made = list(frames(sounds, seed=1, sample_rate_hz=rate_hz))
    assert [len(frame) for frame in made] == [rate_hz // 50] * 6
    samples = heard(*sounds, rate_hz=rate_hz)
    assert not at(samples, 0.034, 0.083, rate_hz).any()
    assert loudness(at(samples, 0.086, 0.113, rate_hz)) > 1000
    assert not at(samples, 0.117, 0.12, rate_hz).any()


def test_no_sound_is_clipped():
    for kind in SoundKind:
        assert np.abs(heard(Sound(kind, 3.0)).astype(int)).max() < 16384


def test_a_sample_rate_that_gives_no_whole_frames_is_refused():
    with pytest.raises(ValueError, match="11025"):
        next(frames((Sound(SoundKind.BEEP, 1.0),), seed=1, sample_rate_hz=11025))
