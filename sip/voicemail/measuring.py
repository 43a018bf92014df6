"""One burst of tone, measured closely: its lines, how steady and how clean they are, what is around it.

Responsible for figures, in pure functions of a burst's hops and samples. Does not judge what a burst means.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sip.voicemail.framing import HOP_RATE_HZ, HOP_S, HOP_SAMPLES

LOWEST_HZ, HIGHEST_HZ = 350.0, 2_600.0
"""Where lines are looked for."""

GLIDE_HZ = 65.0
"""A frequency that moves further from one hop to the next has jumped, unless it has moved alike before or after."""
_SWEEP_HZ, _SWEEP_CHANGE_HZ = 220.0, 60.0
_SOFT = 6.0
_STANDS_OUT_DB = 4.0  # what neither begins nor ends with a change of level is no tone; its lines are not worth a transform
_LOST = 0.003  # of its level: a hop that a lost packet has emptied; no beat goes so low in 10 ms
_STRAYS = 0.2  # of a stretch's hops, at the edges of lost packets, do not count against its steadiness

_FINE_POINTS = 4_096
_FINE_HZ = HOP_RATE_HZ / _FINE_POINTS
_FINE_HOPS = 40
_FINE_LOW, _FINE_HIGH = round(200 / _FINE_HZ), round(3_600 / _FINE_HZ)
_UNDERTONES = (0.5, 1.5, 1 / 3, 2 / 3, 4 / 3, 0.75, 1.25)

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Line:
    """One frequency of a burst's fine spectrum."""

    hz: float
    share: float
    """Of the power between 200 and 3,600 Hz."""


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
    """Power at simple fractions of its frequency, where a voice has more harmonics, over its own; its second line left out."""
    coverage: float
    """Share of its hops that were tonal."""
    heard_before_s: float
    """How much sound that was no burst, at most 9 dB softer, came before it."""

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
    before = max(squares[max(0, first - 3) : first], default=0.0)
    rest = squares[after : after + 4]
    steady = [power for power in (track.powers[1:-1] if len(track.powers) > 4 else track.powers) if power > level / 4]
    rise_db = 10 * math.log10((level + 1) / (before + 1))
    fall_db = 10 * math.log10((level + 1) / (sum(rest) / len(rest) + 1)) if over and rest else 99.0
    lines: tuple[Line, ...] = ()
    undertone = 0.0
    if max(rise_db, fall_db) >= _STANDS_OUT_DB:
        lines, undertone = _lines(track, stretches, held, told_hop - held.size // HOP_SAMPLES, level)
    return Burst(
        began_s=(origin + began) * HOP_S,
        ended_s=(origin + ended) * HOP_S,
        told_hop=told_hop,
        over=over,
        from_start=origin + began < 1.5,
        mean_square=level,
        stretches=stretches,
        lines=lines,
        purity=median(track.shares),
        dual=sum(1 for hz in track.second_hz if hz) / len(track.hops),
        spread_db=_spread_db(steady),
        rise_db=rise_db,
        noise=_softest([*squares[max(0, first - 3) : first], *rest], level),
        fall_db=fall_db,
        undertone=undertone,
        coverage=min(1.0, len(track.hops) / (track.hops[-1] - track.hops[0] + 1)),
        heard_before_s=track.heard_before_s,
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


def _lines(
    track: Track, stretches: tuple[Stretch, ...], held: Samples, held_from_hop: int, level: float
) -> tuple[tuple[Line, ...], float]:
    """The fine spectrum's three lines, and the undertone."""
    longest = max(stretches, key=lambda stretch: stretch.ended_s - max(stretch.began_s, held_from_hop * HOP_S), default=None)
    if longest is None:
        return (), 0.0
    end = min(int(longest.ended_s / HOP_S + 1e-6), track.last_hop + 1, held_from_hop + held.size // HOP_SAMPLES)
    begin = max(math.ceil(longest.began_s / HOP_S - 1e-6), end - _FINE_HOPS, held_from_hop)
    begin, end = _without_gaps(track, begin, end, level)
    if end - begin < 3:
        return (), 0.0
    samples = held[(begin - held_from_hop) * HOP_SAMPLES : (end - held_from_hop) * HOP_SAMPLES].astype(np.float64)
    spectrum = np.fft.rfft((samples - samples.mean()) * np.hanning(samples.size), _FINE_POINTS)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    total = float(power[_FINE_LOW:_FINE_HIGH].sum()) + 1e-9
    half = math.ceil(2 * HOP_RATE_HZ / samples.size / _FINE_HZ)  # a Hann window's main lobe
    rest = power.copy()
    low, high = round(LOWEST_HZ / _FINE_HZ), round(HIGHEST_HZ / _FINE_HZ)
    lines = []
    for _ in range(3):
        peak = int(rest[low:high].argmax()) + low
        left, middle, right = (math.log(value + 1e-9) for value in rest[peak - 1 : peak + 2].tolist())
        bend = left - 2 * middle + right
        off = max(-0.5, min(0.5, (left - right) / (2 * bend))) if bend < 0 else 0.0
        lines.append(Line(hz=(peak + off) * _FINE_HZ, share=float(rest[peak - half : peak + half + 1].sum()) / total))
        rest[peak - half : peak + half + 1] = 0
    return tuple(lines), _undertone(power, lines, half)


def _undertone(power: Floats, lines: list[Line], half: int) -> float:
    peak = round(lines[0].hz / _FINE_HZ)
    main = float(power[peak - half : peak + half + 1].sum()) + 1e-9
    for line in lines[:2]:
        at = round(line.hz / _FINE_HZ)
        power[max(0, at - 2 * half) : at + 2 * half + 1] = 0
    most = 0.0
    for ratio in _UNDERTONES:
        at = round(peak * ratio)
        if _FINE_LOW <= at < _FINE_HIGH:
            most = max(most, float(power[max(0, at - half) : at + half + 1].sum()))
    return most / main


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
