"""When a callee may be called: the window that is open now, or the next one.

A moment is open when the callee's wall clock shows a time within one of the weekday's spans. So an interval that begins in the
hour that daylight saving skips begins at its end, and one whose minutes come twice is open both times they are shown. Where the
callee may be in several time zones, or in several regions with different hours, it must be open in all of them.

Pure: a moment, weeks and zones in, UTC out. Knows neither numbers nor the database.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from orchestrator.hours import Week

DAY_S = 24 * 60 * 60
LOOK_BACK = timedelta(days=1)
"""A window that opened earlier is said to have opened then."""
LONGEST = timedelta(days=8)
"""A window that is open longer is cut, and found again when it closes."""
LOOK_AHEAD = timedelta(days=370)
_STRIDE = timedelta(days=30)

Interval = tuple[int, int]
"""Seconds since 1970, UTC: from, until."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which the callee may be called, UTC."""

    opens_at: datetime
    closes_at: datetime
    """The first moment at which it is closed."""

    def holds(self, moment: datetime) -> bool:
        """Whether it is open at the moment."""
        return self.opens_at <= moment < self.closes_at


NEVER_CLOSED = Window(opens_at=datetime(2000, 1, 1, tzinfo=UTC), closes_at=datetime(9999, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class LocalWeek:
    """Hours by the clock of one place."""

    week: Week
    zone: str
    """IANA name."""
    closed: Container[date] = frozenset()
    """Days of the place's calendar that are closed: its holidays."""


def window_at(now: datetime, places: Sequence[LocalWeek]) -> Window | None:
    """The window that holds now, else the next one, in which all these places are open.

    None: nothing opens within 370 days. An opening earlier than a day ago is given as a day ago, and a window of more than
    eight days is cut. Raises ZoneInfoNotFoundError, ValueError for a name that is no zone. Without places, nothing ever closes.
    """
    if not places:
        return NEVER_CLOSED
    start, last = now - LOOK_BACK, now + LOOK_AHEAD
    end = now + LONGEST
    while start < last:
        for opens_s, closes_s in _open_in_all(places, start, end):
            if closes_s > now.timestamp():
                return _whole(places, _moment(opens_s), _moment(closes_s), end)
        start, end = end, end + _STRIDE
    return None


def _whole(places: Sequence[LocalWeek], opens_at: datetime, closes_at: datetime, seen_until: datetime) -> Window:
    """The window with its true end, if that lies beyond what was looked at."""
    if closes_at >= seen_until - timedelta(seconds=1):
        closes_at = _moment(next(iter(_open_in_all(places, opens_at, opens_at + LONGEST)))[1])
    return Window(opens_at=opens_at, closes_at=closes_at)


def _open_in_all(places: Sequence[LocalWeek], start: datetime, end: datetime) -> list[Interval]:
    """The intervals in which all are open, between the two moments."""
    common = list(_open(places[0], start, end))
    for place in places[1:]:
        if not common:
            break
        common = list(_intersection(common, list(_open(place, start, end))))
    return common


def _open(place: LocalWeek, start: datetime, end: datetime) -> Iterator[Interval]:
    """The intervals in which one place is open, in order; what touches is one."""
    zone = ZoneInfo(place.zone)
    pending: Interval | None = None
    for from_s, until_s, offset_s in _stretches(zone, _seconds(start), _seconds(end)):
        for opens_s, closes_s in _shown(place, from_s + offset_s, until_s + offset_s):
            interval = (opens_s - offset_s, closes_s - offset_s)
            if pending and pending[1] == interval[0]:
                pending = (pending[0], interval[1])
                continue
            if pending:
                yield pending
            pending = interval
    if pending:
        yield pending


def _shown(place: LocalWeek, from_s: int, until_s: int) -> Iterator[Interval]:
    """The open intervals of a clock that runs evenly from one reading to another, as seconds of that clock."""
    for day in range(from_s // DAY_S, -(-until_s // DAY_S)):
        spans = place.week.days[(day + 3) % 7]  # 1970 began on a Thursday
        if not spans or date.fromordinal(_EPOCH_ORDINAL + day) in place.closed:
            continue
        for start, end in spans:
            opens_s, closes_s = max(day * DAY_S + start * 60, from_s), min(day * DAY_S + end * 60, until_s)
            if opens_s < closes_s:
                yield opens_s, closes_s


def _stretches(zone: ZoneInfo, from_s: int, until_s: int) -> Iterator[tuple[int, int, int]]:
    """The time between, in pieces of one UTC offset each: from, until, offset.

    Offsets are compared once a day. No zone has changed its offset and back within one, since 1970 at least.
    """
    begun_s, offset_s = from_s, _offset_s(zone, from_s)
    seen_s = from_s
    while seen_s < until_s:
        next_s = min(seen_s + DAY_S, until_s)
        if _offset_s(zone, next_s) != offset_s:
            change_s = _change(zone, seen_s, next_s, offset_s)
            yield begun_s, change_s, offset_s
            begun_s, offset_s = change_s, _offset_s(zone, change_s)
        seen_s = next_s
    if begun_s < until_s:
        yield begun_s, until_s, offset_s


def _change(zone: ZoneInfo, before_s: int, after_s: int, offset_s: int) -> int:
    """The first second at which the offset is another, between two that differ."""
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if _offset_s(zone, middle_s) == offset_s:
            before_s = middle_s
        else:
            after_s = middle_s
    return after_s


def _intersection(left: Sequence[Interval], right: Sequence[Interval]) -> Iterator[Interval]:
    here = there = 0
    while here < len(left) and there < len(right):
        start, end = max(left[here][0], right[there][0]), min(left[here][1], right[there][1])
        if start < end:
            yield start, end
        if left[here][1] < right[there][1]:
            here += 1
        else:
            there += 1


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset() or timedelta()
    return offset // timedelta(seconds=1)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(at_s: int) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
