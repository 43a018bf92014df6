"""Two voices, as G.711 mu-law at 8 kHz, from which stretches of speech are cut.

Both are synthesised, by free programs whose output anybody may use: `flite -voice rms` (Flite's licence is like BSD's; the
voice is made from CMU ARCTIC) and `espeak-ng -v en-gb+f3 -s 160` (the GPL of eSpeak NG does not reach its output). Each reads a
paragraph of small talk without punctuation; it was resampled to 8 kHz, band-limited to 250 to 3500 Hz, rid of pauses longer
than 60 ms, and levelled to -25 dBov, near ITU-T's nominal level of active speech (-26 dBov, P.56). So a stretch cut from it is
speech to a detector, from its beginning to its end, and nobody's prompt.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from importlib.resources import files

NAMES = ("flite-rms", "espeak-ng-f3")
RATE_HZ = 8_000


def _linear(code: int) -> int:
    """The sample of a mu-law code (ITU-T G.711, table 2a, at 16 bits)."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 132 << ((code & 0x70) >> 4)) - 132
    return -magnitude if code & 0x80 else magnitude


@functools.cache
def voices(rate_hz: int) -> Sequence[array[int]]:
    """Each voice's samples, at this rate."""
    table = [_linear(code) for code in range(256)]
    recorded = [files("sip.simulated").joinpath("voices", f"{name}.ulaw").read_bytes() for name in NAMES]
    return [_resampled(array("h", [table[code] for code in codes]), rate_hz) for codes in recorded]


def _resampled(samples: array[int], rate_hz: int) -> array[int]:
    """By straight lines: good enough for what has no sound above 3500 Hz, where rates are multiples of each other."""
    if rate_hz == RATE_HZ:
        return samples
    count = (len(samples) - 1) * rate_hz // RATE_HZ
    made = array("h", bytes(2 * count))
    for n in range(count):
        at, part = divmod(n * RATE_HZ, rate_hz)
        made[n] = samples[at] + (samples[at + 1] - samples[at]) * part // rate_hz
    return made
