"""One burst of tone, measured closely: its lines, how steady and how clean they are, what is around it.

Responsible for figures, in pure functions of a burst's hops and samples. Does not judge what a burst means.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass, field

from sip.voicemail.framing import HOP_S, HOP_SAMPLES, Samples
from sip.voicemail.lines import MOST_SAMPLES, NO_LINES, Line, Lines, lines_of

GLIDE_HZ = 65.0
"""A frequency that moves further from one hop to the next has jumped, unless it has moved alike before or after."""
_SWEEP_HZ, _SWEEP_CHANGE_HZ = 220.0, 60.0
_SOFT = 6.0
_STANDS_OUT_DB = 2.5  # what neither begins nor ends with a change of level is no tone; its lines are not worth a transform
_LOST = 0.003  # of its level: a hop that a lost packet has emptied; no beat goes so low in 10 ms
_STRAYS = 0.2  # of a stretch's hops, at the edges of lost packets, do not count against its steadiness

_CORE_S, _CORE_HOPS, _CORE_WOBBLE_HZ, _CORE_LOUDER = 0.15, 10, 3.0, 1.0

BEFORE_HOPS = 15
"""So many hops before a burst are looked at: 150 ms."""

_FINE_HOPS = MOST_SAMPLES // HOP_SAMPLES


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a burst whose frequency does not jump; it may glide."""

    began_s: float
    ended_s: float
    hz: float
    """Median."""
    from_hz: float
    to_hz: float
    wobble_hz: float
    """Root mean square distance from a straight glide, of the closest four fifths."""

    @property
    def glide_hz(self) -> float:
        """How far its frequency goes."""
        return abs(self.to_hz - self.from_hz)

    @property
    def duration_s(self) -> float:
        """From its beginning to its end, to 10 ms."""
        return self.ended_s - self.began_s


@dataclass(frozen=True, slots=True)
class Burst:
    """One stretch of tone, measured."""

    began_s: float
    ended_s: float
    told_hop: int
    """The first hop that is not needed to know all this."""
    over: bool
    """False for a look at one that goes on."""
    from_start: bool
    """Whether it was there when the stream began."""
    mean_square: float
    """Median over its hops."""
    stretches: tuple[Stretch, ...]
    """Those of 30 ms and more, in order of time."""
    lines: tuple[Line, ...]
    """Strongest first, three, of the last 0.4 s of its longest stretch; none when it does not stand out from its neighbours."""
    line_width_hz: float
    first_share: float
    """These two: as in Lines."""
    purity: float
    """Median share of the one or two best peaks in a window of 32 ms."""
    dual: float
    """Share of its hops with two peaks."""
    spread_db: float
    """Of its level from hop to hop, lost packets left out."""
    rise_db: float
    """From the 30 ms before it to its own level."""
    fall_db: float
    """From its own level to the 40 ms after it."""
    noise: float
    """Power of the softest 10 ms just before and after it, lost packets left out, over its own."""
    undertone: float
    """As in Lines."""
    coverage: float
    """Share of its hops that were tonal."""
    heard_before_s: float
    """How much sound that was no burst, at most 9 dB softer, came before it."""
    softer_db: float
    """How far it stays below the loudest 0.3 s of that sound; 0 when it does not."""
    beside: float
    """The greatest power from 150 to 30 ms before it, over its own."""
    core: Burst | None = None
    """A long steady part of it that something else, as soft or softer, came before; measured for itself."""

    @property
    def duration_s(self) -> float:
        """From its beginning to its end."""
        return self.ended_s - self.began_s

    @property
    def longest(self) -> Stretch | None:
        """The longest of its stretches."""
        return max(self.stretches, key=lambda stretch: stretch.duration_s, default=None)


@dataclass(slots=True)
class Track:
    """A burst that goes on: what each of its tonal hops showed, up to a limit."""

    before: list[float]
    """Mean squares of the hops just before the first tonal one."""
    heard_before_s: float = 0.0
    loudest_before: float = 0.0
    """Power that 0.3 s of the sound before it reached; 0: there was not so much."""
    hops: list[int] = field(default_factory=list)
    hz: list[float] = field(default_factory=list)
    second_hz: list[float] = field(default_factory=list)
    """0 where there was no second peak."""
    shares: list[float] = field(default_factory=list)
    powers: list[float] = field(default_factory=list)
    mean_squares: list[float] = field(default_factory=list)
    """Of all hops since the first tonal one, tonal or not."""
    last_hop: int = 0
    level: float = 0.0
    """The greatest power of late."""
    steady: bool = False
    """Whether it is taken for a tone before it is over."""

    def begins_anew(self, power: float) -> bool:
        """Whether all that was seen so far was but a softer sound before a tone of this power: music, babble, its own edge."""
        return power > _SOFT * self.level

    def add(self, hop: int, hz: float, share: float, second_hz: float, second_share: float, power: float) -> None:
        """One more tonal hop. Of two peaks, the one that goes on from the last hop counts as the first."""
        two = second_share >= 0.1 * share
        if two and self.hz:
            last = self.hz[-1]
            if abs(hz - last) > GLIDE_HZ >= abs(second_hz - last):
                hz, second_hz = second_hz, hz
        self.hops.append(hop)
        self.hz.append(hz)
        self.second_hz.append(second_hz if two else 0.0)
        self.shares.append(share + second_share if two else share)
        self.powers.append(power * (1 + second_share / share) if two else power)


