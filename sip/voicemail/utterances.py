"""Makes utterances of speech flags: where they begin, where they end, and the pauses between.

An utterance is speech without a pause of 200 ms; shorter pauses are closures and breaths inside words and sentences.
Audio that was lost ends nothing: it counts neither as speech nor as a pause while it lasts.
Knows neither levels nor tones, and nothing of who speaks.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

from sip.voicemail.activity import Sound
from sip.voicemail.framing import HOP_S

PAUSE_HOPS = 20
"""So much quiet ends an utterance: 200 ms."""
_ONSET_WINDOW_HOPS = 14
_ONSET_HOPS = 6
"""An utterance begins with 60 ms of speech in 140 ms: clicks are shorter, and noise that begins is known by then."""
_ONSET_WINDOW = (1 << _ONSET_WINDOW_HOPS) - 1
_ONSET_FIRST = 1 << _ONSET_WINDOW_HOPS - 1
"""The window as bits, the oldest hop the highest."""
_LOST_AT_MOST_HOPS = 50
"""Lost audio longer than 500 ms is a pause like any other: speech may have ended and begun in it."""
_KEPT = 48
"""Utterances that are remembered: more than fit into any time limit that a verdict has by default."""


@dataclass(slots=True)
class Utterance:
    """Hops of the stream, `until_hop` not included; it grows while `Utterances.speaking`."""

    from_hop: int
    until_hop: int

    @property
    def length_s(self) -> float:
        """Short pauses included."""
        return (self.until_hop - self.from_hop) * HOP_S


class Change(enum.Enum):
    """What a hop brought to light."""

    STARTED = "started"
    ENDED = "ended"


class Utterances:
    """The utterances of one stream, hop by hop."""

    def __init__(self) -> None:
        self.said: deque[Utterance] = deque(maxlen=_KEPT)
        """The last ones, oldest first."""
        self.speaking = False
        """The last of `said` is not over: no pause of 200 ms has followed it yet."""
        self.hops = 0
        """That were taken so far."""
        self._onset = 0
        self._quiet_hops = 0
        self._lost_hops = 0

    def take(self, sound: Sound) -> Change | None:
        """Take the next hop."""
        self.hops += 1
        if sound is Sound.LOST and self._lost_hops < _LOST_AT_MOST_HOPS:
            self._lost_hops += 1
            return None
        if sound is not Sound.LOST:
            self._lost_hops = 0
        if self.speaking:
            return self._go_on(spoken=sound is Sound.SPEECH)
        if sound is Sound.SPEECH:
            self._onset = self._onset << 1 & _ONSET_WINDOW | 1
        elif not self._onset or sound is Sound.NOISE:
            self._onset = 0
            return None
        else:
            self._onset = self._onset << 1 & _ONSET_WINDOW
        if not self._onset & _ONSET_FIRST or self._onset.bit_count() < _ONSET_HOPS:
            return None
        quiet_hops = (self._onset & -self._onset).bit_length() - 1
        self.said.append(Utterance(from_hop=self.hops - _ONSET_WINDOW_HOPS, until_hop=self.hops - quiet_hops))
        self.speaking = True
        self._quiet_hops = quiet_hops
        return Change.STARTED

    def _go_on(self, *, spoken: bool) -> Change | None:
        if spoken:
            self._quiet_hops = 0
            self.said[-1].until_hop = self.hops
            return None
        self._quiet_hops += 1
        if self._quiet_hops < PAUSE_HOPS:
            return None
        self.speaking = False
        self._onset = 0
        return Change.ENDED

    def cut(self) -> None:
        """Begin anew at this hop: what is being said counts from here on. For the moment of the answer."""
        if self.speaking:
            self.said[-1].until_hop = self.hops
        self.speaking = False
        self._onset = 0
        self._quiet_hops = self._lost_hops = 0
