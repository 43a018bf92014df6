"""Sounds that nobody speaks: tones by the book, beeps, noises, music. Samples at 8 kHz, RMS 1 where a level is to be set.

Written apart from the product's detectors, from VOICEMAIL.md section 3 (ITU-T E.180, Q.35, Bellcore SR-3275, T.30, V.25).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from tests.bench.detection.labels import SAMPLE_RATE_HZ, Half
from tests.bench.detection.speech import MUSIC, Samples, floats, resampled

RINGBACK: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "US": ((440, 480), (2.0, 4.0)),
    "GB": ((400, 450), (0.4, 0.2, 0.4, 2.0)),
    "DE": ((425,), (1.0, 4.0)),
    "FR": ((440,), (1.5, 3.5)),
    "ES": ((425,), (1.5, 3.0)),
    "IT": ((425,), (1.0, 4.0)),
    "BR": ((425,), (1.0, 4.0)),
    "IN": ((400,), (0.4, 0.2, 0.4, 2.0)),
    "CN": ((450,), (1.0, 4.0)),
    "AT": ((420,), (1.0, 5.0)),
    "JP": ((400,), (1.0, 2.0)),
    "PT": ((425,), (1.0, 5.0)),
}
"""Country: frequencies, and seconds on, off, on, off."""
BUSY: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "US": ((480, 620), (0.5, 0.5)),
    "GB": ((400,), (0.375, 0.375)),
    "DE": ((425,), (0.48, 0.48)),
    "FR": ((440,), (0.5, 0.5)),
    "ES": ((425,), (0.2, 0.2)),
    "IN": ((400,), (0.75, 0.75)),
    "CN": ((450,), (0.35, 0.35)),
    "JP": ((400,), (0.5, 0.5)),
    "RU": ((425,), (0.35, 0.35)),
}
REORDER: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "US": ((480, 620), (0.25, 0.25)),
    "GB": ((400,), (0.4, 0.35, 0.225, 0.525)),
    "DE": ((425,), (0.24, 0.24)),
    "FR": ((440,), (0.25, 0.25)),
    "IN": ((400,), (0.25, 0.25)),
    "RU": ((425,), (0.175, 0.175)),
}
SHORT_S, LONG_S = 0.274, 0.380
INFORMATION: dict[str, tuple[tuple[float, float], ...]] = {
    "IC": ((913.8, SHORT_S), (1370.6, SHORT_S), (1776.7, LONG_S)),
    "VC": ((985.2, LONG_S), (1370.6, SHORT_S), (1776.7, LONG_S)),
    "RO'": ((913.8, SHORT_S), (1428.5, LONG_S), (1776.7, LONG_S)),
    "RO''": ((985.2, SHORT_S), (1370.6, LONG_S), (1776.7, LONG_S)),
    "NC'": ((985.2, LONG_S), (1428.5, LONG_S), (1776.7, LONG_S)),
    "NC''": ((913.8, LONG_S), (1370.6, LONG_S), (1776.7, LONG_S)),
    "": ((950.0, 0.33), (1400.0, 0.33), (1800.0, 0.33)),
}
"""Class: frequency and length of the three tones. The empty class is ITU-T's."""


def samples_of(seconds: float) -> int:
    """How many samples so long a time has."""
    return round(seconds * SAMPLE_RATE_HZ)


def tone(frequencies_hz: Sequence[float], seconds: float, *, edge_s: float = 0.004) -> Samples:
    """Sines at once, RMS 1, with soft edges."""
    t = np.arange(samples_of(seconds)) / SAMPLE_RATE_HZ
    mixed = np.sum([np.sin(2 * np.pi * f * t) for f in frequencies_hz], axis=0) * np.sqrt(2 / len(frequencies_hz))
    return with_edges(mixed.astype(np.float32), edge_s=edge_s)


def with_edges(samples: Samples, *, edge_s: float) -> Samples:
    """Raised-cosine edges, so that nothing clicks."""
    count = min(samples_of(edge_s), samples.size // 2)
    if count:
        edge = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)).astype(np.float32)
        samples = samples.copy()
        samples[:count] *= edge
        samples[-count:] *= edge[::-1]
    return samples


def cadence(frequencies_hz: Sequence[float], pattern_s: Sequence[float], seconds: float) -> tuple[Samples, float]:
    """A pattern of tone and silence for so long; also when its last tone ends (a last tone cut short ends at the end)."""
    out = np.zeros(samples_of(seconds), np.float32)
    at, index, ended = 0.0, 0, 0.0
    while at < seconds - 0.02:
        length = min(pattern_s[index % len(pattern_s)], seconds - at)
        if index % 2 == 0:
            piece = tone(frequencies_hz, length)
            begin = samples_of(at)
            out[begin : begin + piece.size] = piece[: out.size - begin]
            ended = at + length
        at += pattern_s[index % len(pattern_s)]
        index += 1
    return out, ended


