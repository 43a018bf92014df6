"""Fax and modem: the tones of a machine that calls (CNG) or answers (CED, 2100 Hz; 2225 Hz).

ITU-T T.30: CNG is 1,100 Hz +-38 Hz, 0.5 s on, 3 s off, each +-15 %; CED is 2,100 Hz +-15 Hz, 2.6 to 4.0 s. ITU-T V.25 turns
its phase round each 450 ms. Bell 103 modems answer with 2,225 Hz.
"""

from __future__ import annotations

from sip.voicemail.events import ToneKind
from sip.voicemail.measuring import Burst
from sip.voicemail.progress import SPOKEN_S

CNG_REPEATS_WITHIN_S = 4.2
"""After a first burst that may be CNG; then it was something else."""
ANSWERS_WITHIN_S = 1.6
"""After a burst that may be the beginning of an answering tone, cut off by lost packets."""

_CNG_HZ, _CNG_OFF_HZ = 1_100.0, 42.0
_CNG_ON_S = (0.36, 0.62)
_CNG_TORN_S = 0.12  # of one that comes where CNG comes again, and that lost packets have torn
_CNG_PERIOD_S = (2.9, 4.1)
_CNG_PERIODS_LOST = 1
_CALLS_AGAIN_S = 8.0  # two periods
_ANSWER_HZ = ((ToneKind.FAX_CED, 2_100.0), (ToneKind.MODEM, 2_225.0))
_ANSWER_OFF_HZ = 22.0
_ANSWER_S, _ANSWER_AFTER_SPEECH_S = 1.0, 2.05
_ANSWER_GAP_S = 4.5  # the tone itself is 4 s long at most
_LEAST_SHARE = 0.5


class FaxDetector:
    """Follows one stream's bursts for a fax that calls."""

    def __init__(self) -> None:
        self._cng_began_s: float | None = None
        self._answer: tuple[ToneKind, float] | None = None
        self._calls_until_s: float | None = None

    def may_be_cng(self, burst: Burst) -> bool:
        """Whether this burst has CNG's frequency and length."""
        low, high = _CNG_ON_S
        low = low if self._cng_began_s is None else _CNG_TORN_S
        return burst.over and _is_at(burst, _CNG_HZ, _CNG_OFF_HZ) and low <= burst.duration_s <= high

    def repeats(self, burst: Burst) -> float | None:
        """When the burst before began, when this one, which may be CNG, follows it as CNG does."""
        before = self._cng_began_s
        if before is None or burst.duration_s >= _CNG_ON_S[0]:
            self._cng_began_s = burst.began_s
        if before is None:
            return None
        low, high = _CNG_PERIOD_S
        period = burst.began_s - before
        if not any(low <= period / turns <= high for turns in range(1, _CNG_PERIODS_LOST + 2)):
            return None
        self._calls_until_s = burst.ended_s
        return before

    def may_be_answer(self, burst: Burst) -> bool:
        """Whether this burst has the frequency of an answering tone."""
        return any(_is_at(burst, hz, _ANSWER_OFF_HZ) for _, hz in _ANSWER_HZ)

    def goes_on(self, burst: Burst) -> bool:
        """Whether this burst belongs to what was recognised: a calling fax goes on calling, or lost packets have cut a tone."""
        calls_until_s = self._calls_until_s
        if (
            calls_until_s is not None
            and _is_at(burst, _CNG_HZ, _CNG_OFF_HZ)
            and burst.began_s - calls_until_s <= _CALLS_AGAIN_S
        ):
            self._calls_until_s = max(calls_until_s, burst.ended_s)
            return True
        if self._answer is None:
            return False
        kind, until_s = self._answer
        if burst.began_s > until_s + _ANSWER_GAP_S or not _is_at(burst, dict(_ANSWER_HZ)[kind], _ANSWER_OFF_HZ):
            return False
        self._answer = kind, max(until_s, burst.ended_s)
        return True

    def answering(self, burst: Burst) -> ToneKind | None:
        """The answering tone that this burst, or a look at one, is by now."""
        enough = _ANSWER_S if burst.heard_before_s < SPOKEN_S else _ANSWER_AFTER_SPEECH_S
        if burst.duration_s < enough:
            return None
        kind = next((kind for kind, hz in _ANSWER_HZ if _is_at(burst, hz, _ANSWER_OFF_HZ)), None)
        if kind is not None:
            self._answer = kind, burst.ended_s
        return kind


def _is_at(burst: Burst, hz: float, off_hz: float) -> bool:
    longest = burst.longest
    return longest is not None and abs(longest.hz - hz) <= off_hz and bool(burst.lines) and burst.purity >= _LEAST_SHARE
