from __future__ import annotations

import contextlib
import time
from collections.abc import Collection

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import BadInput, DestinationForbidden, InvalidNumber
from orchestrator.ids import E164
from orchestrator.numbers import Special, check_destination, mask, read_country, read_number, read_specials

ALL_SPECIALS = frozenset(kind.value for kind in Special)


def check(
    number: str,
    *,
    country: str = "US",
    countries: tuple[str, ...] = (),
    specials: Collection[str] = frozenset(),
    fiction: bool = False,
) -> None:
    check_destination(
        E164(number), country=country, allowed_countries=countries, allowed_specials=specials, fiction_allowed=fiction
    )


# -- reading


@pytest.mark.parametrize(
    ("text", "country", "number"),
    [
        ("+14155552671", "DE", "+14155552671"),
        (" +1 (415) 555-2671 ", "US", "+14155552671"),
        ("415-555-2671", "US", "+14155552671"),
        ("1 415 555 2671", "US", "+14155552671"),
        ("020 7946 0123", "GB", "+442079460123"),
        ("0151 1234 5678", "DE", "+4915112345678"),
        ("06 698 12345", "IT", "+390669812345"),
        ("0041 44 668 18 00", "DE", "+41446681800"),
        ("011 44 20 7946 0123", "US", "+442079460123"),
        ("+44 (0)20 7946 0123", "US", "+442079460123"),
        ("+870773111632", "US", "+870773111632"),
        ("+12125550142", "US", "+12125550142"),
    ],
)
def test_a_number_is_read_internationally_or_as_dialled_within_the_country(text: str, country: str, number: str) -> None:
    assert read_number(text, country) == number


@pytest.mark.parametrize(
    ("text", "country", "why"),
    [
        ("", "US", "empty"),
        ("   ", "US", "empty"),
        ("555-2671", "US", "area code is missing"),
        ("+1415555267", "US", "too few digits"),
        ("+141555526711", "US", "too many digits"),
        ("+999123456789", "US", "country code that exists"),
        ("+0123456789", "US", "country code that exists"),
        ("1-800-FLOWERS", "US", "letters"),
        ("+14155552671 ext 5", "US", "letters"),
        ("tel:+14155552671", "US", "letters"),
        ("ask Bob", "US", "letters"),
        ("???", "US", "like +12125550100"),
        ("+", "US", "like +12125550100"),
        ("4155552671", "", "write +"),
        ("1" * 200, "US", "too long"),
        ("+5215512345678", "MX", "too many digits"),
    ],
)
def test_what_is_no_number_is_refused_with_the_reason(text: str, country: str, why: str) -> None:
    with pytest.raises(InvalidNumber, match=why.replace("+", r"\+")):
        read_number(text, country)


@pytest.mark.parametrize(
    ("text", "country"), [("911", "US"), ("112", "US"), ("112", "DE"), ("999", "GB"), ("+1911", "US"), ("+44999", "US")]
)
def test_emergency_numbers_are_refused_by_name_as_soon_as_they_are_read(text: str, country: str) -> None:
    with pytest.raises(DestinationForbidden, match="emergency"):
        read_number(text, country)


@pytest.mark.parametrize(("text", "country"), [("411", "US"), ("118", "FR"), ("116117", "DE")])
def test_short_numbers_are_refused_as_soon_as_they_are_read(text: str, country: str) -> None:
    with pytest.raises((DestinationForbidden, InvalidNumber)):
        check(read_number(text, country), country=country)


# -- destinations


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+14155552671", "US"),
        ("+18002345678", "US"),
        ("+18882345678", "US"),
        ("+18002345678", "CA"),
        ("+442079460123", "GB"),
        ("+448001111", "GB"),
        ("+4915112345678", "DE"),
        ("+390612345678", "IT"),
        ("+79991234567", "RU"),
        ("+358412345678", "FI"),
        ("+358412345678", "AX"),
        ("+590590271234", "MF"),
        ("+447924123456", "IM"),
    ],
)
def test_ordinary_and_freephone_numbers_of_the_own_country_pass_also_those_that_it_shares(number: str, country: str) -> None:
    check(number, country=country)


