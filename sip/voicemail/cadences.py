"""Call progress tones by country: the table in `tones.toml`, and how well a burst's lines and a series of bursts fit a row.

Responsible for the patterns alone. When enough of a pattern was heard to say so is for `progress`.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources

from sip.voicemail.events import ToneKind
from sip.voicemail.measuring import Burst

LINE_HZ = 7.0
"""A line may be so far from the table's frequency."""

_SECOND_SHARE = 0.12  # of the first line's; less is no line of its own
_SWAY_SHARE = 0.02
_TOLERANCE_S, _TOLERANCE = 0.045, 0.06
_STRAYS_AFTER = 5


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row of the table."""

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
        first, second, third = burst.lines
        second_there = second.share >= _SECOND_SHARE * first.share
        if len(self.hz) == 2:
            low, high = sorted((first.hz, second.hz))
            off = max(abs(low - self.hz[0]), abs(high - self.hz[1]))
            return off if second_there and off <= LINE_HZ else None
        if self.sway_hz:
            return self._off_swaying((first.hz, second.hz, third.hz), (first.share, second.share, third.share))
        off = abs(first.hz - self.hz[0])
        return off if not second_there and off <= LINE_HZ else None

    def _off_swaying(self, hz: tuple[float, ...], shares: tuple[float, ...]) -> float | None:
        carrier, low, high = self.hz[0], self.hz[0] - self.sway_hz, self.hz[0] + self.sway_hz
        if abs(hz[0] - carrier) <= LINE_HZ and shares[2] >= _SWAY_SHARE * shares[0]:
            off = max(abs(min(hz[1:]) - low), abs(max(hz[1:]) - high))
        elif shares[1] >= _SECOND_SHARE * shares[0]:  # its carrier suppressed
            off = max(abs(min(hz[:2]) - low), abs(max(hz[:2]) - high))
        else:
            return None
        return off if off <= LINE_HZ else None

    def off_s(self, times: list[tuple[float, float]], *, first_is_whole: bool) -> float | None:
        """How far a series of bursts, (began, ended), is from this cadence, in seconds; None when it is another."""
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
        # From beginning to beginning is known best.
        skip = 0 if first_is_whole else 1
        period = (times[-1][0] - times[skip][0]) / (turns - skip)
        return 0.4 * min(fits) + abs(period - sum(self.cadence_s))

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
        if strays > (1 if len(measured) >= _STRAYS_AFTER else 0):
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
