"""What numbers tell of the callee's place."""

from __future__ import annotations

import time
import zoneinfo

import phonenumbers
import pytest

from orchestrator.area_codes import REGIONS, REGIONS_BY_AREA_CODE, regions_of
from orchestrator.scheduling.zones import whereabouts, zones_of_country


@pytest.mark.parametrize(
    ("number", "country", "zones"),
    [
        ("+12125552368", "US", ("America/New_York",)),
        ("+12125550142", "US", ("America/New_York",)),  # reserved for fiction
        ("+13125550100", "US", ("America/Chicago",)),
        ("+19075550100", "US", ("America/Adak", "America/Anchorage")),
        ("+12082635501", "US", ("America/Los_Angeles",)),  # northern Idaho, by its exchange
        ("+14165550100", "CA", ("America/Toronto",)),
        ("+17875550142", "PR", ("America/Puerto_Rico",)),
        ("+12684641234", "AG", ("America/Antigua",)),
        ("+4989123456", "DE", ("Europe/Berlin",)),
        ("+442079460123", "GB", ("Europe/London",)),
        ("+447797712345", "JE", ("Europe/Jersey",)),
        ("+34922123456", "ES", ("Atlantic/Canary",)),
        ("+74951234567", "RU", ("Europe/Moscow",)),
        ("+61255501234", "AU", ("Australia/Sydney",)),
        ("+5511912345678", "BR", ("America/Sao_Paulo",)),  # a mobile number with an area code
        ("+38344123456", "XK", ("Europe/Belgrade",)),
    ],
)
def test_a_number_of_a_place_tells_its_zones(number: str, country: str, zones: tuple[str, ...]):
    where = whereabouts(number)
    assert (where.country, where.zones) == (country, zones)


@pytest.mark.parametrize(
    ("number", "country", "some"),
    [
        ("+34612345678", "ES", {"Europe/Madrid", "Atlantic/Canary"}),
        ("+61491570156", "AU", {"Australia/Perth", "Australia/Lord_Howe"}),
        ("+79161234567", "RU", {"Europe/Kaliningrad", "Asia/Kamchatka"}),
        ("+6281234567890", "ID", {"Asia/Jakarta", "Asia/Jayapura"}),
        ("+18005550199", "US", {"America/New_York", "Pacific/Honolulu"}),
        ("+15005550006", "US", {"America/New_York", "Pacific/Honolulu"}),
    ],
)
def test_a_number_that_may_be_anywhere_in_its_country_has_all_of_its_zones(number: str, country: str, some: set[str]):
    where = whereabouts(number)
    assert (where.country, where.regions) == (country, frozenset())
    assert some <= set(where.zones)
    assert set(where.zones) == set(zones_of_country(country))


@pytest.mark.parametrize("number", ["+882123456789", "+870773111632", "+80012345678", "+999123456", "+1", "garbage", ""])
def test_a_number_of_no_country_tells_nothing(number: str):
    where = whereabouts(number)
    assert (where.country, where.regions, where.zones) == ("", frozenset(), ())


def test_a_number_of_the_united_states_or_canada_tells_its_region():
    assert whereabouts("+15125550142").regions == {"US-TX"}
    assert whereabouts("+14165550142").regions == {"CA-ON"}
    assert whereabouts("+19025550142").regions == {"CA-NS", "CA-PE"}
    assert whereabouts("+442079460123").regions == frozenset()


def test_all_zones_are_known_to_the_clock():
    named = {zone for country in phonenumbers.SUPPORTED_REGIONS for zone in zones_of_country(country)}
    assert named <= zoneinfo.available_timezones()
    assert not {country for country in phonenumbers.SUPPORTED_REGIONS if not zones_of_country(country)} - {"AC", "TA", "XK"}


def test_area_codes_are_those_of_the_geocoder():
    from phonenumbers import geocoder  # noqa: PLC0415  takes 100 MB

    names = {
        "Washington State": "US-WA",
        "Washington D.C.": "US-DC",
        "California": "US-CA",
        "Texas": "US-TX",
        "Ontario": "CA-ON",
    }
    told = 0
    for code in range(200, 1000):
        number = phonenumbers.PhoneNumber(country_code=1, national_number=int(f"{code}2345678"))
        country = phonenumbers.region_code_for_number(number)
        is_place = phonenumbers.is_number_geographical(number)
        assert (str(code) in REGIONS_BY_AREA_CODE) == (is_place and country in ("US", "CA")), code
        text = geocoder.description_for_number(number, "en")
        region = names.get(text) or (f"{country}-{text[-2:]}" if text[-4:-2] == ", " else None)
        if region is not None and is_place and country in ("US", "CA"):
            told += 1
            assert region in REGIONS_BY_AREA_CODE[str(code)], (code, text)
    assert told > 100
    assert len(REGIONS) == 51 + 13
    assert regions_of("+442125550100") == frozenset()


def test_a_thousand_numbers_take_far_less_than_a_second():
    started_s = time.process_time()
    for n in range(1000):
        whereabouts(f"+1312{2000000 + n * 1009}")
        whereabouts(f"+79{100000000 + n * 100003}")
    assert time.process_time() - started_s < 1.0
