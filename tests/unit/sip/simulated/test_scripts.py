"""The catalogue: what is documented is what is played, and what is promised follows from the rules for real trunks."""

from __future__ import annotations

import pytest

from sip.causes import HangupCause, TrunkRules, hangup_cause
from sip.events import Dialled
from sip.simulated import callees, scripts, signals
from sip.simulated.scripts import SCRIPTS, is_test_number, number_of, script_for
from sip.simulated.steps import ENDS, NotTaken, Ring, Script

by_name = pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda script: script.name)
NUMBERS = {name: number for name, number in vars(callees).items() if name.isupper() and isinstance(number, str)}


def test_every_test_number_is_documented_once_under_the_name_of_its_script():
    assert {name.lower(): number for name, number in NUMBERS.items()} == {
        script.name: number_of(script) for script in SCRIPTS.values()
    }
    assert len(set(NUMBERS.values())) == len(NUMBERS) == len(SCRIPTS)


def test_names_and_sentences_are_nobody_elses():
    assert len({script.name for script in SCRIPTS.values()}) == len(SCRIPTS)
    assert len({script.sentence for script in SCRIPTS.values()}) == len(SCRIPTS)
    assert all(getattr(scripts, script.name.upper()) is script for script in SCRIPTS.values())


@by_name
def test_any_area_code_reaches_the_same_script(script: Script):
    assert {script_for(number_of(script, area_code=area)).name for area in (200, 415, 999)} == {script.name}


@pytest.mark.parametrize(
    "number", ["+12125550099", "+12125550200", "+442125550101", "+1212555010", "+11125550101", "+121255501000"]
)
def test_numbers_outside_the_fiction_range_are_no_test_numbers(number: str):
    assert not is_test_number(number)
    assert script_for(number) is None


def test_a_test_number_without_a_script_is_still_one():
    assert is_test_number("+12125550199")
    assert script_for("+12125550199") is None


@by_name
def test_the_promise_is_what_the_rules_make_of_the_scripts_last_step(script: Script):
    promise, last = script.promise, script.steps[-1] if script.steps else None
    rang = script.rings_at_s is not None
    if script.agent_ends_after_s is not None:
        assert (promise.cause, promise.end_reason) == (HangupCause.ORDERED, "AGENT_HUNG_UP")
        assert not isinstance(last, ENDS)
        return
    if script in (scripts.TALKS_ON, scripts.FALLS_SILENT):
        assert promise.end_reason == "MAX_DURATION_REACHED"
        return
    signal = signals.signal_of(last) if isinstance(last, ENDS) else signals.RING_OUT
    reading = hangup_cause(
        signal,
        answered=script.answers_at_s is not None,
        rang=rang,
        ring_s=script.ring_s,
        ring_timeout_s=30.0,
        rules=TrunkRules(),
    )
    assert reading.cause is promise.cause
    assert signal.sip_code == promise.sip_code


@by_name
def test_the_promise_says_dialled_as_far_as_it_can_be_known(script: Script):
    never_responded = script.steps == ()
    not_taken = any(isinstance(step, NotTaken) for step in script.steps)
    expected = Dialled.UNKNOWN if never_responded else Dialled.NO if not_taken else Dialled.YES
    assert script.promise.dialled is expected


@by_name
def test_a_faster_script_has_shorter_times_and_the_same_sounds(script: Script):
    fast = script.faster(4)
    for slow_s, fast_s in ((script.ends_at_s, fast.ends_at_s), (script.talk_s, fast.talk_s), (script.ring_s, fast.ring_s)):
        assert fast_s == (None if slow_s is None else pytest.approx(slow_s / 4))
    assert (fast.audio, fast.early_audio, fast.promise) == (script.audio, script.early_audio, script.promise)


@by_name
def test_nothing_happens_after_the_end(script: Script):
    ends = [number for number, step in enumerate(script.steps) if isinstance(step, ENDS)]
    assert ends in ([], [len(script.steps) - 1])
    assert sum(isinstance(step, Ring) for step in script.steps) <= 1
