"""Ringback, busy and reorder: bursts whose lines and cadence are those of a country's network.

Responsible for saying when enough of a cadence was heard. Two lines at once, or one that sways, are told by one burst, cut
off or not; one steady line needs its cadence, because a beep may have the same frequency.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sip.voicemail.cadences import Pattern, Times, patterns
from sip.voicemail.events import ToneKind
from sip.voicemail.measuring import Burst

SPOKEN_S = 0.3
"""With less sound before it, one burst at a network's frequency is the rest of a ringback rather than a beep."""

_LOWEST_HZ, _HIGHEST_HZ = 360.0, 640.0  # of the strongest line; no network's is outside
_RUN_ENDS_AFTER_S = 8.0
_MOST_BURSTS = 8
_ALONE_S = 0.25
_LONG_RING_S = 0.9
_CLEAN_SHARE, _CLEAN_PURITY, _CLEAN_WOBBLE_HZ, _ONE_STRETCH = 0.72, 0.72, 30.0, 0.8
_MOST_UNDERTONE, _LEAST_FALL_DB = 0.06, 4.0
_NEAR_HZ = 18.0
_HZ_WEIGHT_S = 0.001
_ALIKE_S = 0.015
_CLEAR_S = 0.011
_SURE_BURSTS = 4
_LONG_CADENCE = 4  # elements; of a longer one, whose parts are short, a whole round is needed


@dataclass(frozen=True, slots=True)
class Progress:
    """A call progress tone, recognised."""

    kind: ToneKind
    countries: tuple[str, ...]
    began_s: float
    ended_s: float


@dataclass(slots=True)
class _Run:
    """Bursts of one tone."""

    rows: dict[Pattern, float]
    """Those that the lines fit, and by how many Hz they are off."""
    first_is_whole: bool
    times: Times = field(default_factory=list)
    told: ToneKind | None = None
    heard_s: float = 0.0
    """How much was heard before its latest burst."""

    def may_go_on(self, burst: Burst) -> bool:
        """Whether a burst comes soon enough after the last one, and nothing was said in between."""
        return burst.began_s - self.times[-1][1] <= _RUN_ENDS_AFTER_S and burst.heard_before_s - self.heard_s < SPOKEN_S

    def is_near(self, hz: float) -> bool:
        """Whether this is the frequency of one of its rows' lines, give or take what a bad line does."""
        return any(abs(hz - line) <= _NEAR_HZ for row in self.rows for line in row.hz)


class ProgressDetector:
    """Follows one stream's bursts at the networks' frequencies."""

    def __init__(self) -> None:
        self._run: _Run | None = None

    def feed(self, burst: Burst) -> tuple[list[Progress], bool]:
        """What this burst, or a look at it, tells anew; and whether it is a network's and so no beep."""
        if not burst.lines or not _LOWEST_HZ <= burst.lines[0].hz <= _HIGHEST_HZ:
            return [], False
        rows = {row: off for row, off in ((row, row.off_hz(burst)) for row in patterns()) if off is not None}
        run = self._run
        may_go_on = run is not None and run.may_go_on(burst)
        goes_on = run is not None and may_go_on and bool(run.rows.keys() & rows.keys())
        if not rows or not (goes_on or _is_clean(burst)):
            # Two lines of a network, through noise, are no beep, and neither is a tone that was told and goes on, torn.
            torn = run is not None and may_go_on and run.told is not None and run.is_near(burst.lines[0].hz)
            return [], torn or any(len(row.hz) > 1 for row in rows)
        if run is None or not goes_on:
            run = _Run(rows=rows, first_is_whole=not burst.from_start)
        else:
            run.rows = {row: min(off, run.rows[row]) for row, off in rows.items() if row in run.rows}
        run.heard_s = burst.heard_before_s
        times = [*run.times, (burst.began_s, burst.ended_s)][-_MOST_BURSTS:]
        if len(run.times) == _MOST_BURSTS:
            run.first_is_whole = True
        told = self._recognised(run, times, burst)
        if burst.over:
            run.times = times
            self._run = run
        if told is not None:
            run.times = times
            self._run = run
            if not burst.over:
                run.times = run.times[:-1] or [(burst.began_s, burst.began_s)]
        return ([] if told is None else [told]), self._is_networks(run, burst)

    def _recognised(self, run: _Run, times: Times, burst: Burst) -> Progress | None:
        fits: list[tuple[float, Pattern]] = []
        if burst.over:
            for row, off_hz in run.rows.items():
                whole = row.bridged(times)
                off_s = row.off_s(whole, first_is_whole=run.first_is_whole)
                if off_s is not None and len(whole) >= _bursts_needed(row, run.first_is_whole):
                    fits.append((off_s + off_hz * _HZ_WEIGHT_S, row))
        if not fits:
            return self._by_lines(run, times, burst)
        least, best = min(fits, key=lambda fit: fit[0])
        others = [off for off, row in fits if row.kind is not best.kind]
        if others and min(others) - least < _CLEAR_S and len(times) < _SURE_BURSTS:
            return None
        if run.told is not None and len(times) < _MOST_BURSTS:
            return None  # a burst that lost an end must not turn one kind into another
        return self._told(run, times, best.kind, [row for off, row in fits if off <= least + _ALIKE_S])

    def _by_lines(self, run: _Run, times: Times, burst: Burst) -> Progress | None:
        alone = [row for row in run.rows if row.distinctive and row.kind is ToneKind.RINGBACK]
        if run.told is not None or not alone or times[-1][1] - times[-1][0] < _ALONE_S or not _stands_alone(burst):
            return None
        return self._told(run, times, ToneKind.RINGBACK, alone)

    def _told(self, run: _Run, times: Times, kind: ToneKind, rows: list[Pattern]) -> Progress | None:
        if run.told is kind:
            return None
        run.told = kind
        countries = tuple(dict.fromkeys(country for row in rows if row.kind is kind for country in row.countries))
        return Progress(kind=kind, countries=countries, began_s=times[0][0], ended_s=times[-1][1])

    def _is_networks(self, run: _Run, burst: Burst) -> bool:
        if run.told is not None or burst.heard_before_s < SPOKEN_S or len(run.times) > 2:
            return True
        return any(row.distinctive for row in run.rows)


def _is_clean(burst: Burst) -> bool:
    longest = burst.longest
    return (
        longest is not None
        and burst.first_share + sum(_others(burst)) >= _CLEAN_SHARE
        and burst.purity >= _CLEAN_PURITY
        and longest.wobble_hz <= _CLEAN_WOBBLE_HZ
        and longest.duration_s >= _ONE_STRETCH * burst.duration_s
    )


def _others(burst: Burst) -> list[float]:
    """Shares of the lines that are none of the strongest one's pieces."""
    return [line.share for line in burst.lines[1:] if abs(line.hz - burst.lines[0].hz) > burst.line_width_hz]


def _stands_alone(burst: Burst) -> bool:
    """Whether a burst that has two lines has nothing else, and stops as a tone does: a vowel between others does not."""
    return burst.undertone <= _MOST_UNDERTONE and burst.fall_db >= _LEAST_FALL_DB


def _bursts_needed(row: Pattern, first_is_whole: bool) -> int:
    if row.kind is ToneKind.RINGBACK and (row.distinctive or row.cadence_s[0] >= _LONG_RING_S):
        return 1 if first_is_whole else 2
    return (2 if len(row.cadence_s) <= _LONG_CADENCE else len(row.cadence_s) // 2) + (0 if first_is_whole else 1)
