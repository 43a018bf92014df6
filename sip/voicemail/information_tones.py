"""Special information tones: three rising tones before an announcement of the network, and what they say.

ITU-T E.180 has 950, 1,400 and 1,800 Hz of 330 ms each; Bellcore's (GR-1162) differ a little in frequency and length, and the
difference is the class. Lengths are measured against the third tone, which is always a long one.

    class  first   second (H: the higher frequency; S, L: short, long)
    IC     S       S
    VC     H L     S
    RO'    S       H L
    RO''   H S     L
    NC'    H L     H L
    NC''   L       L
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, replace

from sip.voicemail.measuring import Burst, Stretch

_BANDS_HZ = ((885.0, 1_015.0), (1_335.0, 1_465.0), (1_735.0, 1_865.0))
_CHANGE_S = 0.06  # shorter is the change from one tone to the next
_SHORTEST_S, _LONGEST_S = 0.1, 0.5  # lost packets take some of one
COMPLETE_WITHIN_S = 1.3
"""After a first tone, the other two have been heard so much later."""
_MOST_GAP_S = 0.14  # a gap of 30 ms, and lost packets beside it
_SAME_HZ = 25.0
_LOW_HIGH_HZ = ((913.8, 985.2), (1_370.6, 1_428.5))
_THIRD_HZ = 1_776.7
_CLASS_HZ = 14.0
_SHORT_S, _LONG_S = 0.274, 0.380
_LEAST_SCALE, _MOST_SCALE = 0.85, 1.06  # a third tone that is much too short has lost an end


@dataclass(frozen=True, slots=True)
class InformationTones:
    """All three, and their class: empty when they are not Bellcore's."""

    began_s: float
    ended_s: float
    frequencies_hz: tuple[float, float, float]
    class_: str


class InformationTonesDetector:
    """Puts stretches of one or several bursts together."""

    def __init__(self) -> None:
        self._latest: deque[Stretch] = deque(maxlen=3)

    def feed(self, burst: Burst) -> InformationTones | None:
        """The three tones when this burst, which is over, completes them."""
        found = None
        for stretch in burst.stretches:
            if stretch.duration_s < _CHANGE_S:
                continue
            last = self._latest[-1] if self._latest else None
            if last is not None and abs(last.hz - stretch.hz) <= _SAME_HZ and stretch.began_s - last.ended_s <= _MOST_GAP_S:
                self._latest.pop()
                longer = max(last, stretch, key=lambda part: part.duration_s)
                stretch = replace(longer, began_s=last.began_s, ended_s=stretch.ended_s)
            self._latest.append(stretch)
            if len(self._latest) == 3 and _are_in_order(*self._latest):
                first, second, third = self._latest
                frequencies = (first.hz, second.hz, third.hz)
                found = InformationTones(first.began_s, third.ended_s, frequencies, _class(first, second, third))
        return found

    @property
    def is_under_way(self) -> bool:
        """Whether what came last may be the first tone, or the first two."""
        tones = list(self._latest)
        return any(_are_in_order(*tones[-count:], begun=True) for count in (1, 2) if len(tones) >= count)

    @property
    def two_came(self) -> bool:
        """Whether what came last is the first two tones: no beep is like that."""
        return len(self._latest) >= 2 and _are_in_order(*list(self._latest)[-2:])


def _are_in_order(*tones: Stretch, begun: bool = False) -> bool:
    """The three tones, or the first of them; one that has only begun may be short."""
    bands = all(low <= tone.hz <= high for tone, (low, high) in zip(tones, _BANDS_HZ, strict=False))
    lengths = all((_CHANGE_S if begun else _SHORTEST_S) <= tone.duration_s <= _LONGEST_S for tone in tones)
    gaps = all(after.began_s - before.ended_s <= _MOST_GAP_S for before, after in itertools.pairwise(tones))
    return bands and lengths and gaps


def _class(first: Stretch, second: Stretch, third: Stretch) -> str:
    if abs(third.hz - _THIRD_HZ) > _CLASS_HZ:
        return ""
    highs: list[bool] = []
    for tone, (low, high) in zip((first, second), _LOW_HIGH_HZ, strict=True):
        if min(abs(tone.hz - low), abs(tone.hz - high)) > _CLASS_HZ:
            return ""
        highs.append(abs(tone.hz - high) < abs(tone.hz - low))
    # Frequencies say most, and no lost packet changes them; only two pairs of classes differ in their lengths alone.
    match highs:
        case [False, True]:
            return "RO'"
        case [True, True]:
            return "NC'"
        case [True, False]:
            return "VC" if first.duration_s > second.duration_s else "RO''"
        case _:
            scale = min(_MOST_SCALE, max(_LEAST_SCALE, _LONG_S / third.duration_s))
            return "NC''" if (first.duration_s + second.duration_s) * scale > _SHORT_S + _LONG_S else "IC"
