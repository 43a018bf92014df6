"""A cheap watch for whether a party is heard at all, for a whole call.

Responsible for silence, not for speech: it works from energy alone. Knows nothing of tones or verdicts.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from sip.voicemail.framing import Samples
from sip.voicemail.spectrum import level_dbm0

_STRETCHES_A_SECOND = 10
_FLOOR_STRETCHES = 30


class SoundWatch:
    """Tells when a party was last heard, for a hundredth of a detector's work.

    A stretch of 100 ms counts as heard when it is `above_floor_db` over the quietest stretch of the last 3 s
    and over `threshold_dbm0`. That is enough to know silence; it cannot tell speech from a slammed door.
    """

    def __init__(self, *, sample_rate_hz: int, above_floor_db: float = 9.0, threshold_dbm0: float = -50.0) -> None:
        self._above_floor_db = above_floor_db
        self._threshold_dbm0 = threshold_dbm0
        self._stretch = sample_rate_hz // _STRETCHES_A_SECOND
        self._rest: Samples = np.zeros(0, np.int16)
        self._recent_dbm0: deque[float] = deque(maxlen=_FLOOR_STRETCHES)
        self._stretches = 0
        self.heard_until_s: float | None = None
        """The end of the last stretch in which something was heard, in seconds of the stream; None: never."""

    @property
    def now_s(self) -> float:
        """The end of the last complete stretch."""
        return self._stretches / _STRETCHES_A_SECOND

    def feed(self, samples: Samples) -> bool:
        """Take mono int16 samples of any number; True if something was heard in a stretch that they completed."""
        joined = np.concatenate((self._rest, samples)) if self._rest.size else samples
        whole = joined.size // self._stretch
        self._rest = joined[whole * self._stretch :].copy()
        heard = False
        for stretch in joined[: whole * self._stretch].reshape(whole, self._stretch):
            level = level_dbm0(float(np.var(stretch)))
            self._stretches += 1
            self._recent_dbm0.append(level)
            if level > max(self._threshold_dbm0, min(self._recent_dbm0) + self._above_floor_db):
                heard = True
                self.heard_until_s = self.now_s
        return heard
