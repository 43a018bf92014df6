"""The way from a mouth to our ears: handset, level, noise, codec, lost packets. Drawn in the same way for whoever speaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.bench.detection import opus
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Half
from tests.bench.detection.sounds import coloured_noise, hum, music
from tests.bench.detection.speech import Samples

FULL_SCALE_RMS = 32768 / np.sqrt(2)
FULL_SCALE_DBM0 = 3.17
PACKET = 160
NOISES = {"comfort": 0.46, "pink": 0.14, "brown": 0.12, "babble": 0.1, "music": 0.05, "hum": 0.08, "white": 0.05}
"""Kinds of noise behind a voice, and their shares."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One call's way."""

    level_dbm0: float
    noise: str
    snr_db: float
    codec: str
    loss: float
    low_hz: float
    high_hz: float
    tilt_db: float
    """Treble against bass."""
    swing_db: float
    """How far an automatic gain swings."""
    gated: bool
    """Noise is suppressed where nobody speaks."""

    @property
    def is_clean(self) -> bool:
        """As Label.is_clean."""
        return self.snr_db >= 30 and self.loss == 0 and "opus" not in self.codec and self.level_dbm0 >= -28


def draw_channel(*, rng: np.random.Generator, clean: bool | None = None) -> Channel:
    """A channel: any, or surely a clean one, or surely one that is not clean."""
    noise = str(rng.choice(list(NOISES), p=np.array(list(NOISES.values())) / sum(NOISES.values())))
    level = float(np.clip(rng.normal(-20, 6), -35, -10))
    snr = float(rng.uniform(32, 52) if noise == "comfort" else np.clip(rng.normal(20, 7), 6, 38))
    loss = 0.0 if rng.random() < 0.5 else float(rng.uniform(0.003, 0.05))
    codec = str(rng.choice(["pcmu", "pcma", "opus", "pcmu+opus"], p=[0.38, 0.28, 0.16, 0.18]))
    if clean:
        noise, snr, loss = "comfort", float(rng.uniform(32, 52)), 0.0
        level, codec = float(rng.uniform(-28, -10)), str(rng.choice(["pcmu", "pcma"]))
    elif clean is False:
        snr = min(snr, float(rng.uniform(10, 28)))
        loss = float(rng.uniform(0.003, 0.05))
    return Channel(
        level_dbm0=round(level, 2),
        noise=noise,
        snr_db=round(snr, 2),
        codec=codec,
        loss=round(loss, 4),
        low_hz=float(rng.uniform(120, 340)),
        high_hz=float(rng.uniform(3100, 3750)),
        tilt_db=float(rng.uniform(-5, 5)),
        swing_db=float(rng.uniform(2, 6)) if rng.random() < 0.1 else 0.0,
        gated=bool(rng.random() < 0.12),
    )


def transmit(
    near: Samples,
    network: Samples,
    *,
    active: npt.NDArray[np.bool_],
    channel: Channel,
    babble: Samples,
    half: Half,
    rng: np.random.Generator,
) -> npt.NDArray[np.int16]:
    """What arrives of a voice (`near`, active speech at RMS 1) and of tones that the network or machine adds (`network`).

    `active`: per 10 ms, whether somebody speaks. `babble`: people talking, RMS 1, at least as long as the clip.
    """
    noise = background(near.size, channel=channel, babble=babble, half=half, rng=rng) * 10 ** (-channel.snr_db / 20)
    if channel.gated:
        gate = np.convolve(np.repeat(active, 80)[: near.size], np.ones(1600) / 1600, mode="same")
        noise = noise * np.clip(np.pad(gate, (0, near.size - gate.size), mode="edge") * 3, 0.05, 1).astype(np.float32)
    voice = handset(near, channel=channel)
    if active.any():
        # A handset that takes away a low voice's fundamental makes it no softer: its level is set after it.
        speaking = np.repeat(active, 80)[: near.size]
        voice = voice * np.sqrt(float((near[speaking] ** 2).mean()) / (float((voice[speaking] ** 2).mean()) + 1e-12))
    mixed = voice + handset(noise, channel=channel) + network
    if channel.swing_db:
        slow = np.sin(2 * np.pi * (np.arange(mixed.size) / SAMPLE_RATE_HZ * rng.uniform(0.15, 0.5) + rng.uniform()))
        mixed = mixed * 10 ** (channel.swing_db * slow / 2 / 20)
    rms = FULL_SCALE_RMS * 10 ** ((channel.level_dbm0 - FULL_SCALE_DBM0) / 20)
    linear = np.clip(np.rint(mixed * rms + rng.uniform(-0.5, 0.5, mixed.size)), -32768, 32767).astype(np.int16)
    return coded(linear, channel=channel, rng=rng)


