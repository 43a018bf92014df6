"""What a policy about who answers may say, how account and call are put together, and that a bad one is named."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.detection import (
    LEAST_HANG_UP_PROBABILITY,
    NO_DETECTION,
    RULES,
    Action,
    DetectionPolicy,
    merged,
    policy_of,
    read_detection,
    read_detection_text,
    read_own_detection,
    stored_detection,
)
from orchestrator.errors import BadInput
from sip.voicemail.events import Kind, Pace


def test_by_default_somebody_listens_and_only_a_fax_is_hung_up_on():
    policy = DetectionPolicy()
    assert policy.on
    assert {kind for kind in Kind if policy.action_on(kind) is not Action.CARRY_ON} == {Kind.FAX}


def test_no_policy_can_be_written_that_does_anything_to_a_person():
    worst = policy_of({name: "hang_up" for name in RULES if name.startswith("on_")})
    for kind in (Kind.PERSON, Kind.UNCERTAIN, Kind.NOTHING):
        assert worst.action_on(kind) is Action.CARRY_ON
    assert {worst.action_on(kind) for kind in set(Kind) - {Kind.PERSON, Kind.UNCERTAIN, Kind.NOTHING}} == {Action.HANG_UP}


def test_a_machine_of_unknown_kind_is_met_as_voicemail_and_call_progress_as_an_announcement_unless_said():
    policy = policy_of({"on_voicemail": "leave_message", "on_announcement": "hang_up"})
    assert policy.action_on(Kind.MACHINE) is Action.LEAVE_MESSAGE
    assert policy.action_on(Kind.CALL_PROGRESS) is Action.HANG_UP
    policy = dataclasses.replace(policy, on_machine=Action.CARRY_ON, on_call_progress=Action.CARRY_ON)
    assert {policy.action_on(kind) for kind in (Kind.MACHINE, Kind.CALL_PROGRESS)} == {Action.CARRY_ON}


def test_every_field_has_a_rule_and_every_rule_a_field():
    assert list(RULES) == [field.name for field in dataclasses.fields(DetectionPolicy)]


def test_every_default_is_allowed():
    for field in dataclasses.fields(DetectionPolicy):
        value = getattr(DetectionPolicy(), field.name)
        stored = value.value if isinstance(value, Action | Pace) else value
        assert stored is None or read_detection({field.name: stored}) == {field.name: stored}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("hang_up", "must be a JSON object"),
        ([1], "must be a JSON object"),
        ({"on_voicemial": "hang_up"}, "did you mean on_voicemail?"),
        ({"volume": 1}, "it has on, "),
        ({"on_voicemail": "hangup"}, 'on_voicemail must be one of carry_on, hang_up, leave_message, not "hangup"'),
        ({"on_menu": "leave_message"}, "on_menu must be one of carry_on, hang_up, not"),
        ({"on_menu": ["hang_up"]}, "on_menu must be one of"),
        ({"on": "yes"}, 'on must be true or false, not "yes"'),
        ({"on": 1}, "on must be true or false, not 1"),
        ({"hang_up_probability": 0.5}, "hang_up_probability must be a number from 0.9 to 1, not 0.5"),
        ({"hang_up_probability": "0.99"}, "hang_up_probability must be a number"),
        ({"silence_s": -1}, "silence_s must be a number from 0 to 86400, not -1"),
        ({"silence_s": True}, "silence_s must be a number"),
        ({"silence_s": float("nan")}, "silence_s must be a number"),
        ({"pace": "slow"}, "pace must be one of careful, fast"),
        ({"message": "bye.wav"}, "message must be the absolute path"),
        ({"message": "/a\nb"}, "message must be the absolute path"),
        ({"message": "/" + "a" * 1000}, "at most 1000 characters"),
    ],
)
def test_what_is_wrong_is_said_with_field_value_and_what_is_allowed(value, names):
    with pytest.raises(BadInput) as refused:
        read_detection(value)
    assert names in str(refused.value)
    assert str(refused.value).startswith("detection")


def test_a_call_goes_before_its_account_and_its_account_before_the_defaults():
    account = '{"on_voicemail": "hang_up", "silence_s": 20, "pace": "fast"}'
    policy = stored_detection(account, '{"on_voicemail": "leave_message", "message": "/srv/bye.wav"}')
    assert policy == DetectionPolicy(on_voicemail=Action.LEAVE_MESSAGE, message="/srv/bye.wav", silence_s=20.0, pace=Pace.FAST)
    assert stored_detection('{"on": false}', None) == NO_DETECTION
    assert policy.detector.pace is Pace.FAST


def test_null_takes_a_field_back():
    assert merged({"on_voicemail": "hang_up", "silence_s": 20}, {"on_voicemail": None}) == {"silence_s": 20}
    assert stored_detection('{"on_voicemail": "hang_up"}', '{"on_voicemail": null}') == DetectionPolicy()


def test_a_warning_that_would_come_after_the_end_is_refused():
    with pytest.raises(BadInput, match=r"silence_warning_s \(30\) must be below silence_s \(20\)"):
        merged({"silence_s": 20}, {"silence_warning_s": 30})
    with pytest.raises(BadInput, match="silence_warning_s"):
        read_own_detection({"silence_s": 10}, {"silence_warning_s": 15})
    assert merged({"silence_s": 0}, {"silence_warning_s": 30})["silence_warning_s"] == 30, "0: the call is never ended"


@pytest.mark.parametrize(
    "stored",
    ['{"on_voicemail": "shout"}', '{"hang_up_probability": 0.1}', '{"nonsense": 1}', '{"on": "perhaps"}', '"text"', "[1]"],
)
def test_a_row_that_somebody_edited_by_hand_counts_as_not_said(stored: str):
    assert stored_detection(stored, stored) == DetectionPolicy()
    assert stored_detection(stored, '{"on_menu": "hang_up"}') == DetectionPolicy(on_menu=Action.HANG_UP)


def test_people_may_write_on_and_off():
    assert (read_detection_text(" ON "), read_detection_text("off")) == ({"on": True}, {"on": False})
    assert read_detection_text('{"on_fax": "carry_on"}') == {"on_fax": "carry_on"}
    with pytest.raises(BadInput, match="must be on, off or a JSON object"):
        read_detection_text("maybe")


def test_nobody_can_ask_for_less_certainty_than_nine_in_ten():
    assert LEAST_HANG_UP_PROBABILITY == 0.9
