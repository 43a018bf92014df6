"""What the command says when it is called wrongly, and with which code it leaves."""

from __future__ import annotations

import pytest

from orchestrator.cli.exits import Exit, exit_for
from orchestrator.cli.main import cli, main
from orchestrator.errors import (
    BadInput,
    Conflict,
    DatabaseError,
    DatabaseUnavailable,
    MigrationRefused,
    NotFound,
    SettingsError,
)
from sip.errors import CarrierUnavailable


@pytest.fixture
def orchestrator(monkeypatch, capsys):
    def run(*arguments: str):
        monkeypatch.setattr("sys.argv", ["orchestrator", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), Exit.NOT_FOUND),
        (BadInput("x"), Exit.USAGE),
        (Conflict("x"), Exit.USAGE),
        (SettingsError("x"), Exit.USAGE),
        (DatabaseUnavailable("x"), Exit.UNAVAILABLE),
        (CarrierUnavailable("x"), Exit.UNAVAILABLE),
        (MigrationRefused("x"), Exit.FAILURE),
        (DatabaseError("x"), Exit.FAILURE),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exit_for(error) is code


def test_every_command_explains_itself_and_all_exit_codes_are_documented(orchestrator):
    code, out, _ = orchestrator("--help")
    assert code == 0
    for known in Exit:
        assert f"{known.value:>3}  " in out
    for name, command in cli.commands.items():
        assert name in out
        assert command.help
        for child in getattr(command, "commands", {}).values():
            assert child.help


@pytest.mark.parametrize(
    "arguments",
    [
        ("dial",),
        ("enqueue",),
        ("enqueue", "--account", "acme"),
        ("enqueue", "--file", "x.csv"),
        ("enqueue", "--file", "x.csv", "--batch", "b", "--to", "+12125550100"),
        ("enqueue", "--account", "a", "--to", "+12125550100", "--allow-duplicates"),
        ("accounts", "add", "acme"),
        ("calls", "show", "seven"),
        ("calls", "list", "--state", "asleep"),
        ("calls", "list", "--limit", "0"),
    ],
)
def test_a_command_line_that_cannot_be_taken_leaves_with_2_and_says_why(orchestrator, arguments):
    code, out, err = orchestrator(*arguments)
    assert code == Exit.USAGE
    assert out == ""
    assert "Error: " in err


def test_a_wrong_setting_is_one_line_that_names_it(orchestrator, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_WORKER__MAX_CALLS", "many")
    code, _, err = orchestrator("accounts", "list")
    assert code == Exit.USAGE
    assert "worker.max_calls" in err
    assert "Traceback" not in err


def test_a_settings_file_that_is_not_there_is_named(orchestrator):
    code, _, err = orchestrator("accounts", "list", "--config", "/nowhere/orchestrator.toml")
    assert code == Exit.USAGE
    assert "/nowhere/orchestrator.toml" in err


def test_a_database_that_is_down_leaves_with_5_and_no_trace(orchestrator, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_DATABASE__URL", "postgresql://nobody:hush@127.0.0.1:1/none")
    code, _, err = orchestrator("accounts", "list")
    assert code == Exit.UNAVAILABLE
    assert len(err.splitlines()) == 1
    assert "hush" not in err


def test_a_demo_on_a_real_carrier_is_refused_before_anything_starts(orchestrator, monkeypatch):
    for name, value in (
        ("CARRIER__KIND", "livekit"),
        ("LIVEKIT__URL", "ws://127.0.0.1:1"),
        ("LIVEKIT__API_KEY", "key"),
        ("LIVEKIT__API_SECRET", "secret"),
        ("DATABASE__URL", "postgresql://nobody@127.0.0.1:1/none"),
    ):
        monkeypatch.setenv(f"ORCHESTRATOR_{name}", value)
    code, _, err = orchestrator("run", "--demo", "60")
    assert code == Exit.USAGE
    assert "on the simulated carrier only" in err