def background(count: int, *, channel: Channel, babble: Samples, half: Half, rng: np.random.Generator) -> Samples:
    """Noise at RMS 1."""
    match channel.noise:
        case "babble":
            begin = int(rng.integers(0, babble.size - count))
            return babble[begin : begin + count]
        case "music":
            return music(count, half=half, rng=rng)
        case "hum":
            return hum(count, rng=rng)
        case "brown":
            swell = 1 + 0.6 * np.sin(2 * np.pi * (np.arange(count) / SAMPLE_RATE_HZ * rng.uniform(0.05, 0.3) + rng.uniform()))
            return (coloured_noise(count, slope=1.8, rng=rng) * swell).astype(np.float32)
        case "pink":
            return coloured_noise(count, slope=1.0, rng=rng)
        case _:
            return coloured_noise(count, slope=float(rng.uniform(0, 0.6)), rng=rng)


def handset(samples: Samples, *, channel: Channel) -> Samples:
    """Band limits and tilt of a telephone, without changing the level of the pass band by much."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(samples.size, 1 / SAMPLE_RATE_HZ)
    high_pass = 1 / (1 + (channel.low_hz / np.maximum(frequency, 1)) ** 6)
    low_pass = 1 / (1 + (frequency / channel.high_hz) ** 24)
    tilt = 10 ** (channel.tilt_db * np.clip(np.log2(np.maximum(frequency, 100) / 800), -2, 2) / 2 / 20 / 2)
    return np.fft.irfft(spectrum * high_pass * low_pass * tilt, samples.size).astype(np.float32)


def coded(samples: npt.NDArray[np.int16], *, channel: Channel, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Through the codecs, with packets lost on the last of them."""
    packets = samples.size // PACKET + 1
    lost = losses(packets, loss=channel.loss, rng=rng)
    if channel.codec == "opus":
        return opus.transmitted(samples, lost=lost, bitrate=int(rng.choice([12000, 16000, 24000])))
    law = a_law if channel.codec == "pcma" else mu_law
    arrived = law(samples)
    if channel.codec == "pcmu+opus":
        return opus.transmitted(arrived, lost=lost, bitrate=int(rng.choice([16000, 24000])))
    return concealed(arrived, lost=lost, repeats=bool(rng.random() < 0.7))


def losses(packets: int, *, loss: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which packets are lost: in bursts of 1.6 packets in the mean (Gilbert's model)."""
    lost = np.zeros(packets, np.bool_)
    if not loss:
        return lost
    ends = 1 / 1.6
    begins = loss * ends / (1 - loss)
    draws = rng.random(packets)
    gone = False
    for index, draw in enumerate(draws):
        gone = draw >= ends if gone else draw < begins
        lost[index] = gone
    return lost


def concealed(samples: npt.NDArray[np.int16], *, lost: npt.NDArray[np.bool_], repeats: bool) -> npt.NDArray[np.int16]:
    """G.711 with gaps: the last packet repeated and faded (as by G.711 appendix I, roughly), or silence."""
    if not lost.any():
        return samples
    out = samples.copy()
    fade = 1.0
    for index in np.flatnonzero(lost):
        begin = index * PACKET
        fade = fade * 0.6 if index and lost[index - 1] else 0.8
        if repeats and index:
            before = out[begin - PACKET : begin]
            piece = (before * fade).astype(np.int16)
            out[begin : begin + PACKET] = piece[: out[begin : begin + PACKET].size]
        else:
            out[begin : begin + PACKET] = 0
    return out


def mu_law(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """There and back through G.711 mu-law."""
    value = samples.astype(np.int32)
    magnitude = np.minimum(np.abs(value), 32635) + 132
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    step = 1 << (segment + 3)
    level = ((magnitude // step) * step) + step // 2 - 132
    return np.array(np.sign(value) * level, np.int16)


def a_law(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """There and back through G.711 A-law."""
    value = samples.astype(np.int32)
    magnitude = np.minimum(np.abs(value), 32767)
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 7, 1)
    step = 1 << (segment + 3)
    level = (magnitude // step) * step + step // 2
    return np.array(np.where(value < 0, -1, 1) * level, np.int16)
