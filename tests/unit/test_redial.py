"""Redial: every class against every kind of attempt, and policies as people and rows write them."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.errors import BadInput
from orchestrator.outcomes import RedialClass
from orchestrator.redial import DEFAULT_DELAYS_S, MOST_ATTEMPTS, read_delays, redial_delay_s, stored_policy
from orchestrator.store.records import RedialPolicy

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
OFTEN = RedialPolicy(max_attempts=MOST_ATTEMPTS)


def delay_s(
    after: RedialClass,
    *,
    policy: RedialPolicy = OFTEN,
    rang: bool = False,
    attempts: int = 1,
    cooled_down: bool = False,
    chance: float = 0.0,
) -> float | None:
    return redial_delay_s(policy, after=after, rang=rang, attempts=attempts, cooled_down=cooled_down, chance=chance)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (RedialClass.NO, [None, None, None, None]),
        (RedialClass.SOON, [5 * MINUTE_S, 15 * MINUTE_S, 60 * MINUTE_S, 60 * MINUTE_S]),
        (RedialClass.LATER, [2 * HOUR_S, 24 * HOUR_S, 24 * HOUR_S, 24 * HOUR_S]),
        (RedialClass.COOLDOWN, [3 * DAY_S] * 4),
        (RedialClass.NUMBER, [None, None, None, None]),
        (RedialClass.TRUNK, [2 * HOUR_S, 24 * HOUR_S, 24 * HOUR_S, 24 * HOUR_S]),
    ],
    ids=lambda value: value.value if isinstance(value, RedialClass) else "",
)
def test_each_class_has_its_delays(after: RedialClass, expected: list[float | None]):
    assert [delay_s(after, attempts=attempts) for attempts in (1, 2, 3, 4)] == expected


@pytest.mark.parametrize("after", RedialClass)
@pytest.mark.parametrize("rang", [False, True])
@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_no_call_has_more_attempts_than_its_policy(after: RedialClass, rang: bool, max_attempts: int):
    policy = RedialPolicy(max_attempts=max_attempts)
    for attempts in range(max_attempts, 8):
        assert delay_s(after, policy=policy, rang=rang, attempts=attempts) is None


def test_by_default_there_is_one_attempt():
    assert all(delay_s(after, policy=RedialPolicy()) is None for after in RedialClass)


@pytest.mark.parametrize("after", [RedialClass.SOON, RedialClass.LATER, RedialClass.COOLDOWN, RedialClass.TRUNK])
@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_whoever_heard_it_ring_is_left_alone_at_least_as_long_as_who_did_not_pick_up(after: RedialClass, attempts: int):
    waited = delay_s(after, rang=True, attempts=attempts)
    assert waited is not None
    assert waited >= (delay_s(RedialClass.LATER, attempts=attempts) or 0)
    assert waited >= (delay_s(after, attempts=attempts) or 0)


@pytest.mark.parametrize("after", RedialClass)
def test_after_a_cooldown_there_is_one_more_attempt_at_most(after: RedialClass):
    assert delay_s(RedialClass.COOLDOWN, attempts=1) == 3 * DAY_S
    assert delay_s(after, attempts=2, cooled_down=True) is None


def test_jitter_makes_delays_longer_by_its_share_at_most_and_never_shorter():
    policy = RedialPolicy(max_attempts=2, jitter=0.5)
    waited = [delay_s(RedialClass.SOON, policy=policy, chance=chance / 10) or 0 for chance in range(11)]
    assert (waited[0], waited[-1]) == (300.0, 450.0)
    assert all(earlier < later for earlier, later in itertools.pairwise(waited))


def test_a_policys_own_delays_count_and_the_last_one_repeats():
    policy = RedialPolicy(max_attempts=9, delays_s={RedialClass.SOON: (10.0, 20.0)})
    assert [delay_s(RedialClass.SOON, policy=policy, attempts=n) for n in (1, 2, 3)] == [10.0, 20.0, 20.0]
    assert delay_s(RedialClass.LATER, policy=policy) == 2 * HOUR_S


# -- reading ------------------------------------------------------------------------------------------------------------------


def test_delays_are_read_by_the_name_of_their_class():
    assert read_delays({"soon": [60, 120.5], "cooldown": (DAY_S,)}) == {
        RedialClass.SOON: (60.0, 120.5),
        RedialClass.COOLDOWN: (DAY_S,),
    }


@pytest.mark.parametrize(
    ("delays", "complaint"),
    [
        ({"soom": [60]}, "no redial class 'soom'; did you mean soon?"),
        ({"whenever": [60]}, "known are soon, later, cooldown"),
        ({"trunk": [60]}, "has no delays to set"),
        ({"no": [60]}, "has no delays to set"),
        ({"soon": []}, "a list of 1 to 50 delays"),
        ({"soon": 60}, "a list of 1 to 50 delays"),
        ({"soon": "60"}, "a list of 1 to 50 delays"),
        ({"soon": [60] * 51}, "a list of 1 to 50 delays"),
        ({"soon": [-1]}, "above 0"),
        ({"soon": [0]}, "above 0"),
        ({"soon": [float("nan")]}, "above 0"),
        ({"soon": [True]}, "above 0"),
        ({"soon": ["60"]}, "above 0"),
        ({"soon": [1e9]}, "at most 31622400 s"),
        ({"soon": [59]}, "shorter than the account's 60 s between two dials to one number"),
    ],
)
def test_delays_that_cannot_be_kept_are_refused_with_a_reason(delays: dict[str, object], complaint: str):
    with pytest.raises(BadInput, match=complaint):
        read_delays(delays, gap_s=60.0)


def test_a_calls_own_policy_goes_over_its_accounts():
    own = '{"max_attempts": 4, "delays": {"soon": [30]}}'
    policy = stored_policy(max_attempts=2, delays='{"soon": [10], "later": [20]}', jitter=0.2, own=own)
    assert policy == RedialPolicy(max_attempts=4, delays_s={RedialClass.SOON: (30.0,), RedialClass.LATER: (20.0,)}, jitter=0.2)
    assert stored_policy(max_attempts=2, delays="{}", jitter=0.0, own=None) == RedialPolicy(max_attempts=2, jitter=0.0)
    assert stored_policy(max_attempts=2, delays="{}", jitter=0.0, own='{"max_attempts": 3.0}').max_attempts == 3


@pytest.mark.parametrize(
    "own",
    [
        '{"max_attempts": "many"}',
        '{"max_attempts": -1}',
        '{"max_attempts": 1e9}',
        '{"max_attempts": null}',
        '{"max_attempts": []}',
    ],
)
def test_a_row_whose_number_of_attempts_cannot_be_read_is_not_redialled(own: str):
    assert stored_policy(max_attempts=5, delays="{}", jitter=0.1, own=own).max_attempts == 1


@pytest.mark.parametrize(
    "own",
    [
        "[]",
        "7",
        '{"delays": 7}',
        '{"delays": {"soon": "x"}}',
        '{"delays": {"sometime": [1]}}',
        '{"jitter": 7}',
        '{"jitter": "x"}',
    ],
)
def test_what_else_of_a_row_cannot_be_read_counts_as_not_said(own: str):
    policy = stored_policy(max_attempts=5, delays='{"soon": [-1], "later": [20]}', jitter=0.1, own=own)
    assert policy == RedialPolicy(max_attempts=5, delays_s={RedialClass.LATER: (20.0,)}, jitter=0.1)


def test_every_class_with_delays_has_default_ones():
    assert set(DEFAULT_DELAYS_S) == {RedialClass.SOON, RedialClass.LATER, RedialClass.COOLDOWN}
