"""Whether calls could be placed, and bringing a database to its schema."""

from __future__ import annotations

import asyncio
import tempfile

import asyncpg
import pytest


def execute(url: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())


def test_check_refuses_a_database_that_forgets_committed_calls(office, database_url):
    name = database_url.split("?", maxsplit=1)[0].rsplit("/", 1)[-1]
    execute(database_url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    said = office("check")
    assert said.code == 1
    assert "FAIL  database   synchronous_commit is off" in said.out
    assert "to do: set synchronous_commit = on" in said.out


@pytest.fixture
def embedded_settings(orchestrator, monkeypatch):
    """No database is named, so that the embedded server is used, on a directory of its own."""
    # Not pytest's own temporary directory: its path is too long for a socket, and closed to the server's user.
    with tempfile.TemporaryDirectory(prefix="orchestrator-cli-", ignore_cleanup_errors=True) as directory:
        monkeypatch.setenv("ORCHESTRATOR_DATABASE__URL", "")
        monkeypatch.setenv("ORCHESTRATOR_DATABASE__DATA_DIR", directory)
        yield


def test_check_passes_on_the_embedded_server_as_it_comes(orchestrator, embedded_settings):
    assert orchestrator("check").code == 0  # before anything has made its tables
    orchestrator("accounts", "list")
    said = orchestrator("check")
    assert said.code == 0, said.out
    assert "ok    database   synchronous_commit is on" in said.out
    assert "nothing stands in the way of calls" in said.out
    assert "warn  trunks" in said.out


def test_check_names_a_database_that_is_down_and_goes_on_to_the_carrier(office, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_DATABASE__URL", "postgresql://nobody:hush@127.0.0.1:1/none")
    said = office("check", "--json")
    assert said.code == 1
    assert "hush" not in said.out
    by_subject = {finding["subject"]: finding for finding in said.document}
    assert by_subject["database"]["ok"] is False
    assert "127.0.0.1:1" in by_subject["database"]["remedy"]
    assert len(by_subject) > 2


def test_check_names_a_livekit_that_is_down(office, monkeypatch):
    for name, value in (
        ("CARRIER__KIND", "livekit"),
        ("LIVEKIT__URL", "ws://127.0.0.1:1"),
        ("LIVEKIT__API_KEY", "key"),
        ("LIVEKIT__API_SECRET", "a-secret-of-thirty-two-characters-or-more"),
    ):
        monkeypatch.setenv(f"ORCHESTRATOR_{name}", value)
    said = office("check")
    assert said.code == 1
    assert any(line.startswith("FAIL") and "livekit" in line.lower() for line in said.out.splitlines())
    assert "a-secret" not in said.out + said.err


def test_check_warns_of_accounts_and_trunks_that_cannot_call(office):
    office("accounts", "add", "globex", "--country", "US", "--max-concurrent", "5")
    office("accounts", "set", "acme", "--paused")
    office("trunks", "set", "main", "--disabled")
    said = office("check").out
    assert "warn  accounts   globex has no trunk" in said
    assert "warn  accounts   acme is paused" in said
    assert "all are disabled" in said


def test_migrate_brings_an_empty_database_to_the_schema_and_then_finds_nothing_to_do(
    orchestrator, empty_database_url, monkeypatch
):
    monkeypatch.setenv("ORCHESTRATOR_DATABASE__URL", empty_database_url)
    refused = orchestrator("accounts", "list")
    assert refused.code == 1
    assert "orchestrator migrate" in refused.err
    assert "orchestrator migrate" in orchestrator("check").out
    first = orchestrator("migrate", "--json")
    assert first.code == 0
    assert first.document["applied"]
    assert orchestrator("migrate").out == "nothing to do: the schema is current\n"
    assert orchestrator("accounts", "list").code == 0


def test_migrate_refuses_a_database_whose_migrations_were_edited(orchestrator, database_url):
    execute(database_url, "UPDATE schema_migrations SET checksum = repeat('0', 64) WHERE version = 1")
    refused = orchestrator("migrate")
    assert refused.code == 1
    assert refused.err.startswith("error: ")
    assert "was changed" in refused.err


def test_a_command_uses_the_embedded_server_of_a_daemon_and_leaves_it_running(orchestrator, embedded_settings, started):
    daemon = started("run")
    assert daemon.stderr is not None
    try:
        while "worker_started" not in daemon.stderr.readline():
            assert daemon.poll() is None
        assert orchestrator("accounts", "add", "acme", "--country", "US", "--max-concurrent", "5").code == 0
        assert [row["name"] for row in orchestrator("accounts", "list", "--json").document] == ["acme"]
        assert daemon.poll() is None
    finally:
        daemon.terminate()
        _, log = daemon.communicate(timeout=120)
    assert daemon.returncode == 0, log
    assert "unavailable" not in log
    assert [row["name"] for row in orchestrator("accounts", "list", "--json").document] == ["acme"]
