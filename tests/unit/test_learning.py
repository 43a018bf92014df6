"""What a trunk's history is worth: windows, shares and when nothing is proposed."""

from __future__ import annotations

import random

import pytest

from orchestrator.learning import propose, share_of
from orchestrator.store.trunk_history import PastDial


def dials(count: int, *, code: int = 480, ring_s: tuple[float, float], machine: bool | None, seed: int = 1) -> list[PastDial]:
    drawn = random.Random(seed)
    return [PastDial(code, round(1000 * drawn.uniform(*ring_s)), 30_000, machine) for _ in range(count)]


def test_a_cluster_of_machines_becomes_the_window():
    history = dials(200, ring_s=(4.0, 7.0), machine=True) + dials(150, ring_s=(12.0, 25.0), machine=False)
    [proposal] = propose(history)
    assert proposal.is_worth_it
    assert 3.0 <= proposal.min_ring_s <= 4.0
    assert 7.0 <= proposal.max_ring_s <= 8.0
    assert proposal.machines.share > 0.95


def test_a_code_after_which_people_answer_as_often_is_not_proposed():
    history = dials(200, ring_s=(4.0, 7.0), machine=True) + dials(150, ring_s=(4.0, 7.0), machine=False, seed=2)
    [proposal] = propose(history)
    assert not proposal.is_worth_it
    assert "80%" in proposal.why


def test_few_dials_propose_nothing_and_say_how_many_it_takes():
    [proposal] = propose(dials(20, ring_s=(4.0, 7.0), machine=True))
    assert not proposal.is_worth_it
    assert "30" in proposal.why


def test_dials_of_which_nothing_is_known_later_count_for_nothing():
    [proposal] = propose(dials(500, ring_s=(4.0, 7.0), machine=None))
    assert (proposal.dials, proposal.known, proposal.min_ring_s) == (500, 0, None)
    assert not proposal.is_worth_it


def test_the_window_never_reaches_the_edge_of_the_ring_timer():
    [near] = propose(dials(200, ring_s=(20.0, 27.9), machine=True))
    assert near.max_ring_s <= 28.0
    [at] = propose(dials(200, ring_s=(28.5, 30.0), machine=True))
    assert not at.is_worth_it


def test_codes_that_say_what_they_are_are_never_voicemail():
    assert propose(dials(200, code=486, ring_s=(4.0, 7.0), machine=True)) == []
    assert propose(dials(200, code=404, ring_s=(4.0, 7.0), machine=True)) == []


def test_codes_are_told_apart_those_with_most_dials_first():
    history = dials(100, code=487, ring_s=(2.0, 3.0), machine=True) + dials(300, code=480, ring_s=(4.0, 7.0), machine=True)
    assert [proposal.sip_code for proposal in propose(history)] == [480, 487]


def test_intervals_are_wilsons():
    interval = share_of(8, 10)  # Wilson's own example gives 0.490 to 0.943
    assert interval.low == pytest.approx(0.490, abs=0.001)
    assert interval.high == pytest.approx(0.943, abs=0.001)
    with pytest.raises(ValueError, match="nothing"):
        share_of(0, 0)
