"""Trunk groups, owners and circuits of trunks by the command line."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

TO = "+12125550100"


@pytest.fixture
def exchange(office):
    """The office with two more trunks and one more account."""
    for name in ("backup", "cheap"):
        assert office("trunks", "add", name, "--sip-trunk-id", f"ST_{name}", "--channels", "5", "--cps", "5").code == 0
    assert office("accounts", "add", "globex", "--country", "US", "--max-concurrent", "5", "--agent", "ann").code == 0
    return office


def group(office, name: str) -> dict:
    return office("trunks", "group", "show", name, "--json").document


def test_a_group_is_made_changed_and_shown(exchange):
    made = exchange("trunks", "group", "add", "all", "--member", "main", "--member", "cheap:1:3.5", "--member", "backup:2")
    assert made.code == 0, made.err
    assert "cheap (position 1, weight 3.5)" in made.out
    assert group(exchange, "all")["members"] == [
        {"trunk": "cheap", "position": 1, "weight": 3.5},
        {"trunk": "main", "position": 1, "weight": 1},
        {"trunk": "backup", "position": 2, "weight": 1},
    ]
    assert exchange("trunks", "group", "set", "all", "--member", "backup", "--member", "main:2").code == 0
    assert [member["trunk"] for member in group(exchange, "all")["members"]] == ["backup", "main"]
    assert group(exchange, "all")["owner"] is None


def test_groups_are_listed_for_people_without_those_of_single_trunks(exchange):
    assert "trunks group add" in exchange("trunks", "group", "list").out
    exchange("trunks", "group", "add", "all", "--member", "main", "--member", "backup:2")
    assert "backup (position 2, weight 1)" in exchange("trunks", "group", "list").out
    assert [row["name"] for row in exchange("trunks", "group", "list", "--json").document] == ["all", "backup", "cheap", "main"]


def test_an_account_and_a_call_name_a_group_like_a_trunk(exchange):
    exchange("trunks", "group", "add", "all", "--member", "main", "--member", "backup:2")
    assert exchange("accounts", "set", "globex", "--trunk", "all").code == 0
    assert exchange("accounts", "show", "globex", "--json").document["trunk"] == "all"
    for arguments in (("globex",), ("acme", "--trunk", "all")):
        queued = exchange("enqueue", "--to", TO, "--account", *arguments)
        assert queued.code == 0, queued.err


def test_a_group_that_nothing_uses_is_removed_and_another_is_not(exchange):
    for name in ("one", "two", "three"):
        exchange("trunks", "group", "add", name, "--member", "main")
    exchange("accounts", "set", "globex", "--trunk", "two")
    exchange("enqueue", "--to", TO, "--account", "acme", "--trunk", "three")
    assert exchange("trunks", "group", "remove", "one").code == 0
    assert exchange("trunks", "group", "show", "one").code == 4
    for name, says in (("two", "account globex has"), ("three", "calls have been queued")):
        refused = exchange("trunks", "group", "remove", name)
        assert refused.code == 2
        assert says in refused.err
        assert group(exchange, name)["members"]
    assert exchange("trunks", "show", "main").code == 0


BAD = [
    (("add", "all"), 2, "at least one trunk"),
    (("add", "all", "--member", "nowhere"), 4, "no trunk nowhere"),
    (("add", "all", "--member", "main", "--member", "main:2"), 2, "named twice"),
    (("add", "all", "--member", "main:0"), 2, "position of main must be from 1"),
    (("add", "all", "--member", "main:1:0"), 2, "weight of main must be from"),
    (("add", "all", "--member", "main:1:nan"), 2, "weight of main must be from"),
    (("add", "all", "--member", "main:first"), 2, "'main:first'"),
    (("add", "all", "--member", "main:1:2:3"), 2, "'main:1:2:3'"),
    (("add", "all", "--member", ":1"), 2, "':1'"),
    (("add", "two words", "--member", "main"), 2, "'two words'"),
    (("add", "main", "--member", "backup"), 2, "main already"),
    (("add", "old", "--member", "backup"), 2, "old already"),
    (("set", "old"), 2, "at least one trunk"),
    (("set", "old", "--member", "nowhere"), 4, "no trunk nowhere"),
    (("set", "main", "--member", "backup"), 2, "of trunk main alone"),
    (("set", "nowhere", "--member", "main"), 4, "no trunk group nowhere"),
    (("remove", "main"), 2, "of trunk main alone"),
    (("remove", "nowhere"), 4, "no trunk group nowhere"),
]


def test_a_group_that_cannot_be_is_one_line_that_names_it_and_changes_nothing(exchange):
    exchange("trunks", "group", "add", "old", "--member", "main")
    before = exchange("trunks", "group", "list", "--json").document
    for arguments, code, says in BAD:
        refused = exchange("trunks", "group", *arguments)
        assert (refused.code, refused.out) == (code, ""), (arguments, refused)
        assert refused.err.startswith("error: ")
        assert len(refused.err.splitlines()) == 1
        assert says in refused.err
    assert exchange("trunks", "group", "list", "--json").document == before


def test_a_trunk_that_an_account_owns_makes_its_groups_that_account_s(exchange):
    assert exchange("trunks", "set", "cheap", "--owner", "globex", "--caller-id-cap", "200").code == 0
    shown = exchange("trunks", "show", "cheap", "--json").document
    assert (shown["owner"], shown["caller_id_cap"]) == ("globex", 200)
    exchange("trunks", "group", "add", "mixed", "--member", "main", "--member", "cheap")
    assert group(exchange, "mixed")["owner"] == "globex"
    assert exchange("accounts", "set", "globex", "--trunk", "mixed").code == 0
    for trunk in ("cheap", "mixed"):
        refused = exchange("accounts", "set", "acme", "--trunk", trunk)
        assert refused.code == 2
        assert "globex alone" in refused.err
        refused = exchange("enqueue", "--to", TO, "--account", "acme", "--trunk", trunk)
        assert refused.code == 2, refused
        assert "globex" in refused.err or "another account" in refused.err
    exchange("trunks", "set", "cheap", "--owner", "none", "--caller-id-cap", "none")
    shown = exchange("trunks", "show", "cheap", "--json").document
    assert (shown["owner"], shown["caller_id_cap"]) == (None, None)
    assert exchange("accounts", "set", "acme", "--trunk", "mixed").code == 0


@pytest.mark.parametrize("priority", ["0", "5"])
def test_a_trunk_that_others_use_cannot_become_one_account_s(exchange, priority):
    exchange("trunks", "group", "add", "both", "--member", "backup", "--member", "cheap:2")
    exchange("trunks", "set", "cheap", "--owner", "globex")
    for arguments, says in (
        (("trunks", "set", "main", "--owner", "globex"), "account acme has it as its default"),
        (("trunks", "set", "backup", "--owner", "acme"), "trunks of account"),
        (("trunks", "set", "backup", "--owner", "nobody"), "no account nobody"),
    ):
        refused = exchange(*arguments)
        assert refused.code in (2, 4), refused
        assert says in refused.err
    exchange("enqueue", "--to", TO, "--account", "acme", "--trunk", "backup", "--priority", priority)
    refused = exchange("trunks", "set", "backup", "--owner", "globex")
    assert refused.code == 2
    assert "calls of account acme wait for it or are live" in refused.err
    assert [exchange("trunks", "show", name, "--json").document["owner"] for name in ("main", "backup")] == [None, None]
    assert exchange("trunks", "group", "set", "both", "--member", "cheap", "--member", "main").code == 0


def test_a_new_trunk_may_belong_to_an_account(exchange):
    add = ("trunks", "add", "own", "--sip-trunk-id", "ST_o", "--channels", "1", "--cps", "1")
    assert exchange(*add, "--owner", "nobody").code == 4
    assert exchange(*add, "--owner", "globex").code == 0
    assert exchange("trunks", "show", "own", "--json").document["owner"] == "globex"


def test_a_trunk_is_paused_and_goes_on(exchange):
    exchange("trunks", "set", "main", "--paused")
    assert exchange("trunks", "show", "main", "--json").document["enabled"] is False
    exchange("trunks", "set", "main", "--no-paused")
    assert exchange("trunks", "show", "main", "--json").document["enabled"] is True
    refused = exchange("trunks", "set", "main", "--paused", "--enabled")
    assert refused.code == 2
    assert "contradict" in refused.err


@pytest.mark.parametrize("cap", ["0", "-1", "many"])
def test_a_cap_that_cannot_be_is_refused(exchange, cap):
    refused = exchange("trunks", "set", "main", "--caller-id-cap", cap)
    assert refused.code == 2
    assert f"'{cap}'" in refused.err


def test_a_trunk_with_zero_channels_is_refused_with_what_to_do_instead(exchange):
    refused = exchange("trunks", "set", "main", "--channels", "0")
    assert refused.code == 2
    assert "to pause one, disable it" in refused.err


def test_a_circuit_is_shown_and_closed_by_hand(exchange, database_url):
    async def fail() -> None:
        connection = await asyncpg.connect(database_url)
        for n in range(5):
            await connection.fetch("SELECT judge_trunk(1, $1, $2, 'trunk', '503')", n, f"+1212555010{n}")
        await connection.close()

    asyncio.run(fail())
    assert "open until" in exchange("trunks", "list").out
    shown = exchange("trunks", "show", "main", "--json").document["circuit"]
    assert (shown["state"], shown["openings"]) == ("open", 1)
    assert "5 numbers in a row" in shown["why"]
    reset = exchange("trunks", "reset-circuit", "main", "--json")
    assert reset.document["circuit"] == {"state": "closed", "until": None, "openings": 0, "why": ""}
    assert exchange("trunks", "reset-circuit", "nowhere").code == 4
