"""Telephone numbers: reading them, and who may be called.

Destinations are restricted from the start, since a leaked key or a bad list costs real money: countries are allowed by account,
and kinds of numbers that cost more than a call (or that nobody should be able to dial by mistake) only by name. +1 is many
countries, among them Caribbean ones whose calls are dear, so a number's country is looked up, never taken from its code.

Knows numbering plans (libphonenumber's) and nothing of accounts, trunks or queues.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Collection, Iterable

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType, ValidationResult

from orchestrator.errors import BadInput, DestinationForbidden, InvalidNumber
from orchestrator.ids import E164

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_FICTION = re.compile(r"\+1(?!800|833|844|855|866|877|888|900)[2-9][0-9]{2}55501[0-9]{2}|\+18005550199", re.ASCII)
"""555-0100 to 555-0199 of every geographic area code, and one freephone number (NANPA, 555 line numbers): given to nobody, for
films and for our simulated callees."""
_NANP_PAID = re.compile(r"\+1[2-9][0-9]{2}(976[0-9]{4}|5551212)", re.ASCII)
"""Paid services under ordinary area codes: the 976 exchange, and directory assistance. libphonenumber has them as ordinary."""
_LETTERS = re.compile(r"[^\W\d_]")
_LONGEST_TEXT = 50


class Special(enum.Enum):
    """Kinds of numbers that are refused unless the account is allowed them by name."""

    EMERGENCY = "emergency"
    """Can never be allowed."""
    PREMIUM = "premium"
    SHARED_COST = "shared_cost"
    SATELLITE = "satellite"
    """Satellite and international networks: country codes 870, 881, 882, 883 and 888."""
    SHORT = "short"
    PERSONAL = "personal"
    """Follow-me numbers; dear in many countries (+44 70, +1 500)."""
    PAGER = "pager"
    UAN = "uan"
    """Company-wide numbers, dear in some countries."""
    VOICEMAIL_ACCESS = "voicemail_access"
    INTERNATIONAL_FREEPHONE = "international_freephone"
    """Country code 800."""


_BY_CODE = {
    800: Special.INTERNATIONAL_FREEPHONE,
    808: Special.SHARED_COST,
    870: Special.SATELLITE,
    878: Special.PERSONAL,
    881: Special.SATELLITE,
    882: Special.SATELLITE,
    883: Special.SATELLITE,
    888: Special.SATELLITE,
    979: Special.PREMIUM,
}
"""Country codes of no country (ITU-T E.164 annex, "global services")."""

_BY_TYPE = {
    PhoneNumberType.PREMIUM_RATE: Special.PREMIUM,
    PhoneNumberType.SHARED_COST: Special.SHARED_COST,
    PhoneNumberType.PERSONAL_NUMBER: Special.PERSONAL,
    PhoneNumberType.PAGER: Special.PAGER,
    PhoneNumberType.UAN: Special.UAN,
    PhoneNumberType.VOICEMAIL: Special.VOICEMAIL_ACCESS,
}

_NOT_POSSIBLE = {
    ValidationResult.TOO_SHORT: "it has too few digits",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "its area code is missing",
    ValidationResult.TOO_LONG: "it has too many digits",
    ValidationResult.INVALID_LENGTH: "no number there has so many digits",
    ValidationResult.INVALID_COUNTRY_CODE: "there is no such country code",
}


def mask(number: str) -> str:
    """The number as logs may show it: all but the last four characters hidden, all of a very short one."""
    shown = number[-4:] if len(number) > 4 else ""
    return "*" * (len(number) - len(shown)) + shown


def is_fictional(number: str) -> bool:
    """Whether a number in E.164 is given to nobody: only the simulated carrier answers it."""
    return _FICTION.fullmatch(number) is not None


def is_paid(number: str) -> bool:
    """Whether a number in E.164 with country code 1 costs more than a call, though libphonenumber has it as ordinary."""
    return _NANP_PAID.fullmatch(number) is not None


def is_global(country_code: int) -> bool:
    """Whether a country code is no country's."""
    return country_code in _BY_CODE


def read_country(text: str) -> str:
    """An ISO 3166-1 alpha-2 code in capitals. Raises BadInput."""
    country = text.strip().upper()
    if country not in phonenumbers.SUPPORTED_REGIONS:
        raise BadInput(f"{text!r} is no country with telephone numbers: give its two-letter code, like US, GB or DE")
    return country


def read_specials(names: Iterable[str]) -> frozenset[str]:
    """Names of special kinds that an account is to be allowed. Raises BadInput."""
    known = [kind.value for kind in Special if kind is not Special.EMERGENCY]
    read = frozenset(name.strip().lower() for name in names)
    for name in sorted(read):
        if name == Special.EMERGENCY.value:
            raise BadInput("emergency numbers can never be allowed")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise BadInput(f"{name!r} is no kind of special number; {hint}")
    return read