def information_tones(kind: str, *, rng: np.random.Generator) -> Samples:
    """The three special information tones, within tolerance (0.2 % of frequency, 5 % of time, gaps of 0 to 4 ms)."""
    pieces = []
    wide = 0.01 if kind == "" else 0.002
    for frequency, seconds in INFORMATION[kind]:
        pieces.append(
            tone([frequency * (1 + rng.uniform(-wide, wide))], seconds * (1 + rng.uniform(-0.05, 0.05)), edge_s=0.002)
        )
        pieces.append(np.zeros(samples_of(rng.uniform(0, 0.03 if kind == "" else 0.004)), np.float32))
    return np.concatenate(pieces[:-1])


@dataclass(frozen=True, slots=True)
class Beep:
    """A beep and what it is."""

    samples: Samples
    frequencies_hz: tuple[float, ...]
    shape: str
    """single, dual (two tones at once), steps (one after the other) or chirp."""


def beep(*, rng: np.random.Generator) -> Beep:
    """A beep: 400 to 2,500 Hz, 70 ms to 2 s, mostly a single tone of 600 to 1,500 Hz and 0.15 to 0.8 s."""
    seconds = float(np.clip(rng.lognormal(np.log(0.38), 0.55), 0.07, 2.0))
    low = float(np.clip(rng.lognormal(np.log(950), 0.32), 400, 2400))
    high = float(np.clip(low * rng.uniform(1.12, 1.7), 450, 2500))
    edge_s = float(rng.uniform(0.001, 0.012))
    shape = str(rng.choice(["single", "dual", "steps", "chirp"], p=[0.76, 0.08, 0.07, 0.09]))
    if shape == "single":
        return Beep(tone([low], seconds, edge_s=edge_s), (low,), shape)
    if shape == "dual":
        return Beep(tone([low, high], seconds, edge_s=edge_s), (low, high), shape)
    seconds = max(seconds, 0.16)
    if rng.random() < 0.5:
        low, high = high, low
    if shape == "steps":
        halves = [tone([low], seconds / 2, edge_s=0.002), tone([high], seconds / 2, edge_s=0.002)]
        return Beep(np.concatenate(halves), (low, high), shape)
    sweep = np.linspace(low, high, samples_of(seconds))
    samples = (np.sqrt(2) * np.sin(2 * np.pi * np.cumsum(sweep) / SAMPLE_RATE_HZ)).astype(np.float32)
    return Beep(with_edges(samples, edge_s=edge_s), (low, high), shape)


def answer_tone(seconds: float, *, reversals: bool, hz: float = 2100.0) -> Samples:
    """CED, or ANS with a phase reversal each 450 ms (V.25, V.8)."""
    samples = tone([hz], seconds)
    if reversals:
        flips = (np.arange(samples.size) // samples_of(0.45)) % 2
        samples = np.where(flips == 1, -samples, samples).astype(np.float32)
    return samples


def coloured_noise(count: int, *, slope: float, rng: np.random.Generator) -> Samples:
    """Gaussian noise whose power falls as frequency to the power of `slope` (0 white, 1 pink, 2 brown), RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    spectrum *= np.maximum(frequency, 60.0) ** (-slope / 2)
    spectrum[frequency < 60] = 0
    noise = np.fft.irfft(spectrum, count)
    return floats(noise / np.sqrt((noise**2).mean() + 1e-20))


def hum(count: int, *, rng: np.random.Generator) -> Samples:
    """Mains hum with harmonics over a little hiss, RMS 1."""
    base = float(rng.choice([50.0, 60.0])) * (1 + rng.uniform(-0.002, 0.002))
    t = np.arange(count) / SAMPLE_RATE_HZ
    mixed = 0.3 * coloured_noise(count, slope=0.5, rng=rng).astype(np.float64)
    for n in range(2, 12):
        mixed += rng.uniform(0.1, 1) / n * np.sin(2 * np.pi * base * n * t + rng.uniform(0, 6))
    return floats(mixed / np.sqrt((mixed**2).mean()))


@functools.cache
def _song(number: int) -> Samples:
    files = sorted(MUSIC.glob("*.wav"))
    samples, rate_hz = soundfile.read(files[number], dtype="float32", frames=8000 * 120)
    return resampled(samples, from_hz=rate_hz)


def music(count: int, *, half: Half, rng: np.random.Generator) -> Samples:
    """A stretch of a piece of music on hold, RMS 1; the halves have pieces of their own."""
    song = _song(int(rng.choice([0, 1, 2] if half is Half.TRAIN else [3, 4])))
    begin = int(rng.integers(8000, song.size - count))
    piece = song[begin : begin + count]
    return floats(piece / (np.sqrt((piece.astype(np.float64) ** 2).mean()) + 1e-9))
