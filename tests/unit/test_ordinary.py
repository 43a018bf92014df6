"""Ordinary numbers are told quickly, and never where the real check would refuse."""

from __future__ import annotations

import random

import phonenumbers
import pytest
from phonenumbers import PhoneNumberType

from orchestrator.errors import BadInput
from orchestrator.numbers import check_destination, read_number
from orchestrator.ordinary import OrdinaryNumbers

KINDS = [kind for kind in PhoneNumberType.values() if kind != PhoneNumberType.UNKNOWN]
SPREAD = random.Random(4)


def really_passes(number: str, *, country: str, allowed: tuple[str, ...]) -> bool:
    try:
        read = read_number(number, country)
        check_destination(read, country=country, allowed_countries=allowed, allowed_specials=())
    except BadInput:
        return False
    return read == number


def relatives(number: str) -> list[str]:
    """Numbers that are near one: other digits, cut, lengthened, with a zero or a one in front."""
    code, national = number[:3], number[3:]
    digits = [
        number[:place] + SPREAD.choice("0123456789") + number[place + 1 :] for place in range(2, len(number)) for _ in range(3)
    ]
    return [number, number[:-1], number + "0", f"{code}0{national}", f"{code}1{national}", f"{code}8{national}", *digits]


@pytest.mark.parametrize("code", sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
def test_what_is_ordinary_passes_the_real_check(code):
    """All kinds of numbers of all countries of a country code, and what is near them."""
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]:
        for home, allowed in ((region, ()), ("US", (region,)), ("US", ("US", "CA", "GB"))):
            if home not in phonenumbers.SUPPORTED_REGIONS:
                continue
            ordinary = OrdinaryNumbers(country=home, allowed_countries=allowed)
            for kind in KINDS:
                example = phonenumbers.example_number_for_type(region, kind)
                if example is None:
                    continue
                number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
                for near in relatives(number):
                    if ordinary.holds(near):
                        assert really_passes(near, country=home, allowed=allowed), (near, home, allowed)


@pytest.mark.parametrize("country", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_digits_that_are_read_as_dialled_at_home_are_read_so_by_the_real_reader_too(country):
    ordinary = OrdinaryNumbers.of_all_countries(home=country)
    for kind in KINDS:
        example = phonenumbers.example_number_for_type(country, kind)
        if example is None:
            continue
        national = str(example.national_number)
        for near in relatives(f"+00{national}"):
            digits = near[3:]
            read = ordinary.read(digits)
            assert read is None or read == read_number(digits, country), digits


def test_everyday_numbers_are_read_as_they_are_dialled_at_home():
    assert OrdinaryNumbers.of_all_countries(home="US").read("2125552368") == "+12125552368"
    assert OrdinaryNumbers.of_all_countries(home="US").read("+4915112345678") == "+4915112345678"
    assert OrdinaryNumbers.of_all_countries(home="ZZ").read("2125552368") is None


@pytest.mark.parametrize(
    ("number", "country"),
    [("+12125552368", "US"), ("+14165550999", "CA"), ("+442079460123", "GB"), ("+4915112345678", "DE"), ("+33612345678", "FR")],
)
def test_everyday_numbers_are_ordinary(number, country):
    assert really_passes(number, country=country, allowed=())
    assert OrdinaryNumbers(country=country, allowed_countries=()).holds(number)


@pytest.mark.parametrize(
    "number",
    [
        "", "2125552368", "+1 212 555 2368", "+12125550100", "+19005550123", "+12129765555", "+14165550999", "+442079460123",
        "+8816123456789", "+121255523681", "+1212555236", "+1211", "+١٢١٢٥٥٥٢٣٦٨",
    ],
)  # fmt: skip
def test_whatever_needs_a_second_look_is_left_to_the_real_check(number):
    assert not OrdinaryNumbers(country="US", allowed_countries=()).holds(number)
