"""The demo: what it promises, and that a broken promise is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.cli.demo import summary, summary_document
from orchestrator.demo import ACCOUNTS, AREA_CODES, SHARES, check_possible, planned, verdict, verdicts
from orchestrator.errors import BadInput
from orchestrator.lifecycle import State
from orchestrator.numbers import check_destination
from orchestrator.outcomes import EndReason
from sip.simulated import scripts
from tests.unit.cli.rows import call_row


def test_a_demo_of_60_has_every_kind_of_callee_as_often_as_planned():
    plan = list(planned(60))
    assert Counter(script.name for _, script in plan) == {script.name: times for script, times in SHARES}
    assert Counter(account.name for account, _ in plan) == {"demo-acme": 36, "demo-globex": 18, "demo-initech": 6}


def test_a_demo_is_the_same_each_time_and_a_small_one_is_mixed_too():
    assert list(planned(200)) == list(planned(200))
    assert list(planned(200))[:7] == list(planned(7))
    assert len({script.name for _, script in planned(12)}) >= 8
    assert {account for account, _ in planned(12)} == set(ACCOUNTS)


@pytest.mark.parametrize("script", [script for script, _ in SHARES], ids=lambda script: script.name)
def test_each_demo_number_may_be_called_and_promises_an_end_reason(script):
    for area_code in AREA_CODES:
        number = scripts.number_of(script, area_code=area_code)
        check_destination(number, country="US", allowed_countries=(), allowed_specials=(), fiction_allowed=True)
    assert EndReason(script.promise.end_reason)


def test_a_call_passes_when_it_ended_as_its_number_promises():
    busy = scripts.number_of(scripts.BUSY)
    kept = call_row(to=busy, end_reason=EndReason.USER_BUSY)
    assert verdict(kept).passed
    assert not verdict(replace(kept, end_reason=EndReason.USER_DID_NOT_PICK_UP)).passed
    assert not verdict(call_row(to=busy, state=State.RINGING)).passed
    with pytest.raises(ValueError, match="no demo call"):
        verdict(replace(kept, to="+12125551234"))


def test_the_last_line_of_the_summary_counts_passed_and_failed():
    good = [call_row(call_id=n, to=scripts.number_of(scripts.BUSY), end_reason=EndReason.USER_BUSY) for n in range(1, 60)]
    bad = call_row(call_id=60, to=scripts.number_of(scripts.RINGS_OUT), end_reason=EndReason.INTERNAL_ERROR)
    assert summary(verdicts(good))[-1] == "59 passed, 0 failed"
    lines = summary(verdicts([*good, bad]))
    assert lines[-1] == "59 passed, 1 failed"
    assert "INTERNAL_ERROR   BROKEN: USER_DID_NOT_PICK_UP was promised" in lines[-2]
    document = summary_document(verdicts([*good, bad]))
    assert (document["passed"], document["failed"]) == (59, 1)


def test_no_demo_is_queued_for_a_carrier_that_rings_real_phones():
    with pytest.raises(BadInput, match="on the simulated carrier only"):
        check_possible(size=60, is_real=True)


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_a_demo_of_no_sensible_size_is_refused(size):
    with pytest.raises(BadInput, match="1 to 1000 calls"):
        check_possible(size=size, is_real=False)
