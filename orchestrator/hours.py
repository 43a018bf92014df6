"""Calling hours: reading the rules by which an operator says when people may be called.

A rule is `[PLACE] [DAYS] TIMES`, or `[PLACE] zone ZONE`:

    08:00-21:00                          every day
    mon-fri 09:00-12:00,13:00-20:00      several intervals a day
    sat 10:00-14:00                      a day that is named follows its own rules, not those without days
    sun closed
    US 08:00-20:00                       a country, ISO 3166-1
    US-TX mon-fri 09:00-20:00            a state or province (of the United States and Canada, where the number tells it)
    +4989 mon-fri 10:00-18:00            numbers that begin so
    always                               never closed; no time zone need be known
    zone America/Chicago                 the callee's time zone, whatever the number says; also after a place

Times are the callee's own, by the clock on their wall, from the first up to but without the second, which may be 24:00. An
interval that would cross midnight is refused, since 20:00-08:00 is more often a slip than a wish: write 22:00-24:00 and
00:00-02:00. The most specific place that has any rule decides: prefix (the longest), region, country, then the rules without a
place. Where a place has rules, a weekday that they do not open is closed. Where no rule is for a number, it is 08:00-21:00
every day.

Says what the rules are, not when they are open: that is `orchestrator.scheduling.windows`. Knows nothing of the database.
"""

from __future__ import annotations

import difflib
import functools
import re
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

import phonenumbers

from orchestrator.area_codes import REGION_COUNTRIES, REGIONS
from orchestrator.errors import BadInput

T = TypeVar("T")
Span = tuple[int, int]
"""Minutes since midnight by the callee's clock: from, until (at most 1,440)."""
Days = tuple[tuple[Span, ...], ...]
"""Spans in order and apart from each other, of Monday to Sunday."""

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY = 24 * 60
MOST_RULES = 200
LONGEST_RULE = 200

_PLACE = re.compile(r"\+[0-9]+|[A-Za-z]{2}(-[A-Za-z]{2})?")
_DAYS = re.compile(r"[A-Za-z]{3,}(-[A-Za-z]+)?(,[A-Za-z]+(-[A-Za-z]+)?)*")
_SPAN = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")
_EVERY_DAY = -1

_Said = dict[int, list[tuple[str, Sequence[Span]]]]
"""What the rules of one place say of a day, or of every day: each rule with its spans, none for closed."""


@dataclass(frozen=True, slots=True)
class Week:
    """When one place's callees may be called."""

    days: Days
    is_always: bool = False
    """Never closed, so that no time zone need be known."""


ALWAYS = Week(days=(((0, MINUTES_A_DAY),),) * 7, is_always=True)
DEFAULT = Week(days=(((8 * 60, 21 * 60),),) * 7)
"""08:00 to 21:00 every day: the hours of the United States' telemarketing rules (47 CFR 64.1200(c)(1))."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Rules that have been read. Keys are places: ``, `US`, `US-TX`, `+4989`."""

    weeks: Mapping[str, Week] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    """Time zones that are given instead of found."""

    def weeks_of(self, number: str, country: str, regions: frozenset[str]) -> frozenset[Week]:
        """Every week that may be the callee's: several where the number does not tell in which region they are.

        `country` may be empty. A number of a country with regions whose area code tells none may be in any of them.
        """
        return frozenset(_decisive(self.weeks, DEFAULT, number, country, regions))

    def zones_of(self, number: str, country: str, regions: frozenset[str]) -> frozenset[str | None]:
        """The given zones that may be the callee's; None among them: the number is to tell."""
        zones: Mapping[str, str | None] = self.zones
        return frozenset(_decisive(zones, None, number, country, regions))


def read_hours(rules: Sequence[str]) -> Hours:
    """The rules, read. Raises BadInput that names the rule and what is wrong with it."""
    return _read(tuple(rules))


def check_hours(rules: Sequence[str]) -> None:
    """Raise BadInput unless these are calling hours that open at some time: what every door checks."""
    _read(tuple(rules))


def over(hours: Hours, own: Hours) -> Hours:
    """An account's hours with a call's own over them.

    A call's intervals replace all of the account's; without any, the account's stay. A call's zones are over the account's.
    """
    if not own.zones:
        return Hours(weeks=own.weeks or hours.weeks, zones=hours.zones)
    return Hours(weeks=own.weeks or hours.weeks, zones=own.zones if "" in own.zones else {**hours.zones, **own.zones})


def _decisive(table: Mapping[str, T], default: T, number: str, country: str, regions: frozenset[str]) -> Iterator[T]:
    """What the most specific places say."""
    prefix = max((place for place in table if place.startswith("+") and number.startswith(place)), key=len, default=None)
    if prefix is not None:
        yield table[prefix]
        return
    national = table.get(country, table.get("", default))
    if country in REGION_COUNTRIES and not regions:
        yield national
        yield from (value for place, value in table.items() if place.startswith(f"{country}-"))
        return
    for region in regions or {""}:
        yield table[region] if region in table and region else national


@functools.lru_cache(maxsize=4096)
def _read(rules: tuple[str, ...]) -> Hours:
    if len(rules) > MOST_RULES:
        raise BadInput(f"calling hours: at most {MOST_RULES} rules, not {len(rules)}")
    said: dict[str, _Said] = {}
    zones: dict[str, str] = {}
    for rule in rules:
        try:
            place, words = _place_of(rule)
            if words and words[0].lower() == "zone":
                _add_zone(zones, place, words[1:])
            else:
                _add_times(said.setdefault(place, {}), words)
        except BadInput as error:
            raise BadInput(f"calling hours {rule[:LONGEST_RULE]!r}: {error}") from None
    weeks = {place: _week(place, of_place) for place, of_place in said.items()}
    return Hours(weeks=MappingProxyType(weeks), zones=MappingProxyType(zones))


