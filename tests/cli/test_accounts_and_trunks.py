"""Accounts and trunks by the command line."""

from __future__ import annotations

import pytest


def test_an_account_is_made_changed_and_shown(office):
    changed = office(
        *("accounts", "set", "acme", "--max-concurrent", "7", "--paused", "--weight", "2.5", "--ring-timeout", "20"),
        *("--caller-id", "(212) 555-0190", "--caller-id", "+12125550191", "--allow-country", "us", "--allow-country", "gb"),
        *("--allow-special", "premium", "--max-duration", "600", "--trust-agent-leave"),
    )
    assert changed.code == 0, changed.err
    shown = office("accounts", "show", "acme", "--json").document
    assert shown["max_concurrent"] == 7
    assert shown["paused"] is True
    assert shown["weight"] == 2.5
    assert shown["caller_ids"] == ["+12125550190", "+12125550191"]
    assert shown["allowed_countries"] == ["US", "GB"]
    assert shown["allowed_specials"] == ["premium"]
    assert shown["trust_agent_leave"] is True
    assert shown["agent_name"] == "ann"


def test_what_is_not_named_stays_and_none_empties_a_list(office):
    office("accounts", "set", "acme", "--caller-id", "+12125550190")
    office("accounts", "set", "acme", "--weight", "2")
    assert office("accounts", "show", "acme", "--json").document["caller_ids"] == ["+12125550190"]
    office("accounts", "set", "acme", "--caller-id", "none")
    assert office("accounts", "show", "acme", "--json").document["caller_ids"] == []


def test_a_trunk_is_made_changed_and_shown(office):
    changed = office(
        *("trunks", "set", "main", "--channels", "3", "--cps", "0.5", "--caller-id", "+12125550190", "--disabled"),
        *("--pattern", "unpaid bill=trunk_auth", "--pattern", "a=b=number_blocked", "--min-ring", "2", "--max-ring", "9"),
        *("--preconnect-code", "480", "--preconnect-code", "487", "--busy-means-declined"),
    )
    assert changed.code == 0, changed.err
    shown = office("trunks", "show", "main", "--json").document
    assert (shown["max_channels"], shown["max_cps"], shown["enabled"]) == (3, 0.5, False)
    assert shown["patterns"] == [["unpaid bill", "trunk_auth"], ["a=b", "number_blocked"]]
    assert (shown["min_ring_s"], shown["max_ring_s"]) == (2, 9)
    assert shown["preconnect_voicemail_codes"] == [480, 487]
    assert shown["busy_means_declined"] is True
    assert shown["sip_trunk_id"] == "ST_1"


def test_both_are_listed_for_people_and_for_programs(office):
    people = office("accounts", "list")
    assert "acme" in people.out
    assert [row["name"] for row in office("accounts", "list", "--json").document] == ["acme"]
    assert [row["name"] for row in office("trunks", "list", "--json").document] == ["main"]
    assert "ST_1" in office("trunks", "list").out


def test_an_empty_list_says_what_to_do(orchestrator):
    assert "accounts add" in orchestrator("accounts", "list").out
    assert "trunks add" in orchestrator("trunks", "list").out


ADD = ("accounts", "add", "globex", "--country", "US", "--max-concurrent", "5")


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (("accounts", "add", "globex", "--country", "US", "--max-concurrent", "0"), 2, "max_concurrent"),
        (("accounts", "add", "globex", "--country", "US", "--max-concurrent", "-1"), 2, "max_concurrent"),
        (("accounts", "add", "globex", "--country", "Mars", "--max-concurrent", "5"), 2, "'Mars'"),
        (("accounts", "add", "two words", "--country", "US", "--max-concurrent", "5"), 2, "'two words'"),
        (("accounts", "add", "acme", "--country", "US", "--max-concurrent", "5"), 2, "acme"),
        ((*ADD, "--weight", "0"), 2, "weight"),
        ((*ADD, "--weight", "nan"), 2, "weight"),
        ((*ADD, "--ring-timeout", "3"), 2, "ring_timeout_s"),
        ((*ADD, "--max-duration", "0"), 2, "max_duration_s"),
        ((*ADD, "--caller-id", "x"), 2, "'x'"),
        ((*ADD, "--caller-id", "none", "--caller-id", "+12125550190"), 2, "'none'"),
        ((*ADD, "--allow-special", "premum"), 2, "did you mean premium?"),
        ((*ADD, "--allow-special", "emergency"), 2, "never"),
        ((*ADD, "--trunk", "side"), 4, "side"),
        (("accounts", "set", "nobody", "--weight", "1"), 4, "nobody"),
        (("accounts", "set", "acme"), 2, "nothing to change"),
        (("accounts", "show", "nobody"), 4, "nobody"),
        (("trunks", "add", "side", "--sip-trunk-id", "ST_2", "--channels", "0", "--cps", "1"), 2, "max_channels"),
        (("trunks", "add", "side", "--sip-trunk-id", "ST_2", "--channels", "1", "--cps", "0"), 2, "max_cps"),
        (("trunks", "add", "main", "--sip-trunk-id", "ST_2", "--channels", "1", "--cps", "1"), 2, "main"),
        (("trunks", "set", "main", "--pattern", "no cause"), 2, "'no cause'"),
        (("trunks", "set", "main", "--pattern", "a=sadness"), 2, "sadness"),
        (("trunks", "set", "main", "--pattern", "(=user_busy"), 2, "regular expression"),
        (("trunks", "set", "main"), 2, "nothing to change"),
        (("trunks", "set", "side", "--channels", "1"), 4, "side"),
        (("trunks", "show", "side"), 4, "side"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_names_it_and_changes_nothing(office, arguments, code, names):
    before = [office(kind, "list", "--json").document for kind in ("accounts", "trunks")]
    refused = office(*arguments)
    assert refused.code == code
    assert refused.out == ""
    assert refused.err.startswith("error: ")
    assert len(refused.err.splitlines()) == 1
    assert names in refused.err
    assert [office(kind, "list", "--json").document for kind in ("accounts", "trunks")] == before
