"""Where a callee is, as far as the number tells: country, state or province, time zones.

A number of a place has that place's zones. Any other (a mobile phone where these have no area codes, freephone, a number that
nobody can have) may be anywhere in its country and has all of the country's. In the United States and Canada mobile phones have
area codes; whoever moves or ports such a number keeps its zone here. A number of no country (satellite, global networks) tells
no zone: its list is empty, and who asks must fail closed.

Sources: libphonenumber's prefixes (`phonenumbers.timezone`), and `zone.tab` of the tz database for the zones of a country.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import phonenumbers
import phonenumbers.timezone
from phonenumbers import PhoneNumber

from orchestrator.area_codes import regions_of

UNKNOWN = "Etc/Unknown"
"""What libphonenumber calls the zone of a number that tells none."""
NANP_PREFIX = 8
"""Of +1 numbers, `+`, country code, area code and exchange tell all that can be told."""
SUBSCRIBER_DIGITS = 3
"""Elsewhere numbers are given to carriers, and places, in blocks of a thousand at least."""
_ANYWHERE = frozenset({62})
"""Country codes whose mobile numbers libphonenumber counts as geographical although the phones may be anywhere (Indonesia)."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What a number tells of the callee's place."""

    country: str
    """ISO 3166-1 alpha-2; empty: of no country."""
    regions: frozenset[str]
    """States or provinces that it may be in, like US-TX; empty where numbers do not tell."""
    zones: tuple[str, ...]
    """IANA names of all time zones that it may be in; empty: not known."""


def whereabouts(number: str) -> Whereabouts:
    """Where a number in E.164 is. Never raises: of a text that is no number, nothing is known."""
    if number.startswith("+1"):
        return _of_prefix(number[:NANP_PREFIX], len(number))
    return _of_prefix(number[:-SUBSCRIBER_DIGITS], len(number))


@functools.cache
def zones_of_country(country: str) -> tuple[str, ...]:
    """All time zones of a country (ISO 3166-1 alpha-2), as the tz database lists them; empty for one that it does not know."""
    return _zone_table().get(country, ())


@functools.lru_cache(maxsize=100_000)
def _of_prefix(prefix: str, length: int) -> Whereabouts:
    try:
        # Zeros stand for the digits that do not matter.
        parsed = phonenumbers.parse(prefix.ljust(length, "0"))
    except phonenumbers.NumberParseException:
        return Whereabouts(country="", regions=frozenset(), zones=())
    country = _country(parsed)
    regions = regions_of(prefix) if country in ("US", "CA") else frozenset()
    if _tells_its_place(parsed):
        zones = phonenumbers.timezone.time_zones_for_geographical_number(parsed)
    else:
        zones = zones_of_country(country) or phonenumbers.timezone.time_zones_for_geographical_number(parsed)
    return Whereabouts(country=country, regions=regions, zones=tuple(sorted(zone for zone in zones if zone != UNKNOWN)))


def _tells_its_place(parsed: PhoneNumber) -> bool:
    """Whether the number's beginning stands for a place within its country."""
    kind = phonenumbers.number_type(parsed)
    if kind == phonenumbers.PhoneNumberType.UNKNOWN:
        # Nobody can have it. Numbers for fiction are such, and under +1 their area codes are real.
        return parsed.country_code == 1 and bool(_place_of_area_code(parsed))
    if kind == phonenumbers.PhoneNumberType.MOBILE and parsed.country_code in _ANYWHERE:
        return False
    return phonenumbers.is_number_type_geographical(kind, parsed.country_code or 0)


def _country(parsed: PhoneNumber) -> str:
    country = phonenumbers.region_code_for_number(parsed)
    if country is None and parsed.country_code == 1:
        country = _place_of_area_code(parsed)
    if country is None:
        country = next(iter(phonenumbers.region_codes_for_country_code(parsed.country_code or 0)), "")
    return country if country in phonenumbers.SUPPORTED_REGIONS else ""


def _place_of_area_code(parsed: PhoneNumber) -> str | None:
    """The country in which a +1 number's area code is given to places; None for 800 and the like."""
    area_code = phonenumbers.national_significant_number(parsed)[:3]
    sibling = PhoneNumber(country_code=1, national_number=int(f"{area_code}2345678"))
    is_place = phonenumbers.is_number_type_geographical(phonenumbers.number_type(sibling), 1)
    return phonenumbers.region_code_for_number(sibling) if is_place else None


@functools.cache
def _zone_table() -> Mapping[str, tuple[str, ...]]:
    table = importlib.resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    zones: defaultdict[str, list[str]] = defaultdict(list)
    for line in table.splitlines():
        if line and not line.startswith("#"):
            country, _, zone, *_ = line.split("\t")
            zones[country].append(zone)
    return {country: tuple(names) for country, names in zones.items()}
