"""Call progress tones by country: the table in `tones.toml`, and how well a burst's lines and a series of bursts fit a row.

Responsible for the patterns alone. When enough of a pattern was heard to say so is for `progress`.
"""

from __future__ import annotations

import functools
import itertools
import tomllib
from dataclasses import dataclass
from importlib import resources

from sip.voicemail.events import ToneKind
from sip.voicemail.lines import Line
from sip.voicemail.measuring import Burst

LINE_HZ = 7.0
"""A line may be so far from the table's frequency."""

_SECOND_SHARE = 0.12  # of the first line's; less is no line of its own
_SECOND_OF_TWO = 0.2  # two at once are as loud as each other, within 7 dB
_SWAY_SHARE, _SWAY_HZ = 0.04, 4.5
_ALIKE_SHARE = 0.4  # two sidebands without their carrier are as strong as each other, or nearly
_TOLERANCE_S, _TOLERANCE = 0.045, 0.06
_STRAYS_AFTER = 5
_BRIDGED_S, _BRIDGED = 0.2, 0.55
"""A pause within a burst up to so long, and to such a share of the row's shortest pause, is lost packets."""

Times = list[tuple[float, float]]
"""When bursts began and ended, in seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """One row of the table. There is one object for each row: it is equal to itself alone, and quick to look up."""

    kind: ToneKind
    countries: tuple[str, ...]
    hz: tuple[float, ...]
    sway_hz: float
    cadence_s: tuple[float, ...]

    @property
    def distinctive(self) -> bool:
        """Whether nothing but this tone sounds like it, even once: two lines, or one that sways."""
        return len(self.hz) > 1 or self.sway_hz > 0

    def off_hz(self, burst: Burst) -> float | None:
        """How far the burst's lines are from this row's; None when they are others."""
        if len(burst.lines) < 3:
            return None
        first = burst.lines[0]
        if self.sway_hz:
            return self._off_swaying(burst.lines)
        if min([abs(first.hz - hz) for hz in self.hz]) > LINE_HZ:
            return None  # the strongest line is one of the row's, or the row is another
        # What is closer is the same line, which a packet that was repeated out of phase has split.
        others = (line for line in burst.lines[1:] if abs(line.hz - first.hz) > burst.line_width_hz)
        least = _SECOND_SHARE if len(self.hz) == 1 else _SECOND_OF_TWO
        second = next((line for line in others if line.share >= least * first.share), None)
        if len(self.hz) == 1:
            off = abs(first.hz - self.hz[0])
            return off if second is None and off <= LINE_HZ else None
        if second is None:
            return None
        low, high = sorted((first.hz, second.hz))
        off = max(abs(low - self.hz[0]), abs(high - self.hz[1]))
        return off if off <= LINE_HZ else None

    def _off_swaying(self, lines: tuple[Line, ...]) -> float | None:
        carrier, low, high = self.hz[0], self.hz[0] - self.sway_hz, self.hz[0] + self.sway_hz
        first, second, third = lines
        if abs(first.hz - carrier) <= LINE_HZ and third.share >= _SWAY_SHARE * first.share:
            sides = (second.hz, third.hz)
        elif second.share >= _ALIKE_SHARE * first.share:  # its carrier suppressed
            sides = (first.hz, second.hz)
        else:
            return None
        off = max(abs(min(sides) - low), abs(max(sides) - high))
        return off if off <= _SWAY_HZ else None

    def bridged(self, times: Times) -> Times:
        """The bursts with the gaps closed that lost packets have torn into them, as far as this row has no such pauses."""
        most_s = min(_BRIDGED_S, _BRIDGED * min(self.cadence_s[1::2]))
        whole = times[:1]
        for began, ended in times[1:]:
            if began - whole[-1][1] <= most_s:
                whole[-1] = (whole[-1][0], ended)
            else:
                whole.append((began, ended))
        return whole

    def off_s(self, times: Times, *, first_is_whole: bool) -> float | None:
        """How far a series of bursts is from this cadence, in seconds; None when it is another.

        With three bursts and more, one in five lengths and pauses may be anything: its burst lost an end.
        """
        measured: list[float] = []
        for i, (began, ended) in enumerate(times):
            if i:
                measured.append(began - times[i - 1][1])
            measured.append(ended - began)
        rounds = [self._off_from(phase, measured, first_is_whole) for phase in range(0, len(self.cadence_s), 2)]
        fits = [off for off in rounds if off is not None]
        if not fits:
            return None
        turns = len(times) - 1
        if len(self.cadence_s) != 2 or not turns or not (first_is_whole or turns > 1):
            return min(fits)
        # From beginning to beginning, and from end to end, is known best; the middle one of them lost nothing.
        turns_s = sorted(
            [after[0] - before[0] for before, after in itertools.pairwise(times if first_is_whole else times[1:])]
            + [after[1] - before[1] for before, after in itertools.pairwise(times)]
        )
        period_s = (turns_s[(len(turns_s) - 1) // 2] + turns_s[len(turns_s) // 2]) / 2
        return 0.4 * min(fits) + abs(period_s - sum(self.cadence_s))

    def _off_from(self, phase: int, measured: list[float], first_is_whole: bool) -> float | None:
        total, strays = 0.0, 0
        for i, length in enumerate(measured):
            expected = self.cadence_s[(phase + i) % len(self.cadence_s)]
            most = _TOLERANCE_S + _TOLERANCE * expected
            off = abs(length - expected)
            if i == 0 and not first_is_whole:
                off = max(0.0, length - expected)
            if off > most:
                strays += 1
                off = most
            total += off
        if strays > len(measured) // _STRAYS_AFTER:
            return None
        return total / len(measured)


@functools.cache
def patterns() -> tuple[Pattern, ...]:
    """All rows of `tones.toml`."""
    table = tomllib.loads(resources.files("sip.voicemail").joinpath("tones.toml").read_text(encoding="utf-8"))
    return tuple(
        Pattern(
            kind=ToneKind(row["kind"]),
            countries=tuple(row["countries"]),
            hz=tuple(float(hz) for hz in row["hz"]),
            sway_hz=float(row.get("sway_hz", 0)),
            cadence_s=tuple(float(length) for length in row["cadence_s"]),
        )
        for row in table["tone"]
    )
