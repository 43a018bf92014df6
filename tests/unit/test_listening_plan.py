"""What is listened for in a room: the call's policy, and where that says nothing the deployment's times."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.calls.plans import ListeningTimes, listening_plan, room_plan
from orchestrator.detection import NO_DETECTION, DetectionPolicy
from sip.leg import RoomName
from tests.fixtures.claims import a_claimed_call


def test_nobody_listens_where_the_policy_is_off():
    assert listening_plan(NO_DETECTION, ListeningTimes(silence_s=20)) is None


@pytest.mark.parametrize(
    ("policy", "times", "warning_s", "silence_s"),
    [
        ({}, {}, None, None),
        ({}, {"silence_s": 20}, 10, 20),
        ({}, {"silence_s": 20, "silence_warning_s": 15}, 15, 20),
        ({}, {"silence_warning_s": 15}, 15, None),
        ({"silence_s": 30.0}, {"silence_s": 20, "silence_warning_s": 15}, 15, 30),
        ({"silence_s": 10.0}, {"silence_s": 20, "silence_warning_s": 15}, 5, 10),
        ({"silence_s": 10.0, "silence_warning_s": 8.0}, {}, 8, 10),
        ({"silence_s": 10.0, "silence_warning_s": 0.0}, {"silence_warning_s": 5}, None, 10),
        ({"silence_s": 0.0}, {"silence_s": 20}, None, None),
        ({"silence_s": 0.0}, {"silence_s": 20, "silence_warning_s": 15}, 15, None),
    ],
)
def test_the_agent_is_warned_before_silence_ends_the_call_unless_that_is_not_wanted(
    policy: dict[str, Any], times: dict[str, Any], warning_s: float | None, silence_s: float | None
):
    plan = listening_plan(DetectionPolicy(**policy), ListeningTimes(**times))
    assert plan is not None
    assert (plan.silence_warning_s, plan.silence_s) == (warning_s, silence_s)


def test_nought_takes_a_limit_of_the_deployment_back():
    plan = listening_plan(DetectionPolicy(idle_s=0.0), ListeningTimes(idle_s=60, media_lost_s=15))
    assert plan is not None
    assert (plan.idle_s, plan.media_lost_s) == (None, 15)


@pytest.mark.parametrize("listening", [ListeningTimes(), None])
def test_the_agent_is_told_whether_a_verdict_is_to_be_expected(listening: ListeningTimes | None):
    call = a_claimed_call(detection=DetectionPolicy(hold_first_words=True))
    plan = room_plan(call, name=RoomName("r"), post_dial_allowance_s=12.0, listening=listening)
    on = listening is not None
    assert (plan.listening is not None) == on
    assert json.loads(plan.agent_metadata)["detection"] == {"on": on, "hold_first_words": on}
