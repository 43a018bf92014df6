"""The README keeps its word: its commands run, and what it says of the code is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sip.simulated.scripts import SCRIPTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("   #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_the_two_commands_are_what_the_makefile_makes():
    made = [command for command in COMMANDS if command.startswith("make ")]
    assert made == ["make run", "make test"]
    for command in made:
        subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.timeout(300)
def test_every_other_command_runs_as_it_stands(tmp_path: Path):
    program = tmp_path / "bin" / "orchestrator"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    program.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ORCHESTRATOR_SIMULATED__TIME_SCALE": "8",
        "ORCHESTRATOR_HTTP__PORT": "0",
    }
    ran = 0
    for command in COMMANDS:
        if command.startswith("make "):
            continue
        done = subprocess.run(
            ["bash", "-c", command.replace(".venv/bin/orchestrator", "orchestrator")],
            cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if "--demo 60" in command:
            assert done.stdout.rstrip().splitlines()[-1] == "60 passed, 0 failed"
        ran += 1
    assert ran >= 10


def test_every_test_number_is_documented_with_what_it_does_and_how_it_ends():
    for line, script in SCRIPTS.items():
        assert f"| {line:02d} | {script.sentence} | {script.promise.end_reason} |" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))))
def test_every_file_that_the_readme_points_at_is_there(target: str):
    assert (ROOT / target).exists()
