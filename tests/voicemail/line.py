"""Tones by the book and what a telephone line does to them, for tests of the tone detectors. Seeded; levels in dBm0."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sip.voicemail.events import Tone, ToneKind
from sip.voicemail.framing import Framer
from sip.voicemail.spectrum import SpectrumAnalyser, mean_square_at
from sip.voicemail.tones import ToneDetector

RATE_HZ = 8_000
Sound = npt.NDArray[np.float64]
Samples = npt.NDArray[np.int16]


def silence(seconds: float) -> Sound:
    return np.zeros(round(seconds * RATE_HZ))


def tone(*hz: float, seconds: float, sway_hz: float = 0.0) -> Sound:
    """Frequencies at once, at a root mean square of 1, with edges of 2 ms."""
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = np.sum([np.sin(2 * np.pi * frequency * at + i) for i, frequency in enumerate(hz)], axis=0)
    if sway_hz:
        sound *= 1 + 0.9 * np.sin(2 * np.pi * sway_hz * at)
    return _with_edges(sound)


def sweep(from_hz: float, to_hz: float, *, seconds: float) -> Sound:
    count = round(seconds * RATE_HZ)
    return _with_edges(np.sin(2 * np.pi * np.cumsum(np.linspace(from_hz, to_hz, count)) / RATE_HZ))


def _with_edges(sound: Sound) -> Sound:
    edge = np.linspace(0, 1, 16)
    sound[:16] *= edge
    sound[-16:] *= edge[::-1]
    return np.asarray(sound / np.sqrt((sound**2).mean()))


def voice(seconds: float, *, hz: float = 120.0, seed: int = 0) -> Sound:
    """Something like talk: harmonics with a wandering pitch, in syllables, through formants. Root mean square 1."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE_HZ)
    at = np.arange(count) / RATE_HZ
    pitch = hz * (1 + 0.12 * np.sin(2 * np.pi * 0.7 * at + rng.uniform(0, 6)) + 0.02 * np.sin(2 * np.pi * 5 * at))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
    formant = 600 + 250 * np.sin(2 * np.pi * 1.9 * at)
    sound = np.zeros(count)
    for harmonic in range(1, 28):
        f = harmonic * pitch
        sound += (
            np.sin(harmonic * phase)
            * (1 / (1 + ((f - formant) / 220) ** 2) + 0.35 / (1 + ((f - 1_700) / 300) ** 2))
            * (f < 3_600)
        )
    sound *= np.clip(np.sin(2 * np.pi * 2.1 * at) + 0.35, 0, 1)
    return np.asarray(sound / np.sqrt((sound**2).mean()))


def hum(hz: float, *, seconds: float, seed: int = 0) -> Sound:
    """A vowel held long: the trap. Its second harmonic stands out, its pitch trembles."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    trembling = hz * (1 + 0.012 * np.sin(2 * np.pi * 5.5 * at + rng.uniform(0, 6)) + 0.03 * (at / seconds - 0.5))
    phase = 2 * np.pi * np.cumsum(trembling) / RATE_HZ
    sound = 0.3 * np.sin(phase) + np.sin(2 * phase) + 0.12 * np.sin(3 * phase) + 0.05 * np.sin(4 * phase)
    swell = np.minimum(1, np.minimum(at, seconds - at) / 0.06)
    return np.asarray(sound * swell / np.sqrt(((sound * swell) ** 2).mean()))


def on_line(
    *sounds: Sound, level_dbm0: float = -20.0, snr_db: float | None = None, loss: float = 0.0, seed: int = 0
) -> Samples:
    """Sounds in turn (root mean square 1) at a level, with noise, through G.711, with packets of 20 ms lost (silence)."""
    rng = np.random.default_rng(seed)
    rms = float(np.sqrt(mean_square_at(level_dbm0)))
    sound = np.concatenate(sounds) * rms
    if snr_db is not None:
        sound = sound + rng.normal(size=sound.size) * rms * 10 ** (-snr_db / 20)
    coded = _mu_law(np.clip(np.rint(sound), -32_768, 32_767))
    for packet in range(0, coded.size, 160):
        if rng.random() < loss:
            coded[packet : packet + 160] = 0
    return coded


def _mu_law(samples: Sound) -> Samples:
    magnitude = np.minimum(np.abs(samples), 32_635) + 132
    step = 2 ** (np.floor(np.log2(magnitude)) - 4)
    coded = np.floor(magnitude / step) * step + step / 2 - 132
    return np.where(samples == 0, 0, np.sign(samples) * coded).astype(np.int16)


def at_rate(samples: Samples, sample_rate_hz: int) -> Samples:
    """The same sound at a whole multiple of 8 kHz, by its spectrum."""
    times = sample_rate_hz // RATE_HZ
    spectrum = np.zeros(samples.size * times // 2 + 1, np.complex128)
    spectrum[: samples.size // 2] = np.fft.rfft(samples)[: samples.size // 2] * times
    return np.clip(np.rint(np.fft.irfft(spectrum, samples.size * times)), -32_768, 32_767).astype(np.int16)


def pieces(samples: Samples, lengths: Iterable[int]) -> list[Samples]:
    """Cut into these lengths, over and over."""
    cut: list[Samples] = []
    begin, wanted = 0, [length for length in lengths if length]
    while begin < samples.size:
        length = wanted[len(cut) % len(wanted)]
        cut.append(samples[begin : begin + length])
        begin += length
    return cut


def listen(blocks: Iterable[Samples], *, sample_rate_hz: int = RATE_HZ) -> tuple[list[Tone], list[bool]]:
    """All tones of a stream fed in these blocks, and each hop's flag (the first LAG_HOPS are of before the stream)."""
    framer, spectrum, detector = Framer(sample_rate_hz=sample_rate_hz), SpectrumAnalyser(), ToneDetector()
    tones: list[Tone] = []
    flags: list[bool] = []
    for block in blocks:
        hops = framer.feed(block)
        tones += detector.feed(hops, spectrum.analyse(hops))
        flags += detector.is_tone.tolist()
    return tones, flags


def tones_in(samples: Samples) -> list[Tone]:
    """All tones of samples at 8 kHz, fed in blocks of 100 ms."""
    return listen(pieces(samples, [800]))[0]


def kinds_in(samples: Samples) -> list[ToneKind]:
    return [tone.kind for tone in tones_in(samples)]
