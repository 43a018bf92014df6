"""Caller ids: which number a call shows to the callee, the best first.

Pure. The order is ours; which of them has not reached its cap of dials a day is known to the database, which takes the first
that has not (or, rotating, the one with the fewest dials today).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import assert_never

import phonenumbers

from orchestrator.area_codes import regions_of
from orchestrator.ids import E164
from orchestrator.store.records import CallerIdChoice, ClaimedCall


def caller_id_candidates(call: ClaimedCall) -> tuple[E164, ...]:
    """What the call may show: its own number and no other, else the account's, else the trunk's, else nothing of ours."""
    if call.caller_id is not None:
        return (call.caller_id,)
    own = call.account_caller_ids or call.trunk.caller_ids
    match call.caller_id_choice:
        case CallerIdChoice.FIXED | CallerIdChoice.ROTATING:
            return own
        case CallerIdChoice.NEAREST:
            return nearest_first(own, to=call.to)
        case _:
            assert_never(call.caller_id_choice)


def nearest_first(caller_ids: Sequence[E164], *, to: str) -> tuple[E164, ...]:
    """Same area code first, then the same state or province (both of the countries of +1), then the same country; among equals
    by digits in common from the left, then as they were given."""

    def distance(caller_id: E164) -> tuple[bool, bool, bool, int]:
        return (
            not _same_area_code(caller_id, to),
            regions_of(caller_id).isdisjoint(regions_of(to)),
            _country(caller_id) != _country(to),
            -_digits_in_common(caller_id, to),
        )

    return tuple(sorted(caller_ids, key=distance))


def _same_area_code(one: str, other: str) -> bool:
    return one.startswith("+1") and one[:5] == other[:5]


def _digits_in_common(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@functools.lru_cache(maxsize=10_000)
def _country(number: str) -> str:
    """ISO 3166-1, or the country code of a number that no country has."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return ""
    return phonenumbers.region_code_for_number(parsed) or next(
        (region[:2] for region in sorted(regions_of(number))), f"+{parsed.country_code}"
    )
