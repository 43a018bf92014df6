"""The list of transitions, all 81 pairs of it, against OUTCOMES.md written down once more."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.errors import ForbiddenTransition
from orchestrator.lifecycle import HOLDING, TRANSITIONS, State, check_transition

# OUTCOMES.md, States: "Allowed transitions, all others are errors"; and what its redial class `later` needs for calls that a
# machine answered: the next attempt (active to scheduled), and the end as that attempt ended, should the next one never come.
ALLOWED = {
    "scheduled": ["ready", "ended", "not_connected", "canceled"],
    "ready": ["claimed", "scheduled", "ended", "not_connected", "canceled"],
    "claimed": ["dialing", "ready", "scheduled", "not_connected", "canceled"],
    "dialing": ["ringing", "active", "scheduled", "not_connected", "canceled"],
    "ringing": ["active", "scheduled", "not_connected", "canceled"],
    "active": ["ended", "scheduled"],
    "ended": [],
    "not_connected": [],
    "canceled": [],
}
PAIRS = list(itertools.product(State, State))


def test_there_are_nine_states_and_a_row_for_each() -> None:
    assert {state.value for state in State} == set(ALLOWED)
    assert set(TRANSITIONS) == set(State)
    assert len(PAIRS) == 81


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda state: state.value)
def test_a_transition_is_allowed_or_an_error(before: State, after: State) -> None:
    if after.value in ALLOWED[before.value]:
        check_transition(before, after)
        return
    with pytest.raises(ForbiddenTransition, match=f"from {before.value} to {after.value}") as refusal:
        check_transition(before, after)
    assert (refusal.value.before, refusal.value.after) == (before.value, after.value)


def test_no_state_is_its_own_successor() -> None:
    assert all(state not in successors for state, successors in TRANSITIONS.items())


def test_nothing_leads_out_of_the_three_terminal_states() -> None:
    assert {state for state in State if state.is_terminal} == {State.ENDED, State.NOT_CONNECTED, State.CANCELED}


def test_a_slot_is_held_from_the_claim_to_the_end_and_at_no_other_time() -> None:
    holding = {State.CLAIMED, State.DIALING, State.RINGING, State.ACTIVE}
    assert {state for state in State if state.holds_a_slot} == holding == HOLDING


def test_every_state_can_be_reached_and_left_for_an_end() -> None:
    reached = {State.SCHEDULED}
    while more := {after for before in reached for after in TRANSITIONS[before]} - reached:
        reached |= more
    assert reached == set(State)


def test_an_active_call_ends_or_is_followed_by_another_attempt() -> None:
    assert TRANSITIONS[State.ACTIVE] == {State.ENDED, State.SCHEDULED}


def test_nothing_that_a_worker_holds_ends_as_answered_unless_it_is_active() -> None:
    assert {before for before in HOLDING if State.ENDED in TRANSITIONS[before]} == {State.ACTIVE}


def test_whatever_has_been_dialled_does_not_return_to_a_lane_without_a_delay() -> None:
    assert {before for before in State if State.READY in TRANSITIONS[before]} == {State.SCHEDULED, State.CLAIMED}
