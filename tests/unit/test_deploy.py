"""What is in deploy/ fits the program: metrics, commands, settings, the unit, the container files."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from orchestrator.cli.main import cli
from orchestrator.drain import HANG_UP_ALL_PATIENCE_S
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings, load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
OPERATIONS = (DEPLOY / "OPERATIONS.md").read_text(encoding="utf-8")


class Unit(configparser.RawConfigParser):
    """A systemd unit: names keep their case, and may come again."""

    def __init__(self) -> None:
        super().__init__(strict=False, allow_no_value=True, delimiters=("=",), comment_prefixes=("#",))

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture(scope="module")
def unit() -> Unit:
    unit = Unit()
    unit.read_string((DEPLOY / "orchestrator.service").read_text())
    return unit


def exported() -> dict[str, str]:
    """Every metric by the name under which Prometheus sees it, and the labels that it has."""
    found = {}
    for family in Metrics()._registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = family.documentation
    return found


def explained() -> set[str]:
    """Every metric in the first column of a table."""
    rows = [line.split(" | ")[0] for line in OPERATIONS.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`((?:orchestrator|process)_\w+)`", row)}


def test_operations_explains_every_metric_and_none_that_is_gone():
    assert exported().keys() - explained() == set(), "explain them in deploy/OPERATIONS.md"
    assert explained() - exported().keys() == set(), "take them out of deploy/OPERATIONS.md"


def test_every_metric_that_operations_speaks_of_exists():
    spoken_of = set(re.findall(r"\b(?:orchestrator|process)_[a-z_]+\b", OPERATIONS))
    assert {name for name in spoken_of if name not in exported()} == set()


def test_every_command_that_operations_names_exists():
    for words in re.findall(r"orchestrator ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)", OPERATIONS):
        first, _, second = words.partition(" ")
        if first not in cli.commands:
            continue
        command = cli.commands[first]
        if second and isinstance(command, click.Group):
            assert second in command.commands, words
    for name, option in re.findall(r"`orchestrator ([a-z-]+)[^`]*? (--[a-z-]+)[^`]*`", OPERATIONS):
        group = cli.commands[name]
        commands = [group, *(group.commands.values() if isinstance(group, click.Group) else ())]
        assert any(option in parameter.opts + parameter.secondary_opts for c in commands for parameter in c.params), (
            command,
            option,
        )


def test_every_setting_that_operations_names_exists():
    sections = Settings.model_fields
    for section, field in re.findall(r"`([a-z]+)\.([a-z_]+)`", OPERATIONS):
        if section in sections:
            assert field in type(getattr(Settings(), section)).model_fields, f"{section}.{field}"


def test_the_alerts_are_yaml_that_names_metrics_which_exist():
    text = OPERATIONS.split("```yaml")[1].split("```")[0]
    (group,) = yaml.safe_load(text)["groups"]
    assert len(group["rules"]) >= 10
    for rule in group["rules"]:
        names = re.findall(r"orchestrator_\w+", rule["expr"])
        assert names
        assert set(names) <= exported().keys()


# -- systemd


def test_the_unit_leaves_time_to_drain_and_is_watched(unit: Unit):
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert "HUP" in service["ExecReload"]
    assert float(service["TimeoutStopSec"]) > Settings().worker.drain_s + HANG_UP_ALL_PATIENCE_S
    assert float(service["WatchdogSec"]) >= 4 * Settings().database.command_timeout_s
    assert service["KillMode"] == "mixed"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path):
    copy = tmp_path / "orchestrator.service"
    text = (DEPLOY / "orchestrator.service").read_text()
    copy.write_text(text.replace("/opt/orchestrator/bin/orchestrator", shutil.which("true") or "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- containers


def test_the_compose_file_has_what_a_call_needs_and_each_part_is_watched():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert services.keys() == {"postgres", "redis", "livekit", "sip", "orchestrator"}
    for name in services.keys() - {"orchestrator"}:  # whose image brings its own
        assert services[name]["healthcheck"]["test"], name
    for service in services.values():
        for other in service.get("depends_on", {}):
            assert other in services
    minutes = int(services["orchestrator"]["stop_grace_period"].removesuffix("m"))
    assert minutes * 60 > Settings().worker.drain_s + HANG_UP_ALL_PATIENCE_S


def test_livekit_is_configured_with_the_fence_and_sends_webhooks_to_the_door():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    livekit = yaml.safe_load(compose["configs"]["livekit"]["content"])
    assert livekit["room"] == {"auto_create": False}
    assert livekit["webhook"]["urls"] == ["http://127.0.0.1:8080/livekit/webhook"]
    sip = yaml.safe_load(compose["configs"]["sip"]["content"])
    assert sip["redis"] == livekit["redis"]
    assert "synchronous_commit=on" in compose["services"]["postgres"]["command"]


def test_every_variable_of_the_compose_file_is_in_its_example():
    text = (DEPLOY / "compose.yaml").read_text()
    example = (DEPLOY / "compose.env.example").read_text()
    names = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert names == set(re.findall(r"(?m)^([A-Z_]+)=", example))


def test_the_compose_files_settings_are_settings():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    environ = {
        name: re.sub(r"\$\{[^}]*\}", "x", str(value))
        for name, value in compose["services"]["orchestrator"]["environment"].items()
    }
    assert load_settings(None, environ).is_real


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_is():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    (user,) = [line for line in last_stage if line.startswith("USER ")]
    assert user.split()[1].split(":")[0].isdecimal()
    assert user.split()[1].split(":")[0] != "0"
    assert any(line.startswith("HEALTHCHECK ") for line in last_stage)
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (DEPLOY.parent / source).exists(), source
