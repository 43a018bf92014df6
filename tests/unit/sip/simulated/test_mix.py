"""What numbers do that are no test numbers."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from sip.causes import TrunkRules
from sip.simulated.mix import SHARES, TALK, Mix
from sip.simulated.scripts import SCRIPTS
from sip.simulated.steps import Script

NUMBERS = [f"+1{617 + n % 3}{2_000_000 + n}" for n in range(10_000)]


@cache
def drawn(seed: int = 1) -> tuple[Script, ...]:
    mix = Mix(seed=seed)
    return tuple(mix.script_for(number) for number in NUMBERS)


def test_the_same_number_does_the_same_for_one_seed_whoever_asks():
    again = Mix(seed=1)
    assert [again.script_for(number) for number in reversed(NUMBERS)] == list(reversed(drawn()))


def test_another_process_draws_the_same():
    code = "from sip.simulated.mix import Mix; print([Mix(seed=1).script_for(n) for n in ('+16172000001', '+16172000002')])"
    environment = {"PYTHONHASHSEED": "4711", "PYTHONPATH": ":".join(sys.path)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
    assert said.strip() == str([Mix(seed=1).script_for(number) for number in ("+16172000001", "+16172000002")])


def test_another_seed_is_another_mix():
    differ = sum(one.name != other.name for one, other in zip(drawn(1), drawn(2), strict=True))
    assert differ > len(NUMBERS) / 2


def test_the_shares_are_thousandths_of_all():
    assert sum(share.thousandths for share in SHARES) == 1000
    assert len({share.script.name for share in SHARES}) == len(SHARES)


@pytest.mark.parametrize("share", SHARES, ids=lambda share: share.script.name)
def test_each_kind_of_callee_is_met_as_often_as_its_share_says(share):
    met = Counter(script.name for script in drawn())[share.script.name] / len(NUMBERS)
    expected = share.thousandths / 1000
    four_deviations = 4 * (expected * (1 - expected) / len(NUMBERS)) ** 0.5
    assert met == pytest.approx(expected, abs=four_deviations)


def test_a_drawn_script_keeps_the_promise_of_the_catalogues():
    by_name = {script.name: script for script in SCRIPTS.values()}
    rules = TrunkRules()
    for script in drawn():
        model = by_name[script.name]
        assert script.promise == model.promise
        assert [type(step) for step in script.steps] == [type(step) for step in model.steps]
        assert (script.agent_ends_after_s is None) == (model.agent_ends_after_s is None)
        if script.promise.end_reason == "VOICEMAIL_DETECTED_PRECONNECT":
            assert rules.min_ring_s <= script.ring_s <= rules.max_ring_s
        if script.ring_s is not None:
            assert script.ring_s < 29.0, "the default ring timer must not be what ends it"


def test_talk_times_are_many_short_and_few_long_ones():
    talk_s = [script.talk_s for script in drawn() if script.name == "talks_8_s"]
    assert statistics.median(talk_s) == pytest.approx(TALK.median_s, rel=0.15)
    assert statistics.mean(talk_s) > 1.2 * statistics.median(talk_s)
    assert min(talk_s) >= TALK.least_s
    assert max(talk_s) <= TALK.most_s


def test_who_talks_longer_is_heard_longer():
    for script in drawn():
        if script.name == "talks_8_s":
            assert sum(sound.duration_s for sound in script.audio) >= script.talk_s
