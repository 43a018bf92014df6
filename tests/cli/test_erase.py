"""`orchestrator erase`: refuses what must end first, and says what remains."""

from __future__ import annotations

import pytest

OTHER = "+12125550111"


@pytest.fixture
def number(office) -> str:
    """A number that one call has been queued to."""
    assert office("enqueue", "--account", "acme", "--to", OTHER, "--metadata", f'{{"to": "{OTHER}"}}').code == 0
    return OTHER


def test_a_call_that_waits_must_end_first_and_nothing_is_changed(office, number):
    said = office("erase", number)
    assert said.code == 1
    assert "1 call to it must end first (1): wait, or have them cancelled with --cancel" in said.err
    assert office("calls", "show", "1", "--json").document["to"] == OTHER


def test_with_cancel_it_ends_waiting_calls_and_erases_the_number(office, number):
    said = office("erase", number, "--cancel")
    assert said.code == 0, said.err
    assert "********0111 is erased from 1 call" in said.out.replace("…", "*") or "0111 is erased from 1 call" in said.out
    assert "it is on no do-not-call list: a new call to it would be dialled" in said.out
    shown = office("calls", "show", "1", "--json")
    assert OTHER[1:] not in shown.out
    assert shown.document["end_reason"] == "CANCELED_BY_REQUEST"
    again = office("erase", number, "--json")
    assert again.code == 0
    assert again.document["calls"] == 0


def test_a_listed_number_stays_listed_by_its_hash_alone(office, number):
    assert office("do-not-call", "add", number, "--reason", "asked").code == 0
    said = office("erase", number, "--cancel", "--keep-hash")
    assert said.code == 0, said.err
    assert "the do-not-call lists know it by its hash alone, and hold as before" in said.out
    assert OTHER not in office("do-not-call", "list").out
    refused = office("enqueue", "--account", "acme", "--to", OTHER)
    assert "do-not-call" in (refused.err + refused.out) or "do not call" in (refused.err + refused.out)


def test_a_caller_id_of_ours_is_not_erased_behind_our_back(office):
    assert office("accounts", "set", "acme", "--caller-id", OTHER).code == 0
    said = office("erase", OTHER)
    assert said.code == 1
    assert "it is a caller id of account acme: take it away there first" in said.err


@pytest.mark.parametrize("wrong", ["12125550111", "+1 212 555 0111", "somebody", "+0123456789"])
def test_a_number_that_is_not_written_as_it_is_stored_is_refused(office, wrong):
    said = office("erase", wrong)
    assert said.code == 2
    assert "with + and country code and digits only" in said.err