def _place_of(rule: str) -> tuple[str, list[str]]:
    """The place of a rule, and the words that follow it."""
    if not rule.strip():
        raise BadInput("the rule is empty")
    if len(rule) > LONGEST_RULE:
        raise BadInput(f"the rule is longer than {LONGEST_RULE} characters")
    words = re.sub(r"\s*([-,])\s*", r"\1", rule.replace("\N{EN DASH}", "-")).split()
    if not _PLACE.fullmatch(words[0]):
        return "", words
    place = words.pop(0).upper()
    if place.startswith("+"):
        _check_prefix(place)
    elif place[:2] not in phonenumbers.SUPPORTED_REGIONS:
        raise BadInput(f"{place[:2]} is no country with telephone numbers: give its two-letter code, like US, GB or DE")
    elif "-" in place and place[:2] not in REGION_COUNTRIES:
        raise BadInput(f"numbers of {place[:2]} do not tell their region: name the beginning of its numbers, like +4989")
    elif "-" in place and place not in REGIONS:
        raise BadInput(f"{place[:2]} has no region {place[3:]} with area codes of its own: write it like US-TX or CA-ON")
    return place, words


def _check_prefix(prefix: str) -> None:
    digits = prefix[1:]
    known = any(int(digits[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE for length in (1, 2, 3))
    if not known or len(digits) > 15:
        raise BadInput(f"no telephone number begins with {prefix}: write + and the country code first, like +4989")


def _add_times(said: _Said, words: list[str]) -> None:
    """Take in the days and times of one rule."""
    days = [_EVERY_DAY]
    if words and words[0].lower() not in ("always", "closed") and _DAYS.fullmatch(words[0]):
        days = list(_days(words.pop(0).lower()))
    if not words:
        raise BadInput("the times are missing: write them like 09:00-20:00, or closed")
    text = ",".join(words).lower()
    spans = {"always": [(0, MINUTES_A_DAY)], "closed": []}.get(text)
    if spans is None:
        spans = [_span(part) for part in text.split(",")]
    for day in days:
        for earlier, _ in said.get(day, ()):
            alone = {text, earlier} & {"always", "closed"}
            if alone and text != earlier:
                of_day = "every day" if day == _EVERY_DAY else DAY_NAMES[day]
                raise BadInput(f"{text!r} and {earlier!r} are both said of {of_day}: drop one of them")
        said.setdefault(day, []).append((text, spans))


def _add_zone(zones: dict[str, str], place: str, words: list[str]) -> None:
    """Take in the zone of one rule."""
    name = " ".join(words)
    if name not in _known_zones():
        near = difflib.get_close_matches(name, _known_zones(), n=1)
        hint = f"did you mean {near[0]}?" if near else "write it like America/Chicago"
        raise BadInput(f"{name!r} is no time zone; {hint}")
    if zones.setdefault(place, name) != name:
        raise BadInput(f"another rule says zone {zones[place]} of the same place: drop one of them")


def _week(place: str, said: _Said) -> Week:
    """The week of a place. Raises BadInput if it never opens."""
    days = []
    for day in range(7):
        rules = said.get(day, said.get(_EVERY_DAY, []))
        days.append(_merged([span for _, spans in rules for span in spans]))
    if not any(days):
        where = f" for {place}" if place else ""
        raise BadInput(f"calling hours: no day of the week is ever open{where}: add an interval, like mon-fri 09:00-20:00")
    is_always = list(said) == [_EVERY_DAY] and said[_EVERY_DAY][0][0] == "always"
    return Week(days=tuple(days), is_always=is_always)


def _days(text: str) -> Iterator[int]:
    """`mon-wed,sat` as numbers of days, Monday 0; `sat-mon` goes over the week's end."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        start, end = _day(first), _day(last or first)
        yield from ((start + step) % 7 for step in range((end - start) % 7 + 1))


def _day(name: str) -> int:
    if name not in DAY_NAMES:
        near = difflib.get_close_matches(name[:3], DAY_NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"days are {', '.join(DAY_NAMES)}"
        raise BadInput(f"{name!r} is no day of the week; {hint}")
    return DAY_NAMES.index(name)


def _span(text: str) -> Span:
    shape = _SPAN.fullmatch(text)
    if shape is None:
        raise BadInput(f"{text!r} is no interval: write it like 09:00-20:00")
    from_hour, from_minute, until_hour, until_minute = (int(group) for group in shape.groups())
    start, end = _minute(from_hour, from_minute), _minute(until_hour, until_minute)
    if start == end:
        raise BadInput(f"{text} is empty: it ends when it starts")
    if start > end:
        raise BadInput(f"{text} ends before it starts: over midnight it takes two rules, one until 24:00 and one from 00:00")
    return start, end


def _minute(hour: int, minute: int) -> int:
    of_day = hour * 60 + minute
    if minute > 59 or of_day > MINUTES_A_DAY:
        raise BadInput(f"{hour:02}:{minute:02} is no time of day: write 00:00 to 24:00")
    return of_day


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same minutes in order, without overlaps."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


@functools.cache
def _known_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