def median(values: list[float]) -> float:
    """The upper median; lists here are short, and this is quicker than an array."""
    return sorted(values)[len(values) // 2]


def measured(track: Track, *, held: Samples, told_hop: int, over: bool) -> Burst:
    """A track's figures. `held` are the stream's latest samples up to `told_hop`; they may begin later than the track."""
    level = median(track.powers)
    squares = track.before + track.mean_squares
    origin = track.hops[0] - len(track.before)
    last = min(track.last_hop - origin, len(squares) - 1)
    began, ended = _edges(squares, len(track.before), last, level)
    if not over:
        ended = float(told_hop - origin)
    stretches = _stretches(track, origin + began, origin + ended)
    first, after = int(began + 1e-6), math.ceil(ended - 1e-6) + 1
    beside = max(squares[max(0, first - BEFORE_HOPS) : max(0, first - 3)], default=0.0)
    before = max(squares[max(0, first - 3) : first], default=0.0)
    rest = squares[after : after + 4]
    steady = [power for power in (track.powers[1:-1] if len(track.powers) > 4 else track.powers) if power > level / 4]
    rise_db = 10 * math.log10((level + 1) / (before + 1))
    fall_db = 10 * math.log10((level + 1) / (sum(rest) / len(rest) + 1)) if over and rest else 99.0
    core = _core(track, stretches) if over else None
    lines = NO_LINES
    if max(rise_db, fall_db) >= _STANDS_OUT_DB:
        lines = _lines(track, stretches, held, told_hop - held.size // HOP_SAMPLES, level)
    return Burst(
        began_s=(origin + began) * HOP_S,
        ended_s=(origin + ended) * HOP_S,
        told_hop=told_hop,
        over=over,
        from_start=origin + began < 1.5,
        mean_square=level,
        stretches=stretches,
        lines=lines.strongest,
        line_width_hz=lines.width_hz,
        first_share=lines.first_share,
        purity=median(track.shares),
        dual=sum(1 for hz in track.second_hz if hz) / len(track.hops),
        spread_db=_spread_db(steady),
        rise_db=rise_db,
        noise=_softest([*squares[max(0, first - 3) : first], *rest], level),
        fall_db=fall_db,
        undertone=lines.undertone,
        coverage=min(1.0, len(track.hops) / (track.hops[-1] - track.hops[0] + 1)),
        heard_before_s=track.heard_before_s,
        softer_db=max(0.0, 10 * math.log10((track.loudest_before + 1) / (level + 1))),
        beside=beside / (level + 1),
        core=None if core is None else measured(core, held=held, told_hop=told_hop, over=over),
    )


def _core(track: Track, stretches: tuple[Stretch, ...]) -> Track | None:
    """Of a burst in pieces, a tone of its own that the pieces before it but led to."""
    steady = [one for one in stretches[1:] if one.duration_s >= _CORE_S and one.wobble_hz <= _CORE_WOBBLE_HZ]
    if not steady:
        return None
    longest = max(steady, key=lambda stretch: stretch.duration_s)
    hops = range(math.ceil(longest.began_s / HOP_S - 1e-6), math.ceil(longest.ended_s / HOP_S - 1e-6))
    begin, end = bisect.bisect_left(track.hops, hops.start), bisect.bisect_left(track.hops, hops.stop)
    if end - begin < _CORE_HOPS or median(track.powers[begin:end]) < _CORE_LOUDER * median(track.powers[:begin]):
        return None
    since = track.hops[begin] - track.hops[0]
    return Track(
        before=(track.before + track.mean_squares[:since])[-BEFORE_HOPS:],
        heard_before_s=track.heard_before_s,
        loudest_before=track.loudest_before,
        hops=track.hops[begin:end],
        hz=track.hz[begin:end],
        second_hz=track.second_hz[begin:end],
        shares=track.shares[begin:end],
        powers=track.powers[begin:end],
        mean_squares=track.mean_squares[since:],
        last_hop=track.hops[end - 1],
    )


def _spread_db(powers: list[float]) -> float:
    if not powers:
        return 99.0
    levels = [10 * math.log10(power + 1) for power in powers]
    mean = sum(levels) / len(levels)
    return math.sqrt(sum((level - mean) ** 2 for level in levels) / len(levels))


def _softest(squares: list[float], level: float) -> float:
    there = [square for square in squares if square > _LOST * level]
    return min(1.0, min(there) / level) if there and level > 0 else 0.0


def _edges(squares: list[float], first: int, last: int, level: float) -> tuple[float, float]:
    """Where the tone began and ended, in hops from the first of `squares`, to a fraction, by its edges' energy."""
    half = level / 2
    begin = first
    while begin > 0 and first - begin < 3 and squares[begin - 1] >= half:
        begin -= 1
    while begin < last and squares[begin] < half:
        begin += 1
    part = min(1.0, squares[begin - 1] / level) if begin > 0 and squares[begin - 1] < half else 0.0
    end = last
    while end > begin and squares[end] < half:
        end -= 1
    over = squares[end + 1] / level if end + 1 < len(squares) else 0.0
    return begin - part, end + 1 + (over if over < 0.5 else 0.0)


def _stretches(track: Track, began: float, ended: float) -> tuple[Stretch, ...]:
    hz, hops = track.hz, track.hops
    steps = [b - a for a, b in itertools.pairwise(hz)]
    starts = [0]
    for i, step in enumerate(steps):
        if abs(step) <= GLIDE_HZ:
            continue
        alike = [steps[j] for j in (i - 1, i + 1) if 0 <= j < len(steps)]
        if abs(step) > _SWEEP_HZ or all(abs(step - other) > _SWEEP_CHANGE_HZ for other in alike):
            starts.append(i + 1)
    found = []
    for begin, end in zip(starts, [*starts[1:], len(hz)], strict=True):
        if end - begin < 3:
            continue
        # A window at an edge is half full: it counts for time, not for frequency.
        inner = slice(begin + 1, end - 1) if end - begin >= 6 else slice(begin, end)
        # A jump is seen when the newer tone holds half of the window, 16 ms late.
        began_s = began * HOP_S if begin == 0 else (hops[begin] - 0.6) * HOP_S
        ended_s = ended * HOP_S if end == len(hz) else (hops[end] - 0.6) * HOP_S
        if ended_s <= began_s:
            continue
        slope, from_hz, wobble = _straight(hops[inner], hz[inner])
        to_hz = from_hz + slope * (hops[inner][-1] - hops[inner][0])
        found.append(Stretch(began_s, ended_s, hz=median(hz[inner]), from_hz=from_hz, to_hz=to_hz, wobble_hz=wobble))
    return tuple(found)


def _straight(hops: list[int], hz: list[float]) -> tuple[float, float, float]:
    """Least squares: Hz a hop, Hz at the first hop, root mean square distance of most."""
    n = len(hops)
    mean_hop, mean_hz = sum(hops) / n, sum(hz) / n
    across = sum((hop - mean_hop) ** 2 for hop in hops)
    slope = sum((hop - mean_hop) * f for hop, f in zip(hops, hz, strict=True)) / across if across else 0.0
    start = mean_hz + slope * (hops[0] - mean_hop)
    off = sorted((f - start - slope * (hop - hops[0])) ** 2 for hop, f in zip(hops, hz, strict=True))
    kept = n - int(_STRAYS * n)
    return slope, start, math.sqrt(sum(off[:kept]) / kept)


def _lines(track: Track, stretches: tuple[Stretch, ...], held: Samples, held_from_hop: int, level: float) -> Lines:
    """Of the last 0.4 s of the longest stretch."""
    longest = max(stretches, key=lambda stretch: stretch.ended_s - max(stretch.began_s, held_from_hop * HOP_S), default=None)
    if longest is None:
        return NO_LINES
    end = min(int(longest.ended_s / HOP_S + 1e-6), track.last_hop + 1, held_from_hop + held.size // HOP_SAMPLES)
    begin = max(math.ceil(longest.began_s / HOP_S - 1e-6), end - _FINE_HOPS, held_from_hop)
    begin, end = _without_gaps(track, begin, end, level)
    if end - begin < 3:
        return NO_LINES
    return lines_of(held[(begin - held_from_hop) * HOP_SAMPLES : (end - held_from_hop) * HOP_SAMPLES])


def _without_gaps(track: Track, begin: int, end: int, level: float) -> tuple[int, int]:
    """The longest part between lost packets, its edges taken off when it is long enough."""
    first = track.hops[0] - len(track.before)
    squares = track.before + track.mean_squares
    best = start = begin, begin
    for hop in range(begin, end):
        at = hop - first
        there = not 0 <= at < len(squares) or squares[at] > level * _LOST
        start = (start[0], hop + 1) if there else (hop + 1, hop + 1)
        if start[1] - start[0] > best[1] - best[0]:
            best = start
    return (best[0] + 1, best[1] - 1) if best[1] - best[0] >= 6 else best
