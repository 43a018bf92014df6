"""All tones of one stream: finds bursts, asks each detector what they are, and says so once.

Responsible for the order in which detectors are asked, and for which hops are tone and so never speech. Knows nothing of
speech or verdicts. A tone's `told_s` is the end of the last hop that was needed to tell it, however the
stream is cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sip.voicemail import dtmf
from sip.voicemail.beeps import beep_in
from sip.voicemail.bursts import LAG_HOPS, BurstFinder
from sip.voicemail.events import Tone, ToneKind
from sip.voicemail.fax import ANSWERS_WITHIN_S, CNG_REPEATS_WITHIN_S, FaxDetector
from sip.voicemail.framing import HOP_S, Hops
from sip.voicemail.information_tones import COMPLETE_WITHIN_S, InformationTonesDetector
from sip.voicemail.measuring import Burst
from sip.voicemail.progress import SPOKEN_S, ProgressDetector
from sip.voicemail.spectrum import Flags, Spectra, level_dbm0

__all__ = ["LAG_HOPS", "ToneDetector"]

_OTHER_S, _OTHER_PURITY, _OTHER_WOBBLE_HZ = 2.5, 0.85, 12.0
_OTHER_ONE_STRETCH = 0.8  # music has more notes
_SAME_BEEP_S, _SAME_BEEP_HZ = 0.15, 15.0
_TWO_AT_ONCE, _SECOND_SHARE = 0.5, 0.08
_SWEEP_HZ = 60.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A beep that may be the beginning of a fax's or of the information tones."""

    tone: Tone
    until_hop: int


