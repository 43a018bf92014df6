"""Calling windows against the callee's wall clock, minute by minute, where daylight saving makes it hard."""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.hours import DAY_NAMES, read_hours
from orchestrator.scheduling.windows import LONGEST, LOOK_BACK, NEVER_CLOSED, LocalWeek, window_at

MINUTE = timedelta(minutes=1)

ZONES = (
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "America/St_Johns",  # half-hour offset
    "Pacific/Chatham",  # quarter-hour offset
    "Asia/Kolkata",
    "Africa/Cairo",  # daylight saving begins at midnight
    "America/Santiago",  # begins and ends at midnight
    "America/Havana",
    "Atlantic/Azores",  # ends over midnight
    "America/Nuuk",  # changes in the evening of the day before
    "Antarctica/Troll",  # two hours of it
    "Africa/Casablanca",  # negative, by the moon
    "Pacific/Kiritimati",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def place(zone: str, *rules: str, closed: Container[date] = frozenset()) -> LocalWeek:
    (week,) = read_hours(rules).weeks_of("+12125550142", "", frozenset())
    return LocalWeek(week=week, zone=zone, closed=closed)


def window(now: str, *places: LocalWeek) -> tuple[str, str] | None:
    found = window_at(at(now), places)
    return found and (f"{found.opens_at:%Y-%m-%d %H:%M}", f"{found.closes_at:%Y-%m-%d %H:%M}")


# -- by hand


def test_the_window_that_holds_now_is_found_else_the_next():
    new_york = place("America/New_York", "08:00-21:00")
    assert window("2026-01-20 13:00", new_york) == ("2026-01-20 13:00", "2026-01-21 02:00")
    assert window("2026-01-20 12:59:59.9", new_york) == ("2026-01-20 13:00", "2026-01-21 02:00")
    assert window("2026-01-21 01:59:59.9", new_york) == ("2026-01-20 13:00", "2026-01-21 02:00")
    assert window("2026-01-21 02:00", new_york) == ("2026-01-21 13:00", "2026-01-22 02:00")


def test_an_interval_that_begins_in_the_hour_that_is_skipped_begins_at_its_end():
    assert window("2026-03-08 00:00", place("America/New_York", "02:30-04:00"))[0] == "2026-03-08 07:00"


def test_an_interval_that_ends_in_the_hour_that_is_skipped_ends_at_its_beginning():
    assert window("2026-03-08 05:30", place("America/New_York", "01:00-02:30")) == ("2026-03-08 06:00", "2026-03-08 07:00")


def test_an_interval_all_in_the_hour_that_is_skipped_is_left_out():
    assert window("2026-03-07 12:00", place("America/New_York", "sun 02:10-02:50"))[0] == "2026-03-15 06:10"


def test_minutes_that_come_twice_are_open_both_times_and_the_others_between_are_not():
    late = place("America/New_York", "sun 01:30-03:00")
    assert window("2026-11-01 05:00", late) == ("2026-11-01 05:30", "2026-11-01 06:00")
    assert window("2026-11-01 06:00", late) == ("2026-11-01 06:30", "2026-11-01 08:00")
    early = place("America/New_York", "sun 00:30-01:30")
    assert window("2026-11-01 04:00", early) == ("2026-11-01 04:30", "2026-11-01 05:30")
    assert window("2026-11-01 05:45", early) == ("2026-11-01 06:00", "2026-11-01 06:30")


def test_intervals_that_meet_are_one_window_over_midnight_too():
    nights = place("Europe/Berlin", "mon 22:00-24:00", "tue 00:00-02:00")
    assert window("2026-06-01 12:00", nights) == ("2026-06-01 20:00", "2026-06-02 00:00")


def test_a_day_that_a_place_skipped_is_skipped():
    assert window("2011-12-30 02:00", place("Pacific/Apia", "fri 09:00-17:00"))[0] == "2012-01-05 19:00"


def test_several_zones_must_all_be_open():
    both = (place("America/New_York", "08:00-21:00"), place("Pacific/Honolulu", "08:00-21:00"))
    assert window("2026-01-20 00:00", *both) == ("2026-01-19 18:00", "2026-01-20 02:00")


def test_what_is_never_open_in_all_of_them_never_opens():
    apart = (place("Europe/London", "09:00-10:00"), place("America/New_York", "09:00-10:00"))
    assert window("2026-01-20 00:00", *apart) is None
    weekdays = (place("Europe/London", "mon-fri 09:00-17:00"), place("Europe/London", "sat-sun 09:00-17:00"))
    assert window("2026-01-20 00:00", *weekdays) is None


class Until(Container[date]):
    """Every day before one is closed."""

    def __init__(self, day: date) -> None:
        self._day = day

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and day < self._day


def test_closed_days_are_those_of_the_places_own_calendar():
    auckland = place("Pacific/Auckland", "08:00-21:00", closed={date(2026, 1, 1), date(2026, 1, 2)})
    assert window("2025-12-31 07:30", auckland) == ("2025-12-30 19:00", "2025-12-31 08:00")
    assert window("2025-12-31 12:00", auckland)[0] == "2026-01-02 19:00"


def test_an_opening_far_away_is_found_and_one_beyond_a_year_is_not():
    far = place("Europe/London", "08:00-21:00", closed=Until(date(2026, 12, 31)))
    assert window("2026-01-01 00:00", far) == ("2026-12-31 08:00", "2026-12-31 21:00")
    assert window("2026-01-01 00:00", place("Europe/London", "08:00-21:00", closed=Until(date(2028, 1, 1)))) is None


def test_what_is_open_for_weeks_is_cut():
    found = window_at(at("2026-01-20 12:00"), [place("Europe/London", "00:00-24:00")])
    assert found is not None
    assert found.opens_at == at("2026-01-19 12:00")
    assert found.closes_at == found.opens_at + LONGEST


def test_five_days_on_end_are_one_window_wherever_one_asks():
    weekdays = place("Europe/London", "mon-fri 00:00-24:00")
    assert window("2026-01-17 12:00", weekdays) == ("2026-01-19 00:00", "2026-01-24 00:00")
    assert window("2026-01-10 12:00", weekdays) == ("2026-01-12 00:00", "2026-01-17 00:00")


def test_without_places_nothing_closes():
    assert window_at(at("2026-01-20 12:00"), []) == NEVER_CLOSED


# -- by brute force


@functools.cache
def changes(zone: str) -> list[datetime]:
    """Days of 2026 and 2027 after which the zone's offset is another; the year's first days where it never is."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(days=day) for day in range(730)]
    offsets = [moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in moments]
    return [moment for moment, here, there in zip(moments, offsets, offsets[1:], strict=False) if here != there] or [start]


@st.composite
def rules(draw: st.DrawFn) -> list[str]:
    """A week of up to seven days, with intervals that are often at night, where clocks change."""
    spans = []
    for day in draw(st.sets(st.sampled_from(DAY_NAMES), min_size=1)):
        for _ in range(draw(st.integers(1, 3))):
            start = draw(st.one_of(st.integers(0, 300), st.integers(0, 1439), st.just(0), st.integers(1200, 1439)))
            end = draw(st.one_of(st.integers(start + 1, 1440), st.just(1440)))
            spans.append(f"{day} {start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}")
    return spans


def is_open(moment: datetime, places: Sequence[LocalWeek]) -> bool:
    """Whether all walls' clocks say so."""
    for one in places:
        local = moment.astimezone(ZoneInfo(one.zone))
        minute = local.hour * 60 + local.minute
        spans = one.week.days[local.weekday()]
        if local.date() in one.closed or not any(start <= minute < end for start, end in spans):
            return False
    return True


def check(now: datetime, places: Sequence[LocalWeek]) -> None:
    """The window is open throughout, closed at its end and before it, and there is none before it."""
    found = window_at(now, places)
    if found is None:
        assert not any(is_open(now + minute * MINUTE, places) for minute in range(15 * 24 * 60))
        return
    assert found.opens_at < found.closes_at
    assert now < found.closes_at
    moment = now.replace(second=0, microsecond=0)
    if found.holds(now):
        moment = found.opens_at
        is_cut = found.opens_at <= now - LOOK_BACK + timedelta(seconds=1)
        assert is_cut or not is_open(found.opens_at - MINUTE, places)
    else:
        assert is_open(found.opens_at, places)
        while moment < found.opens_at:
            assert not is_open(moment, places), moment
            moment += MINUTE
    while moment < found.closes_at:
        assert is_open(moment, places), moment
        moment += MINUTE
    assert found.closes_at - found.opens_at >= LONGEST - MINUTE or not is_open(found.closes_at, places)


MOMENTS = st.integers(-4 * 1440, 3 * 1440)


@settings(max_examples=150, deadline=None)
@given(zone=st.sampled_from(ZONES), which=st.integers(0, 7), minutes=MOMENTS, week=rules())
def test_a_window_is_what_the_callees_clock_shows(zone: str, which: int, minutes: int, week: list[str]):
    days = changes(zone)
    check(days[which % len(days)] + minutes * MINUTE, [place(zone, *week)])


@settings(max_examples=60, deadline=None)
@given(
    zones=st.tuples(st.sampled_from(ZONES), st.sampled_from(ZONES)),
    which=st.integers(0, 7),
    minutes=MOMENTS,
    weeks=st.tuples(rules(), rules()),
    closed=st.sets(st.integers(-3, 3), max_size=3),
)
def test_a_window_in_several_places_is_what_all_their_clocks_show(
    zones: tuple[str, str], which: int, minutes: int, weeks: tuple[list[str], list[str]], closed: set[int]
):
    day = changes(zones[0])[which % len(changes(zones[0]))]
    off = {(day + timedelta(days=days)).date() for days in closed}
    check(day + minutes * MINUTE, [place(zones[0], *weeks[0], closed=off), place(zones[1], *weeks[1])])


@pytest.mark.parametrize("zone", ZONES)
def test_the_default_hours_last_thirteen_hours_on_every_day_of_two_years(zone: str):
    now = at("2026-01-01 00:00")
    for _ in range(700):
        found = window_at(now, [place(zone, "08:00-21:00")])
        assert found is not None
        assert found.closes_at - found.opens_at == timedelta(hours=13)
        now = found.closes_at
