"""What sounds sound like: mono frames of 20 ms, 16-bit signed samples in the machine's byte order, 8000 a second unless asked.

Deterministic from sounds and seed. Tones have North America's frequencies and cadences (VOICEMAIL.md, section 3). Speech is
cut from recordings of two synthesised voices (`voices`), one of them for all sounds of a seed: enough for detectors of energy,
timing and tones, but without sense. Silence is digital silence. In pure Python, so that no numerical library is needed for it.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sip.simulated.steps import Sound, SoundKind
from sip.simulated.voices import NAMES, voices

SAMPLE_RATE_HZ = 8000
FRAMES_PER_S = 50

_FULL_SCALE = 32767
_FULL_SCALE_DBM0 = 3.17
"""Level of a sine at full scale in G.711 mu-law (ITU-T G.711)."""
_BEEP_DBM0 = -12.0
_BEEP_HZ = (650.0, 1010.0)
"""Where real carriers' beeps were found (VOICEMAIL.md, measured)."""
_FADE_S = 0.002
"""Tones begin and end without a click."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """Tones and pauses, over and over unless `once`."""

    parts: tuple[tuple[float, tuple[float, ...]], ...]
    """(seconds, frequencies in Hz); no frequency: a pause."""
    dbm0: float
    """Level of each frequency."""
    once: bool = False


_LONG_S = 3600.0  # without a break in any script

CADENCES: Mapping[SoundKind, Cadence] = MappingProxyType(
    {
        SoundKind.SILENCE: Cadence(((_LONG_S, ()),), dbm0=0.0),
        SoundKind.RINGBACK: Cadence(((2.0, (440.0, 480.0)), (4.0, ())), dbm0=-19.0),
        SoundKind.BUSY: Cadence(((0.5, (480.0, 620.0)), (0.5, ())), dbm0=-24.0),
        SoundKind.SIT: Cadence(((0.33, (950.0,)), (0.33, (1400.0,)), (0.33, (1800.0,))), dbm0=-24.0, once=True),
        SoundKind.FAX_CNG: Cadence(((0.5, (1100.0,)), (3.0, ())), dbm0=-13.0),
        SoundKind.FAX_CED: Cadence(((_LONG_S, (2100.0,)),), dbm0=-13.0),
    }
)
"""Levels are those of the North American precise tone plan and of ITU-T E.180 (SIT); of fax, our assumption."""


def frames(sounds: Iterable[Sound], *, seed: int | str, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Iterator[array[int]]:
    """The frames of these sounds, one after the other; the last frame is filled up with silence.

    Frames are arrays of type `h`, `sample_rate_hz / 50` samples each, made as they are asked for.
    """
    if sample_rate_hz < 1 or sample_rate_hz % FRAMES_PER_S:
        raise ValueError(f"the sample rate must be a multiple of {FRAMES_PER_S} Hz, not {sample_rate_hz}")
    size = sample_rate_hz // FRAMES_PER_S
    waiting = array("h")
    for part in _parts(sounds, random.Random(str(seed)), sample_rate_hz):
        waiting.extend(part)
        whole = len(waiting) - len(waiting) % size
        for start in range(0, whole, size):
            yield waiting[start : start + size]
        del waiting[:whole]
    if waiting:
        waiting.extend([0] * (size - len(waiting)))
        yield waiting


def _parts(sounds: Iterable[Sound], drawn: random.Random, rate_hz: int) -> Iterator[array[int]]:
    voice = drawn.randrange(len(NAMES))
    for sound in sounds:
        count = round(sound.duration_s * rate_hz)
        match sound.kind:
            case SoundKind.SPEECH:
                yield from _speech(count, voices(rate_hz)[voice], drawn, rate_hz)
            case SoundKind.BEEP:
                beep = Cadence(((sound.duration_s, (round(drawn.uniform(*_BEEP_HZ)),)),), dbm0=_BEEP_DBM0, once=True)
                yield from _tones(beep, count, rate_hz)
            case _:
                yield from _tones(CADENCES[sound.kind], count, rate_hz)


def _tones(cadence: Cadence, count: int, rate_hz: int) -> Iterator[array[int]]:
    amplitude = _FULL_SCALE * 10 ** ((cadence.dbm0 - _FULL_SCALE_DBM0) / 20)
    while count > 0:
        for duration_s, frequencies_hz in cadence.parts:
            length = min(count, round(duration_s * rate_hz))
            yield from _tone(frequencies_hz, length, amplitude, rate_hz)
            count -= length
        if cadence.once:
            yield from _tone((), count, amplitude, rate_hz)
            return


def _tone(frequencies_hz: tuple[float, ...], length: int, amplitude: float, rate_hz: int) -> Iterator[array[int]]:
    """In pieces of a tenth of a second, so that nobody waits for a long tone."""
    piece = rate_hz // 10
    fade = round(_FADE_S * rate_hz)
    sin = math.sin
    steps = [2 * math.pi * frequency_hz / rate_hz for frequency_hz in frequencies_hz]
    for start in range(0, length, piece):
        times = range(start, min(length, start + piece))
        match steps:
            case []:
                yield array("h", bytes(2 * len(times)))
                continue
            case [one]:
                samples = array("h", [int(amplitude * sin(one * n)) for n in times])
            case [one, other]:
                samples = array("h", [int(amplitude * (sin(one * n) + sin(other * n))) for n in times])
            case _:
                raise AssertionError("no call progress tone has more than two frequencies")
        for n in (*range(start, min(fade, times.stop)), *range(max(start, length - fade), times.stop)):
            samples[n - start] = int(samples[n - start] * min(n, length - 1 - n) / fade)
        yield samples


def _speech(count: int, voice: Sequence[int], drawn: random.Random, rate_hz: int) -> Iterator[array[int]]:
    """A stretch of somebody's speech, from anywhere in it."""
    fade = round(_FADE_S * rate_hz)
    while count > 0:
        start = drawn.randrange(max(1, len(voice) - count))
        stretch = array("h", voice[start : start + count])
        count -= len(stretch)
        for n in range(min(fade, len(stretch) // 2)):
            stretch[n] = stretch[n] * n // fade
            stretch[-1 - n] = stretch[-1 - n] * n // fade
        yield stretch