class ToneDetector:
    """Tells the tones of one stream."""

    def __init__(self) -> None:
        self._finder = BurstFinder()
        self._information_tones = InformationTonesDetector()
        self._progress = ProgressDetector()
        self._fax = FaxDetector()
        self._hop = 0
        self._told_while_open = False
        self._held: _Held | None = None
        self._last_beep: Tone | None = None
        self._is_tone: Flags = np.zeros(0, np.bool_)
        self._marked: list[tuple[int, int]] = []

    @property
    def is_tone(self) -> Flags:
        """Whether hops are part of a tone: as many as were last fed, each one LAG_HOPS before them. False before the stream."""
        return self._is_tone

    def feed(self, hops: Hops, spectra: Spectra) -> list[Tone]:
        """The tones that these hops, (n, 80), and their spectra tell, in order."""
        tones: list[Tone] = []
        for burst in self._finder.feed(hops, spectra):
            self._let_go(burst.told_hop, tones)
            tones += self._read(burst)
        self._hop += hops.shape[0]
        self._let_go(self._hop, tones)
        self._is_tone = self._flags(hops.shape[0])
        return tones

    def _let_go(self, hop: int, tones: list[Tone]) -> None:
        if self._held is not None and self._held.until_hop <= hop:
            tones.append(self._held.tone)
            self._held = None

    def _read(self, burst: Burst) -> list[Tone]:
        if self._told_while_open:
            self._told_while_open = not burst.over
            if burst.over:
                self._progress.feed(burst)
            return []
        tones = self._signals(burst)
        if tones:
            self._told_while_open = not burst.over
            self._mark(burst)
        return tones

    def _signals(self, burst: Burst) -> list[Tone]:
        """In order of how sure each is to be right about a burst that two of them could claim."""
        if self._fax.goes_on(burst):
            self._mark(burst)
            return []
        answering = self._fax.answering(burst)
        if answering is not None:
            self._held = None
            return [_tone(answering, burst)]
        if burst.over:
            key = dtmf.key(burst)
            if key:
                return [_tone(ToneKind.DTMF, burst, detail=key)]
            three = self._information_tones.feed(burst)
            if three is not None:
                self._held = None
                return [_tone(ToneKind.SIT, burst, three.began_s, three.ended_s, three.frequencies_hz, three.class_)]
        recognised, is_networks = self._progress.feed(burst)
        if is_networks:
            self._mark(burst)
            return [
                _tone(progress.kind, burst, progress.began_s, progress.ended_s, detail=",".join(progress.countries))
                for progress in recognised
            ]
        return self._beep(burst) if burst.over else self._other(burst)

    def _beep(self, burst: Burst) -> list[Tone]:
        found = beep_in(burst)
        if found is None:
            return []
        burst = found
        last = self._last_beep
        beep = _tone(ToneKind.BEEP, burst)
        if last is not None and burst.began_s - last.ended_s <= _SAME_BEEP_S:
            off_hz = abs(beep.frequencies_hz[0] - last.frequencies_hz[0])
            if off_hz <= _SAME_BEEP_HZ:
                return []
        if self._fax.may_be_cng(burst):
            before_s = self._fax.repeats(burst)
            if before_s is not None:
                self._held = None
                return [_tone(ToneKind.FAX_CNG, burst, before_s)]
        wait_s = self._wait_s(burst)
        if wait_s:
            until_hop = math.ceil((burst.ended_s + wait_s) / HOP_S)
            self._held = _Held(replace(beep, told_s=until_hop * HOP_S), until_hop)
            self._mark(burst)
            return []
        self._last_beep = beep
        return [beep]

    def _wait_s(self, burst: Burst) -> float:
        """How long to wait before a beep is told that may be the beginning of something else; 0 after a greeting."""
        if self._information_tones.two_came:
            return COMPLETE_WITHIN_S
        if burst.heard_before_s >= SPOKEN_S:
            return 0.0
        if self._fax.may_be_cng(burst):
            return CNG_REPEATS_WITHIN_S
        if self._fax.may_be_answer(burst):
            return ANSWERS_WITHIN_S
        return COMPLETE_WITHIN_S if self._information_tones.is_under_way else 0.0

    def _other(self, burst: Burst) -> list[Tone]:
        longest = burst.longest
        steady = longest is not None and longest.wobble_hz <= _OTHER_WOBBLE_HZ and burst.purity >= _OTHER_PURITY
        steady = steady and longest is not None and longest.duration_s >= _OTHER_ONE_STRETCH * burst.duration_s
        return [_tone(ToneKind.OTHER, burst)] if steady and burst.duration_s >= _OTHER_S else []

    def _mark(self, burst: Burst) -> None:
        begin, end = int(burst.began_s / HOP_S), math.ceil(burst.ended_s / HOP_S)
        self._marked.append((max(begin, burst.told_hop - LAG_HOPS), end))

    def _flags(self, count: int) -> Flags:
        first = self._hop - count - LAG_HOPS
        flags = np.zeros(count, np.bool_)
        steady = self._finder.steady
        if not steady and not self._marked:
            return flags
        for begin, end in (*steady, *self._marked):
            flags[max(0, begin - first) : max(0, end + 1 - first)] = True
        oldest = first + count
        # The last one may still grow; one before it may have ended so lately that its hops are asked for next time.
        steady[:-1] = [one for one in steady[:-1] if one[1] >= oldest]
        self._marked = [(begin, end) for begin, end in self._marked if end >= oldest]
        return flags


def _tone(
    kind: ToneKind,
    burst: Burst,
    began_s: float | None = None,
    ended_s: float | None = None,
    frequencies_hz: tuple[float, ...] | None = None,
    detail: str = "",
) -> Tone:
    """A tone that this burst completes; it began and ended with it unless told otherwise."""
    return Tone(
        kind=kind,
        began_s=burst.began_s if began_s is None else began_s,
        ended_s=burst.ended_s if ended_s is None else ended_s,
        told_s=burst.told_hop * HOP_S,
        frequencies_hz=_frequencies(burst) if frequencies_hz is None else frequencies_hz,
        level_dbm0=level_dbm0(burst.mean_square),
        detail=detail,
    )


def _frequencies(burst: Burst) -> tuple[float, ...]:
    """Of a sweep from and to, of stretches in turn, of lines at once ascending, of a single tone its only one."""
    longest = burst.longest
    if longest is None or not burst.lines:
        return ()
    first, second = burst.lines[0], burst.lines[1]
    if burst.dual >= _TWO_AT_ONCE and second.share >= _SECOND_SHARE * first.share:
        return tuple(sorted((first.hz, second.hz)))
    if longest.glide_hz >= _SWEEP_HZ:
        return longest.from_hz, longest.to_hz
    if len(burst.stretches) == 2:
        return tuple(stretch.hz for stretch in burst.stretches)
    return (first.hz,)