def read_number(text: str, country: str) -> E164:
    """A number as people write it: international with a leading +, or as it is dialled within `country`.

    Says only that it could be a number, not that it may be called: that is `check_destination`. Raises InvalidNumber, and
    DestinationForbidden for emergency and short numbers, which have no international form.
    """
    written = text.strip()
    if not written:
        raise InvalidNumber("the number is empty")
    if len(written) > _LONGEST_TEXT:
        raise InvalidNumber(f"{written[:_LONGEST_TEXT]!r}... is too long to be a telephone number")
    if _LETTERS.search(written):
        raise InvalidNumber(f"{written!r} has letters in it: write digits only, and an extension's digits as DTMF")
    try:
        parsed = phonenumbers.parse(written, country)
    except phonenumbers.NumberParseException as error:
        raise InvalidNumber(f"{written!r} cannot be read as a telephone number of {country}: {_remedy(error)}") from error
    if _is_emergency(parsed, country):
        raise DestinationForbidden(f"{written!r} is an emergency number: a machine must never call it, and nothing allows it")
    number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    possible = phonenumbers.is_possible_number_with_reason(parsed)
    if possible == ValidationResult.IS_POSSIBLE or parsed.country_code in _BY_CODE:
        return _shaped(number)
    if not _is_short(parsed, country):
        raise InvalidNumber(f"{written!r}, read as {number}, cannot be a telephone number: {_NOT_POSSIBLE[possible]}")
    if not _E164.fullmatch(number):
        raise DestinationForbidden(
            f"{written!r} is a short number: it has no international form and cannot be called over a trunk"
        )
    return _shaped(number)


def check_destination(
    number: E164,
    *,
    country: str,
    allowed_countries: Collection[str],
    allowed_specials: Collection[str],
    fiction_allowed: bool = False,
) -> None:
    """Let pass what an account of `country` may call.

    `allowed_countries` empty: its own only. `fiction_allowed`: the carrier is simulated, whose test numbers are nobody's.
    Raises InvalidNumber or DestinationForbidden. Takes well under 200 us.
    """
    _shaped(number)
    fictional = is_fictional(number)
    if fictional and not fiction_allowed:
        raise InvalidNumber(f"{number} is reserved for fiction: only the simulated carrier answers it")
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException as error:
        raise InvalidNumber(f"{number} cannot be a telephone number: there is no such country code") from error
    if phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) != number:
        raise InvalidNumber(f"{number} is not E.164: leave out the 0 after the country code")
    kind = _special(parsed, number, country) if not fictional else None
    if kind and (kind.value not in allowed_specials or kind is Special.EMERGENCY):
        raise DestinationForbidden(f"{number} is a special number ({kind.value}) and the account may not call such numbers")
    if parsed.country_code in _BY_CODE:
        return  # a number of no country, allowed by name
    allowed = frozenset(allowed_countries) or frozenset({country})
    region = _region(parsed)
    if region not in allowed and not _is_shared_with(parsed, allowed):
        may_call = ", ".join(sorted(allowed))
        raise DestinationForbidden(f"{number} is in {region} and the account may call {may_call} only: allow it {region} too")


def _shaped(number: str) -> E164:
    if not _E164.fullmatch(number):
        raise InvalidNumber(f"{number!r} is not E.164: write + and 7 to 15 digits, country code first")
    return E164(number)


def _remedy(error: phonenumbers.NumberParseException) -> str:
    if error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE:
        return "write + and a country code that exists, or the number as it is dialled within the country"
    return "write + and the country code, like +12125550100"


def _special(parsed: PhoneNumber, number: str, country: str) -> Special | None:
    """What is special about a number, None if nothing is. Raises InvalidNumber if nobody can have it."""
    by_code = _BY_CODE.get(parsed.country_code or 0)
    kind = phonenumbers.number_type(parsed)
    if kind != PhoneNumberType.UNKNOWN:
        paid = kind != PhoneNumberType.TOLL_FREE and is_paid(number)
        return by_code or (Special.PREMIUM if paid else _BY_TYPE.get(kind))
    if _is_emergency(parsed, country):
        return Special.EMERGENCY
    if _is_short(parsed, country):
        return Special.SHORT
    # Some numbers of global networks are unknown to libphonenumber: refused as what they are, unless allowed.
    if by_code:
        return by_code
    raise InvalidNumber(
        f"{number} does not exist: no number of that country begins so or has so many digits; check it for a typo"
    )


def _region(parsed: PhoneNumber) -> str:
    """The country of a number (ISO 3166-1 alpha-2)."""
    region = phonenumbers.region_code_for_number(parsed)
    if region is None:
        # Some fictional numbers are in no country's plan; their area code is.
        sibling = PhoneNumber(country_code=parsed.country_code, national_number=int(f"{_national(parsed)[:3]}2345678"))
        region = phonenumbers.region_code_for_number(sibling)
    if region is None:
        raise InvalidNumber(f"{_national(parsed)[:3]} is no area code of +{parsed.country_code}: check it for a typo")
    return region


def _is_shared_with(parsed: PhoneNumber, countries: Collection[str]) -> bool:
    """Whether it belongs to one of these countries too: freephone numbers of +1, and islands without numbers of their own."""
    sharing = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    return any(country in countries and phonenumbers.is_valid_number_for_region(parsed, country) for country in sharing)


def _national(parsed: PhoneNumber) -> str:
    return phonenumbers.national_significant_number(parsed)


def _home(parsed: PhoneNumber, country: str) -> str:
    """The country whose short numbers count: the account's own if it has that country code, else the code's main one."""
    regions = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
    return country if country in regions else next(iter(regions), "")


def _is_emergency(parsed: PhoneNumber, country: str) -> bool:
    return phonenumbers.is_emergency_number(_national(parsed), _home(parsed, country))


def _is_short(parsed: PhoneNumber, country: str) -> bool:
    return phonenumbers.is_valid_short_number_for_region(parsed, _home(parsed, country))
