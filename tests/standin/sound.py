"""Temporary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sip.simulated.steps import Sound, SoundKind


def frames_of(sounds: Iterable[Sound], *, sample_rate: int) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int16]]]:
    n = sample_rate // 50
    for s in sounds:
        for i in range(int(s.duration_s * 50)):
            a = 0 if s.kind is SoundKind.SILENCE else 8000
            yield (a * np.sin(2 * np.pi * 440 * (np.arange(n) + i * n) / sample_rate)).astype(np.int16)
