"""Ordinary numbers, told apart in a few microseconds: what `orchestrator.numbers` lets pass without a second thought.

A list of calls is nearly all ordinary numbers written in E.164, and reading and checking one with libphonenumber takes as long
as queueing it. This asks the same numbering plans in a tenth of the time, and only ever says "certainly fine" or "ask the real
check". Whatever is special, fictional, short, stripped of a prefix or written in another way is left to the real check, so that
nothing passes here that would not pass there; a test compares the two over all countries.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

from orchestrator.ids import E164
from orchestrator.numbers import is_fictional, is_global, is_paid

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_LONGEST_CODE = 3
_ANY_LENGTH = frozenset(range(1, 18))


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of number of one country."""

    lengths: frozenset[int]
    pattern: re.Pattern[str]

    def holds(self, national: str) -> bool:
        return len(national) in self.lengths and self.pattern.fullmatch(national) is not None


@dataclass(frozen=True, slots=True)
class _Region:
    """What is ordinary in one country."""

    allowed: bool
    leading: re.Pattern[str] | None
    """How its numbers begin, where that alone decides."""
    every: _Kind
    special: tuple[_Kind, ...]
    ordinary: tuple[_Kind, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The numbers of one country code."""

    lengths: frozenset[int]
    prefix: re.Pattern[str] | None
    """What libphonenumber would take for a prefix of national dialling."""
    regions: tuple[_Region, ...]
    """In the order in which libphonenumber asks them."""


class OrdinaryNumbers:
    """The ordinary numbers that one account may call."""

    def __init__(self, *, country: str, allowed_countries: Collection[str]) -> None:
        """`allowed_countries` empty: its own only, as in `check_destination`."""
        self._country = country
        self._allowed = frozenset(allowed_countries) or frozenset({country})
        self._plans: dict[str, _Plan | None] = {}
        metadata = PhoneMetadata.metadata_for_region(country, None)
        self._home_code = str(metadata.country_code) if metadata is not None else "+"
        dials_out = metadata.international_prefix if metadata is not None else None
        self._home_dials_out = re.compile(dials_out or "")
        """What libphonenumber takes for the beginning of an international number; everything, where that is not known."""

    @classmethod
    def of_all_countries(cls, *, home: str) -> OrdinaryNumbers:
        """Wherever they are. `home`: where numbers without a country code are."""
        return cls(country=home, allowed_countries=phonenumbers.SUPPORTED_REGIONS)

    def read(self, text: str) -> E164 | None:
        """The number, if it is ordinary, in E.164 or as plain digits that are dialled so in the account's country.

        None says nothing: ask `read_number` and `check_destination`.
        """
        if text.startswith("+"):
            return E164(text) if self.holds(text) else None
        if not (text.isascii() and text.isdigit()) or text.startswith(self._home_code) or self._home_dials_out.match(text):
            return None
        number = f"+{self._home_code}{text}"
        return E164(number) if self.holds(number) else None

    def holds(self, text: str) -> bool:
        """Whether it is E.164 as it stands, and `read_number` and `check_destination` are certain to let it pass.

        False says nothing: ask them.
        """
        if not _E164.fullmatch(text):
            return False
        for size in range(1, _LONGEST_CODE + 1):
            code = text[1 : 1 + size]
            if int(code) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
                return self._is_ordinary(text, code, text[1 + size :])
        return False

    def _is_ordinary(self, number: str, code: str, national: str) -> bool:
        if code not in self._plans:
            self._plans[code] = _plan(int(code), country=self._country, allowed=self._allowed)
        plan = self._plans[code]
        if plan is None or len(national) not in plan.lengths or national[0] == "0":
            return False
        if plan.prefix is not None and plan.prefix.match(national):
            return False
        if code == "1" and (is_fictional(number) or is_paid(number)):
            return False
        for region in plan.regions:
            if region.leading is not None:
                if not region.leading.match(national):
                    continue
                return region.allowed and _is_of(region, national)
            if not region.every.holds(national):
                continue
            if _any(region.special, national):
                return False
            if _any(region.ordinary, national):
                return region.allowed
        return False


def _is_of(region: _Region, national: str) -> bool:
    return region.every.holds(national) and not _any(region.special, national) and _any(region.ordinary, national)


def _any(kinds: Iterable[_Kind], national: str) -> bool:
    for kind in kinds:  # noqa: SIM110  a generator would cost more than what it asks
        if kind.holds(national):
            return True
    return False


def _plan(code: int, *, country: str, allowed: frozenset[str]) -> _Plan | None:
    """None: there are no ordinary numbers."""
    names = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]
    metadata = [found for found in (PhoneMetadata.metadata_for_region(name, None) for name in names) if found is not None]
    if is_global(code) or len(metadata) != len(names):
        return None
    main = metadata[0]
    # An emergency number is one as it stands; what is longer cannot be one.
    longest_emergency = max((_longest_emergency(name) for name in {*names, country}), default=0)
    general = main.general_desc
    possible = {*general.possible_length} - {*general.possible_length_local_only} if general is not None else set()
    prefix = main.national_prefix_for_parsing
    return _Plan(
        lengths=frozenset(length for length in possible if length > longest_emergency),
        prefix=re.compile(prefix) if prefix else None,
        regions=tuple(_region(found, only=len(metadata) == 1, allowed=found.id in allowed) for found in metadata),
    )


def _region(metadata: PhoneMetadata, *, only: bool, allowed: bool) -> _Region:
    special = (metadata.premium_rate, metadata.shared_cost, metadata.personal_number, metadata.pager, metadata.uan)
    ordinary = (metadata.fixed_line, metadata.mobile, metadata.toll_free, metadata.voip)
    # Where a country has its code for itself, every number of the code is in it.
    leading = metadata.leading_digits if not only else ""
    every = _kind(metadata.general_desc)
    return _Region(
        allowed=allowed,
        leading=re.compile(leading) if leading is not None else None,
        every=every or _Kind(lengths=frozenset(), pattern=re.compile("")),
        special=tuple(kind for kind in map(_kind, (*special, metadata.voicemail)) if kind is not None),
        ordinary=tuple(kind for kind in map(_kind, ordinary) if kind is not None),
    )


def _kind(description: PhoneNumberDesc | None) -> _Kind | None:
    if description is None or description.national_number_pattern is None:
        return None
    lengths = frozenset(description.possible_length) or _ANY_LENGTH
    return _Kind(lengths=lengths, pattern=re.compile(description.national_number_pattern))


def _longest_emergency(country: str) -> int:
    metadata = PhoneMetadata.short_metadata_for_region(country)
    if metadata is None or metadata.emergency is None:
        return 0
    return max((length for length in metadata.emergency.possible_length if length > 0), default=0)
