"""Calling hours, redial and spacing of accounts by the command line."""

from __future__ import annotations

import pytest

from orchestrator.cli.durations import read_duration_s, shown_duration
from orchestrator.errors import BadInput


def test_an_accounts_hours_redial_and_spacing_are_set_and_shown(office):
    changed = office(
        *("accounts", "set", "acme", "--calling-hours", "mon-fri  09:00 - 20:00", "--calling-hours", "US-TX 10:00-18:00"),
        *("--closed-on-holidays", "--dial-unknown-zone", "--max-attempts", "4", "--redial-delay", "soon=5m,15m,1h"),
        *("--redial-delay", "later=2h", "--redial-jitter", "0.2", "--number-gap", "90s", "--number-most-dials", "7"),
        *("--number-window", "14d", "--caller-id-choice", "nearest", "--caller-id-cap", "150"),
    )
    assert changed.code == 0, changed.err
    shown = office("accounts", "show", "acme", "--json").document
    assert shown["calling_hours"] == ["mon-fri 09:00 - 20:00", "US-TX 10:00-18:00"]
    assert (shown["closed_on_holidays"], shown["dial_unknown_zone"]) == (True, True)
    assert (shown["max_attempts"], shown["redial_jitter"]) == (4, 0.2)
    assert shown["redial_delays_s"] == {"soon": [300, 900, 3600], "later": [7200]}
    assert (shown["number_gap_s"], shown["number_most_dials"], shown["number_window_s"]) == (90, 7, 1_209_600)
    assert (shown["caller_id_choice"], shown["caller_id_cap"]) == ("nearest", 150)
    people = office("accounts", "show", "acme").out
    for line in (
        "mon-fri 09:00 - 20:00; US-TX 10:00-18:00",
        "soon 5m, 15m, 1h; later 2h; cooldown 3d",
        "number_gap         90s",
    ):
        assert line in people


def test_what_is_not_named_stays_and_none_takes_it_back(office):
    office("accounts", "set", "acme", "--redial-delay", "soon=5m", "--number-most-dials", "7", "--caller-id-cap", "9")
    assert office("accounts", "set", "acme", "--calling-hours", "none", "--open-on-holidays").code == 0
    shown = office("accounts", "show", "acme", "--json").document
    assert (shown["calling_hours"], shown["redial_delays_s"], shown["number_most_dials"]) == ([], {"soon": [300]}, 7)
    cleared = ("--redial-delay", "none", "--number-most-dials", "none", "--caller-id-cap", "none", "--number-gap", "0")
    assert office("accounts", "set", "acme", *cleared).code == 0
    shown = office("accounts", "show", "acme", "--json").document
    assert (shown["redial_delays_s"], shown["number_most_dials"], shown["caller_id_cap"]) == ({}, None, None)


def test_a_new_account_says_when_it_calls_people(office):
    made = office("accounts", "add", "globex", "--country", "US", "--max-concurrent", "5", "--caller-id-cap", "none")
    assert made.code == 0, made.err
    assert "people are called by their own clock: 08:00-21:00 every day" in made.out


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--calling-hours", "25:00-26:00"), "25:00 is no time of day"),
        (("--calling-hours", "sun closed"), "ever open"),
        (("--calling-hours", "mun 09:00-10:00"), "did you mean sun?"),
        (("--calling-hours", "UK 09:00-10:00"), "UK is no country"),
        (("--calling-hours", "US-XX 09:00-10:00"), "no region XX"),
        (("--calling-hours", "zone America/Chigaco"), "did you mean America/Chicago?"),
        (("--calling-hours", "none", "--calling-hours", "always"), "'none'"),
        (("--redial-delay", "soonish=5m"), "did you mean soon?"),
        (("--redial-delay", "number=5m"), "has no delays to set"),
        (("--redial-delay", "soon=-5m"), "'-5m' is no duration"),
        (("--redial-delay", "soon=5"), "'5' is no duration"),
        (("--redial-delay", "soon"), "like soon=5m,15m,1h"),
        (("--redial-delay", "soon=5m", "--number-gap", "1h"), "shorter than the account's 3600 s"),
        (("--redial-jitter", "1.5"), "redial_jitter"),
        (("--max-attempts", "0"), "max_attempts"),
        (("--max-attempts", "51"), "max_attempts"),
        (("--number-gap", "soon"), "--number-gap"),
        (("--number-window", "1s"), "number_window_s must be from 60"),
        (("--number-most-dials", "0"), "number_most_dials"),
        (("--number-most-dials", "many"), "number_most_dials"),
        (("--caller-id-choice", "prettiest"), "fixed, rotating, nearest"),
        (("--caller-id-cap", "-1"), "caller_id_cap"),
    ],
)
def test_bad_policy_is_one_line_that_names_it_and_changes_nothing(office, arguments, names):
    before = office("accounts", "list", "--json").document
    adding = ("accounts", "add", "globex", "--country", "US", "--max-concurrent", "5")
    for command in (("accounts", "set", "acme", "--paused"), adding):
        refused = office(*command, *arguments)
        assert refused.code == 2
        assert refused.err.startswith("error: ")
        assert len(refused.err.splitlines()) == 1
        assert names in refused.err
    assert office("accounts", "list", "--json").document == before


def test_a_gap_longer_than_delays_that_are_set_is_refused(office):
    assert office("accounts", "set", "acme", "--redial-delay", "soon=5m").code == 0
    refused = office("accounts", "set", "acme", "--number-gap", "10m")
    assert refused.code == 2
    assert "shorter than the account's 600 s" in refused.err
    assert office("accounts", "set", "acme", "--number-gap", "10m", "--redial-delay", "soon=20m").code == 0


@pytest.mark.parametrize(
    ("text", "duration_s", "shown"),
    [("90s", 90, "90s"), ("5m", 300, "5m"), ("2h", 7200, "2h"), ("7d", 604800, "7d"), ("0", 0, "0s"), ("1.5h", 5400, "90m")],
)
def test_durations_are_read_and_shown_as_people_write_them(text, duration_s, shown):
    assert read_duration_s("gap", text) == duration_s
    assert shown_duration(duration_s) == shown


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 minutes", "1e3s", "nan"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(BadInput, match="is no duration: write it like 90s"):
        read_duration_s("gap", text)