@pytest.mark.parametrize(
    ("number", "country", "region"),
    [
        ("+442079460123", "US", "GB"),
        ("+14165551234", "US", "CA"),
        ("+18765552345", "US", "JM"),
        ("+18095551234", "US", "DO"),
        ("+12423456789", "US", "BS"),
        ("+12842291234", "US", "VG"),
        ("+14734031234", "US", "GD"),
        ("+16492311234", "US", "TC"),
        ("+17875551234", "US", "PR"),
        ("+447624123456", "GB", "IM"),
        ("+77011234567", "RU", "KZ"),
        ("+390669812345", "IT", "VA"),
    ],
)
def test_another_country_is_refused_and_named_also_under_a_shared_code(number: str, country: str, region: str) -> None:
    with pytest.raises(DestinationForbidden, match=f"is in {region} "):
        check(number, country=country)
    check(number, country=country, countries=(country, region))


def test_no_area_code_of_another_country_passes_as_one_of_the_united_states() -> None:
    """Toll fraud by Caribbean numbers that look domestic."""
    for area_code in range(200, 1000):
        for exchange in ("234", "555", "678", "468", "926", "285", "339"):
            number = f"+1{area_code}{exchange}4321"
            region = phonenumbers.region_code_for_number(phonenumbers.parse(number))
            try:
                check(number, country="US")
            except (InvalidNumber, DestinationForbidden):
                continue
            assert (
                region == "US" or phonenumbers.number_type(phonenumbers.parse(number)) == phonenumbers.PhoneNumberType.TOLL_FREE
            ), number


def test_the_countries_that_an_account_is_allowed_replace_its_own() -> None:
    with pytest.raises(DestinationForbidden, match="may call CA, GB only"):
        check("+14155552671", country="US", countries=("GB", "CA"))


@pytest.mark.parametrize(
    ("number", "country", "kind"),
    [
        ("+19002345678", "US", Special.PREMIUM),
        ("+12129761234", "US", Special.PREMIUM),
        ("+14155551212", "US", Special.PREMIUM),
        ("+979123456789", "US", Special.PREMIUM),
        ("+449012345678", "GB", Special.PREMIUM),
        ("+33899123456", "FR", Special.PREMIUM),
        ("+4918012345", "DE", Special.SHARED_COST),
        ("+61131234", "AU", Special.SHARED_COST),
        ("+80812345678", "US", Special.SHARED_COST),
        ("+870773111632", "US", Special.SATELLITE),
        ("+881612345678", "US", Special.SATELLITE),
        ("+8821612345678", "US", Special.SATELLITE),
        ("+883510001234567", "US", Special.SATELLITE),
        ("+888123456789", "US", Special.SATELLITE),
        ("+15005550006", "US", Special.PERSONAL),
        ("+447012345678", "GB", Special.PERSONAL),
        ("+878101234567890", "US", Special.PERSONAL),
        ("+447640123456", "GB", Special.PAGER),
        ("+443451234567", "GB", Special.UAN),
        ("+41860123456789", "CH", Special.VOICEMAIL_ACCESS),
        ("+80012345678", "US", Special.INTERNATIONAL_FREEPHONE),
    ],
)
def test_special_numbers_are_refused_unless_allowed_by_name(number: str, country: str, kind: Special) -> None:
    with pytest.raises(DestinationForbidden, match=rf"\({kind.value}\)"):
        check(number, country=country, specials=ALL_SPECIALS - {kind.value})
    check(number, country=country, specials={kind.value})


def test_a_special_number_that_is_allowed_by_name_must_still_be_in_an_allowed_country() -> None:
    with pytest.raises(DestinationForbidden, match="is in GB "):
        check("+449012345678", country="US", specials={"premium"})


def test_freephone_directory_assistance_is_not_premium() -> None:
    check("+18005551212")


@pytest.mark.parametrize("number", ["+12125550000", "+13105551234", "+16505550200"])
def test_other_555_numbers_are_ordinary(number: str) -> None:
    check(number)


def test_a_short_number_with_a_country_code_passes_only_by_name() -> None:
    number = "+49116117"
    with pytest.raises(DestinationForbidden, match=r"\(short\)"):
        check(number, country="DE", specials=ALL_SPECIALS - {"short"})
    check(number, country="DE", specials={"short"})


def test_nothing_allows_emergency_numbers() -> None:
    emergencies = 0
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for digits in ("911", "112", "999", "110", "118", "1091", "1100", "116116", "100", "119", "122122", "911911"):
            number = f"+{code}{digits}"
            if any(phonenumbers.is_emergency_number(digits, region) for region in regions if region != "001"):
                emergencies += 1
                with pytest.raises((DestinationForbidden, InvalidNumber)):
                    check(number, country=regions[0], countries=tuple(regions), specials=ALL_SPECIALS)
    assert emergencies > 100


def test_an_emergency_number_that_looks_like_e164_is_refused_even_when_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phonenumbers, "is_emergency_number", lambda digits, _region: digits == "116117")
    with pytest.raises(DestinationForbidden, match="emergency"):
        check("+49116117", country="DE", specials=ALL_SPECIALS)


