"""Which number a call shows: the best first."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from orchestrator.caller_ids import caller_id_candidates, nearest_first
from orchestrator.ids import E164
from orchestrator.store.records import CallerIdChoice, ClaimedCall
from tests.fixtures.claims import a_claimed_call

MANHATTAN = E164("+12125550180")
BROOKLYN = E164("+17185550180")
AUSTIN = E164("+15125550180")
TORONTO = E164("+14165550180")
LONDON = E164("+442079460001")
BERLIN = E164("+493012345678")
MUNICH = E164("+498912345678")
ALL = (MANHATTAN, BROOKLYN, AUSTIN, TORONTO, LONDON, BERLIN, MUNICH)


def a_call(**fields: Any) -> ClaimedCall:
    call = a_claimed_call()
    trunk = dataclasses.replace(call.trunk, caller_ids=fields.pop("trunk_caller_ids", ()))
    return dataclasses.replace(call, trunk=trunk, **fields)


@pytest.mark.parametrize(
    ("to", "nearest"),
    [
        ("+12125550123", [{MANHATTAN}, {BROOKLYN}, {AUSTIN}]),  # area code, state, country
        ("+19175550123", [{MANHATTAN, BROOKLYN}, {AUSTIN}]),  # another area code of New York
        ("+17375550123", [{AUSTIN}, {MANHATTAN, BROOKLYN}]),  # of Texas
        ("+16475550123", [{TORONTO}]),  # of Ontario
        ("+12065550123", [{MANHATTAN, BROOKLYN, AUSTIN}]),  # no number in Washington, but in its country
        ("+442071234567", [{LONDON}]),
        ("+493099999999", [{BERLIN}, {MUNICH}]),
        ("+498999999999", [{MUNICH}, {BERLIN}]),
        ("+33142685300", [set(ALL)]),
    ],
)
def test_the_nearest_caller_id_is_of_the_same_area_code_then_region_then_country(to: str, nearest: list[set[E164]]):
    for seed in range(5):
        order = list(nearest_first(random.Random(seed).sample(ALL, len(ALL)), to=to))
        assert set(order) == set(ALL)
        for equals in nearest:
            head, order = order[: len(equals)], order[len(equals) :]
            assert set(head) == equals


def test_caller_ids_that_are_equally_near_stay_in_order():
    same = (E164("+12125550181"), E164("+12125550182"), E164("+12125550183"))
    assert nearest_first(same, to="+12125559999") == same
    assert nearest_first(same[::-1], to="+12125559999") == same[::-1]


@pytest.mark.parametrize("choice", CallerIdChoice)
def test_a_call_that_names_its_caller_id_shows_no_other(choice: CallerIdChoice):
    call = a_call(caller_id=AUSTIN, account_caller_ids=(MANHATTAN,), trunk_caller_ids=(LONDON,), caller_id_choice=choice)
    assert caller_id_candidates(call) == (AUSTIN,)


@pytest.mark.parametrize("choice", CallerIdChoice)
def test_the_accounts_caller_ids_come_before_the_trunks(choice: CallerIdChoice):
    assert caller_id_candidates(
        a_call(account_caller_ids=(MANHATTAN,), trunk_caller_ids=(LONDON,), caller_id_choice=choice)
    ) == (MANHATTAN,)
    assert caller_id_candidates(a_call(trunk_caller_ids=(LONDON,), caller_id_choice=choice)) == (LONDON,)
    assert caller_id_candidates(a_call(caller_id_choice=choice)) == ()


def test_fixed_and_rotating_keep_the_order_and_nearest_does_not():
    ids = (LONDON, AUSTIN, MANHATTAN)
    for choice, expected in (
        (CallerIdChoice.FIXED, ids),
        (CallerIdChoice.ROTATING, ids),
        (CallerIdChoice.NEAREST, (MANHATTAN, AUSTIN, LONDON)),
    ):
        call = a_call(to="+12125550123", account_caller_ids=ids, caller_id_choice=choice)
        assert caller_id_candidates(call) == expected
