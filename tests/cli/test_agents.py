"""Agent pools by the command line."""

from __future__ import annotations

import pytest


def test_an_agent_gets_a_capacity_and_loses_it(office):
    made = office("agents", "set", "ann", "--capacity", "20")
    assert made.code == 0, made.err
    assert office("agents", "show", "ann", "--json").document["capacity"] == 20
    office("agents", "set", "ann", "--capacity", "none")
    shown = office("agents", "show", "ann", "--json").document
    assert (shown["capacity"], shown["inflight"]) == (None, 0)
    assert "not limited" in office("agents", "show", "ann").out


def test_agents_are_paused_and_go_on(office):
    office("agents", "set", "ann", "--capacity", "20")
    assert office("agents", "pause", "ann", "--json").document["paused"] is True
    assert office("agents", "resume", "ann", "--json").document["paused"] is False


def test_agents_are_listed_for_people_and_for_programs(office):
    assert "agents set" in office("agents", "list").out
    office("agents", "set", "ann", "--capacity", "20")
    office("agents", "pause", "ann")
    assert "closed" in office("agents", "list").out
    (row,) = office("agents", "list", "--json").document
    assert (row["name"], row["paused"], row["ready"], row["circuit"]["state"]) == ("ann", True, 0, "closed")


def test_a_circuit_is_closed_by_hand(office):
    office("agents", "set", "ann", "--capacity", "20")
    assert office("agents", "reset-circuit", "ann", "--json").document["circuit"]["state"] == "closed"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("set", "ann"), 2, "--capacity"),
        (("set", "ann", "--capacity", "0"), 2, "pause them"),
        (("set", "ann", "--capacity", "-1"), 2, "from 1"),
        (("set", "ann", "--capacity", "many"), 2, "'many'"),
        (("set", "ann", "--capacity", "1.5"), 2, "'1.5'"),
        (("set", "", "--capacity", "1"), 2, "1 to 255"),
        (("show", "nobody"), 4, "nobody"),
        (("pause", "nobody"), 4, "nobody"),
        (("resume", "nobody"), 4, "nobody"),
        (("reset-circuit", "nobody"), 4, "nobody"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_changes_nothing(office, arguments, code, says):
    refused = office("agents", *arguments)
    assert (refused.code, refused.out) == (code, "")
    assert len(refused.err.splitlines()) == 1
    assert says in refused.err
    assert office("agents", "list", "--json").document == []
