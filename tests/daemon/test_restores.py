"""A database that was restored from a backup may have forgotten calls that were dialled: nobody dials on it unasked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.errors import DatabaseUnavailable
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrations import migrate
from orchestrator.store.pool import Database

PATIENCE_S = 90.0


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A cluster on which dialling began, and which has stopped."""
    directory = tmp_path / "postgres"
    server = a_server(directory)
    async with a_database(await server.start()) as database:
        assert await ClusterStore(database=database).watch() == ""
    await server.stop()
    return directory


def a_server(directory: Path) -> EmbeddedPostgres:
    # An archive that has nothing: recovery ends with what is there, on a timeline of its own.
    return EmbeddedPostgres(directory, durable=False, settings={"wal_level": "replica", "restore_command": "false"})


@contextlib.asynccontextmanager
async def a_database(url: str) -> AsyncIterator[Database]:
    """Open, migrated, and writable, which a server that recovers is only after a moment."""
    database = Database(url, min_size=1, max_size=1)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await migrate(database)
            except DatabaseUnavailable:
                await asyncio.sleep(0.1)
            else:
                break
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def test_a_restart_is_no_restore(directory: Path) -> None:
    server = a_server(directory)
    try:
        async with a_database(await server.start()) as database:
            assert await ClusterStore(database=database).watch() == ""
    finally:
        await server.stop()


async def test_a_recovery_is_noticed_and_held_until_it_is_confirmed(directory: Path) -> None:
    (directory / "recovery.signal").touch()
    server = a_server(directory)
    try:
        async with a_database(await server.start()) as database:
            cluster = ClusterStore(database=database)
            assert not (await cluster.describe()).same
            assert "timeline 00000002" in await cluster.watch()
            assert await cluster.confirm_restore()
            assert await cluster.watch() == ""
            assert (await cluster.describe()).same
    finally:
        await server.stop()
