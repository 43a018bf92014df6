"""The command line against a real PostgreSQL: `orchestrator` runs one command as a shell would, and says what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.cli.main import main
from tests.unit.cli.logging_state import logging_as_it_was

__all__ = ["logging_as_it_was"]

TO = "+12125550100"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """What it printed, one JSON document on each line."""
        return [json.loads(line) for line in self.out.splitlines()]


Orchestrator = Callable[..., Said]


@pytest.fixture
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment points at this test's database."""
    monkeypatch.setenv("ORCHESTRATOR_DATABASE__URL", database_url)
    monkeypatch.setenv("ORCHESTRATOR_HTTP__PORT", "0")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def orchestrator(settings: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Orchestrator:
    """Run a command in this process; much faster than a process of its own."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["orchestrator", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code=int(left.value.code or 0), out=said.out, err=said.err)

    return run


@pytest.fixture
def office(orchestrator: Orchestrator) -> Orchestrator:
    """The same, with an account `acme` over a trunk `main`."""
    assert orchestrator("trunks", "add", "main", "--sip-trunk-id", "ST_1", "--channels", "10", "--cps", "50").code == 0
    made = orchestrator(
        *("accounts", "add", "acme", "--country", "US", "--max-concurrent", "5", "--trunk", "main", "--agent", "ann"),
        *("--calling-hours", "always"),
    )
    assert made.code == 0, made.err
    return orchestrator


@pytest.fixture
def started(settings: None) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in a process of its own; none outlives its test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