@pytest.mark.parametrize(
    "number",
    [
        "+14151234567",
        "+4912345",
        "+19999999999",
        "+447700",
        "+4402079460123",
        "14155552671",
        "+1 415 555 2671",
        "+1415555267a",
        "",
        "+",
        "+٤٤٢٠٧٩٤٦٠١٢٣",
    ],
)
def test_a_number_that_nobody_can_have_is_invalid(number: str) -> None:
    with pytest.raises(InvalidNumber):
        check(number, country="US", countries=("US", "DE", "GB"))


# -- fiction


@pytest.mark.parametrize("number", ["+12125550100", "+12125550199", "+14155550131", "+13105550142", "+18005550199"])
def test_numbers_of_fiction_are_for_the_simulated_carrier_only(number: str) -> None:
    check(number, fiction=True)
    with pytest.raises(InvalidNumber, match="reserved for fiction"):
        check(number, fiction=False)


def test_every_test_number_under_every_area_code_of_the_country_passes() -> None:
    for area_code in range(201, 990):
        if phonenumbers.region_code_for_number(phonenumbers.parse(f"+1{area_code}2345678")) != "US":
            continue
        if (
            phonenumbers.number_type(phonenumbers.parse(f"+1{area_code}2345678"))
            != phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE
        ):
            continue
        check(f"+1{area_code}5550107", fiction=True)


def test_fictional_numbers_of_another_country_are_refused_too() -> None:
    with pytest.raises(DestinationForbidden, match="is in JM "):
        check("+18765550100", fiction=True)
    check("+18765550100", fiction=True, countries=("JM",))
    check("+12465550100", fiction=True, countries=("BB",))


def test_a_fictional_number_under_no_area_code_is_invalid() -> None:
    with pytest.raises(InvalidNumber):
        check("+19995550100", fiction=True)


def test_freephone_numbers_that_only_look_like_fiction_are_real() -> None:
    check("+18005550100")
    check("+18885550100")


# -- always


@given(st.text(max_size=60), st.sampled_from(["US", "DE", "GB", "XX", ""]))
def test_reading_gives_e164_or_says_why_not(text: str, country: str) -> None:
    try:
        number = read_number(text, country)
    except BadInput:
        pass
    else:
        assert number[0] == "+"
        assert number[1:].isascii()
        assert number[1:].isdigit()
        assert 7 <= len(number) - 1 <= 15


@given(st.from_regex(r"\+[0-9]{5,16}", fullmatch=True), st.booleans())
def test_checking_passes_or_refuses_and_nothing_else(number: str, fiction: bool) -> None:
    with contextlib.suppress(InvalidNumber, DestinationForbidden):
        check(number, countries=tuple(phonenumbers.SUPPORTED_REGIONS), specials=ALL_SPECIALS, fiction=fiction)


def test_checking_is_quick() -> None:
    """Under 200 us: it stands between the claim and the dial. CPU time, best of several."""
    numbers = ["+14155552671", "+12125550101", "+18095551234", "+442079460123", "+4915112345678", "+870773111632"]

    def cost_s() -> float:
        started_s = time.process_time()
        for _ in range(50):
            for number in numbers:
                check(number, countries=("US", "DO", "GB", "DE"), specials={"satellite"}, fiction=True)
        return (time.process_time() - started_s) / 50 / len(numbers)

    cost_s()
    assert min(cost_s() for _ in range(5)) < 200e-6


# -- small things


@pytest.mark.parametrize(
    ("number", "shown"), [("+14155552671", "********2671"), ("911", "***"), ("1234", "****"), ("12345", "*2345"), ("", "")]
)
def test_a_masked_number_shows_its_last_four_digits(number: str, shown: str) -> None:
    assert mask(number) == shown


def test_countries_are_read_and_unknown_ones_refused() -> None:
    assert read_country(" us ") == "US"
    for wrong in ("UK", "USA", "XX", "", "001"):
        with pytest.raises(BadInput, match="two-letter code"):
            read_country(wrong)


def test_specials_are_read_by_name_and_emergency_never() -> None:
    assert read_specials([" Premium ", "uan"]) == {"premium", "uan"}
    with pytest.raises(BadInput, match="can never be allowed"):
        read_specials(["emergency"])
    with pytest.raises(BadInput, match="did you mean satellite"):
        read_specials(["satelite"])
    with pytest.raises(BadInput, match="known are premium"):
        read_specials(["xyzzy"])
