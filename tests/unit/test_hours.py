"""Calling hours as rules: what can be read, what decides, and what is refused."""

from __future__ import annotations

import pytest

from orchestrator.errors import BadInput
from orchestrator.hours import ALWAYS, DEFAULT, Hours, Span, check_hours, over, read_hours

NOWHERE: frozenset[str] = frozenset()


def days(*rules: str, place: str = "") -> list[tuple[Span, ...]]:
    """Monday to Sunday of a place's rules, in hours."""
    return [tuple((start // 60, end // 60) for start, end in day) for day in read_hours(rules).weeks[place].days]


def test_a_rule_without_days_is_for_every_day():
    assert days("08:00-21:00") == [((8, 21),)] * 7


def test_days_that_are_named_follow_their_own_rules():
    assert days("08:00-21:00", "sat 10:00-14:00", "sun closed") == [((8, 21),)] * 5 + [((10, 14),), ()]


def test_days_that_no_rule_opens_are_closed():
    assert days("mon-wed 09:00-17:00", "sat 10:00-14:00") == [((9, 17),)] * 3 + [(), (), ((10, 14),), ()]


def test_a_day_may_have_several_intervals_which_are_one_where_they_meet():
    assert days("tue 13:00-15:00", "tue 09:00-12:00, 12:00-13:00, 17:00-24:00", "Tue 10:00-11:00")[1] == ((9, 15), (17, 24))


@pytest.mark.parametrize(
    ("text", "open_days"),
    [
        ("mon", {0}),
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("sat-mon", {5, 6, 0}),
        ("mon,wed-thu,sun", {0, 2, 3, 6}),
        ("Mon - Wed , Fri", {0, 1, 2, 4}),
        ("fri-thu", {0, 1, 2, 3, 4, 5, 6}),
    ],
)
def test_days_are_written_alone_in_ranges_and_in_lists(text: str, open_days: set[int]):
    assert {day for day, spans in enumerate(days(f"{text} 8:00-9:00")) if spans} == open_days


def test_always_is_never_closed_only_where_it_stands_alone():
    assert read_hours(["always"]).weeks[""] == ALWAYS
    assert read_hours(["always", "always"]).weeks[""] == ALWAYS
    assert read_hours(["US always"]).weeks["US"] == ALWAYS
    with_sundays_off = read_hours(["always", "sun closed"]).weeks[""]
    assert not with_sundays_off.is_always
    assert with_sundays_off.days == (((0, 1440),),) * 6 + ((),)


def weeks_of(hours: Hours, number: str, country: str, *regions: str) -> set[str]:
    """The places whose weeks decide."""
    named = {id(week): place or "own" for place, week in hours.weeks.items()}
    return {named.get(id(week), "default") for week in hours.weeks_of(number, country, frozenset(regions))}


PLACES = read_hours(
    ["09:00-17:00", "US 08:00-20:00", "US-TX 10:00-12:00", "US-CA 11:00-13:00", "+4989 07:00-08:00", "+498912 06:00-07:00"]
)


@pytest.mark.parametrize(
    ("number", "country", "regions", "deciding"),
    [
        ("+442079460123", "GB", (), {"own"}),
        ("+12125550142", "US", ("US-NY",), {"US"}),
        ("+15125550142", "US", ("US-TX",), {"US-TX"}),
        ("+498955501234", "DE", (), {"+4989"}),
        ("+498912345678", "DE", (), {"+498912"}),
        ("+493012345678", "DE", (), {"own"}),
        ("+882123456789", "", (), {"own"}),
        # A number that may be in several regions must be open in all of them.
        ("+18005550199", "US", (), {"US", "US-TX", "US-CA"}),
        ("+15125550142", "US", ("US-TX", "US-NY"), {"US-TX", "US"}),
    ],
)
def test_the_most_specific_place_that_has_a_rule_decides(
    number: str, country: str, regions: tuple[str, ...], deciding: set[str]
):
    assert weeks_of(PLACES, number, country, *regions) == deciding


def test_where_no_rule_is_for_a_number_it_is_8_to_21_every_day():
    assert read_hours(["US always"]).weeks_of("+442079460123", "GB", NOWHERE) == {DEFAULT}
    assert read_hours([]).weeks_of("+12125550142", "US", NOWHERE) == {DEFAULT}
    assert DEFAULT.days == (((480, 1260),),) * 7


def test_a_zone_is_given_by_the_most_specific_place_too():
    hours = read_hours(["zone Europe/Berlin", "US-TX zone America/Denver", "US 08:00-09:00"])
    assert hours.zones_of("+442079460123", "GB", NOWHERE) == {"Europe/Berlin"}
    assert hours.zones_of("+15125550142", "US", frozenset({"US-TX"})) == {"America/Denver"}
    assert read_hours(["US zone America/Denver"]).zones_of("+442079460123", "GB", NOWHERE) == {None}


def test_a_calls_intervals_replace_the_accounts_and_its_zones_go_over_them():
    account = read_hours(["09:00-17:00", "US zone America/Denver"])
    assert over(account, read_hours([])) == account
    assert over(account, read_hours(["zone Asia/Tokyo"])).weeks == account.weeks
    assert over(account, read_hours(["zone Asia/Tokyo"])).zones_of("+12125550142", "US", NOWHERE) == {"Asia/Tokyo"}
    assert over(account, read_hours(["always"])).weeks_of("+12125550142", "US", NOWHERE) == {ALWAYS}
    assert over(account, read_hours(["GB zone Europe/London"])).zones_of("+12125550142", "US", NOWHERE) == {"America/Denver"}


@pytest.mark.parametrize(
    ("rules", "names", "says"),
    [
        (["sun closed"], "", "no day of the week is ever open: add an interval"),
        (["08:00-21:00", "GB closed"], "", "ever open for GB"),
        (["25:00-26:00"], "'25:00-26:00'", "25:00 is no time of day"),
        (["00:00-24:01"], "'00:00-24:01'", "24:01 is no time of day"),
        (["08:60-09:00"], "'08:60-09:00'", "08:60 is no time of day"),
        (["08:00-08:00"], "", "is empty"),
        (["20:00-08:00"], "", "ends before it starts: over midnight it takes two rules"),
        (["8-20"], "'8-20'", "no interval: write it like 09:00-20:00"),
        (["mun 08:00-20:00"], "'mun 08:00-20:00'", "'mun' is no day of the week; did you mean sun"),
        (["monday 08:00-20:00"], "", "did you mean mon"),
        (["holidays closed"], "", "'holidays' is no day"),
        (["mon"], "", "times are missing"),
        (["US"], "", "times are missing"),
        ([""], "''", "empty"),
        (["  "], "", "empty"),
        (["XX 08:00-20:00"], "", "XX is no country"),
        (["US-ZZ 08:00-20:00"], "", "US has no region ZZ"),
        (["DE-BY 08:00-20:00"], "", "numbers of DE do not tell their region: name the beginning of its numbers"),
        (["+999 08:00-20:00"], "", "no telephone number begins with \\+999"),
        (["zone America/Chigaco"], "'zone America/Chigaco'", "no time zone; did you mean America/Chicago"),
        (["zone"], "", "'' is no time zone"),
        (["zone Asia/Tokyo", "zone Europe/Rome"], "", "another rule says zone Asia/Tokyo"),
        (["always", "09:00-17:00"], "", "'09:00-17:00' and 'always' are both said of every day"),
        (["mon-fri 09:00-17:00", "wed closed"], "'wed closed'", "both said of wed"),
        (["x" * 300], "", "longer than"),
        (["mon 09:00-10:00"] * 201, "", "at most 200 rules"),
        (["09:00-17:00 sun"], "", "'sun' is no interval"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_the_name_of_its_rule(rules: list[str], names: str, says: str):
    with pytest.raises(BadInput, match=says) as refused:
        check_hours(rules)
    assert str(refused.value).startswith("calling hours")
    assert names in str(refused.value)
