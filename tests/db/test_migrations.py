"""A database is brought to the program's schema once, by whoever comes first, or refused with the file and what to do."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from orchestrator.errors import DatabaseUnavailable, MigrationRefused
from orchestrator.store.migrations import HAS_COMPATIBLE, MIGRATIONS_DIRECTORY, check_schema, migrate, read_migrations
from orchestrator.store.pool import Database

NAMES = [migration.name for migration in read_migrations()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the migrations, to be tampered with."""
    return Path(shutil.copytree(MIGRATIONS_DIRECTORY, tmp_path / "migrations"))


@pytest.fixture
async def empty(empty_database_url: str) -> Database:
    return Database(empty_database_url)


@pytest.fixture
async def raw(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def test_all_files_run_once_in_order(empty: Database, raw: asyncpg.Connection):
    assert await check_schema(empty) == NAMES
    assert await migrate(empty) == NAMES
    assert await check_schema(empty) == []
    assert await migrate(empty) == []
    assert [row["name"] for row in await raw.fetch("SELECT name FROM schema_migrations ORDER BY version")] == NAMES


async def test_looking_changes_nothing(empty: Database, raw: asyncpg.Connection):
    await check_schema(empty)
    assert await raw.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == 0


async def test_of_many_that_start_at_once_one_migrates(empty: Database, raw: asyncpg.Connection):
    results = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(results) == [[], [], [], NAMES]
    assert await raw.fetchval("SELECT count(*) FROM deployment") == 1


async def test_a_new_file_runs_alone(empty: Database, raw: asyncpg.Connection, files: Path):
    await migrate(empty, directory=files)
    number = len(NAMES) + 1
    (files / f"{number:04}_more.sql").write_text("CREATE TABLE more (n integer); INSERT INTO more VALUES (1)")
    assert await migrate(empty, directory=files) == [f"{number:04}_more.sql"]
    assert await raw.fetchval("SELECT n FROM more") == 1


async def test_a_file_that_was_changed_after_it_ran_is_refused_by_name(empty: Database, files: Path):
    await migrate(empty)
    with (files / NAMES[1]).open("a") as file:
        file.write("\n-- harmless\n")
    for operation in (migrate, check_schema):
        with pytest.raises(MigrationRefused, match=f"{NAMES[1]} was changed after it ran .* restore the file"):
            await operation(empty, directory=files)


async def test_a_database_that_is_newer_is_refused_by_the_file_that_made_it_so(empty: Database, files: Path):
    (files / f"{len(NAMES) + 1:04}_future.sql").write_text("CREATE TABLE future ()")
    await migrate(empty, directory=files)
    for operation in (migrate, check_schema):
        with pytest.raises(MigrationRefused, match=r"newer than this program: it has run .*_future.sql.* install the version"):
            await operation(empty)


COMPATIBLE = "-- 0099_more: adds what nobody misses.\n-- Compatible: yes\nCREATE TABLE more ()"


async def test_a_program_runs_on_a_database_that_is_newer_by_compatible_files_only(empty: Database, files: Path):
    number = len(NAMES) + 1
    (files / f"{number:04}_more.sql").write_text(COMPATIBLE)
    (files / f"{number + 1:04}_even_more.sql").write_text(COMPATIBLE.replace("TABLE more", "TABLE even_more"))
    await migrate(empty, directory=files)
    assert await check_schema(empty) == [], "while it runs"
    assert await migrate(empty) == [], "at its start"


async def test_one_file_that_is_not_compatible_stops_older_programs(empty: Database, files: Path):
    number = len(NAMES) + 1
    (files / f"{number:04}_more.sql").write_text(COMPATIBLE)
    (files / f"{number + 1:04}_breaking.sql").write_text("CREATE TABLE breaking ()")
    await migrate(empty, directory=files)
    for operation in (migrate, check_schema):
        with pytest.raises(MigrationRefused, match=r"newer than this program: it has run .*_breaking.sql"):
            await operation(empty)


@pytest.mark.parametrize(
    "text", ["SELECT 1;\n-- Compatible: yes\n", "-- Compatible: yes, I think\nSELECT 1", "-- nothing\nSELECT 1"]
)
async def test_compatible_is_said_in_the_opening_comment_or_not_at_all(empty: Database, files: Path, text: str):
    (files / f"{len(NAMES) + 1:04}_more.sql").write_text(text)
    await migrate(empty, directory=files)
    with pytest.raises(MigrationRefused, match="newer than this program"):
        await check_schema(empty)


async def test_a_ledger_of_an_earlier_version_is_read_and_brought_up_to_date(empty: Database, raw: asyncpg.Connection):
    await migrate(empty)
    await raw.execute("ALTER TABLE schema_migrations DROP COLUMN compatible")
    assert await check_schema(empty) == []
    assert await raw.fetchval(HAS_COMPATIBLE) is False, "looking changes nothing"
    await migrate(empty)
    assert await raw.fetchval(HAS_COMPATIBLE) is True


async def test_a_file_that_fails_is_rolled_back_and_named_and_the_earlier_ones_stay(
    empty: Database, raw: asyncpg.Connection, files: Path
):
    bad = f"{len(NAMES) + 1:04}_bad.sql"
    (files / bad).write_text("CREATE TABLE half (); SELECT 1 / 0")
    with pytest.raises(MigrationRefused, match=f"{bad} failed and was rolled back: .*division by zero"):
        await migrate(empty, directory=files)
    assert await raw.fetchval("SELECT to_regclass('half') IS NULL")
    assert await check_schema(empty) == []


async def test_a_file_that_was_slipped_in_before_others_is_refused(empty: Database, raw: asyncpg.Connection):
    await migrate(empty)
    await raw.execute("DELETE FROM schema_migrations WHERE version = 2")
    with pytest.raises(MigrationRefused, match=f"{NAMES[1]} has not run although later files have"):
        await migrate(empty)


@pytest.mark.parametrize("name", ["0006_gap.sql", "0001_twice.sql", "next.sql"])
def test_a_stray_file_is_refused_before_anything_runs(files: Path, name: str):
    (files / name).write_text("SELECT 1")
    with pytest.raises(MigrationRefused, match=r"should have the number|is not named"):
        read_migrations(files)


async def test_a_database_with_somebody_elses_tables_is_refused(empty: Database, raw: asyncpg.Connection):
    await raw.execute("CREATE TABLE calls (n integer)")
    with pytest.raises(MigrationRefused, match=r"tables of these names already.*calls; use a database of its own"):
        await migrate(empty)
    assert await raw.fetchval("SELECT to_regclass('schema_migrations') IS NULL")


async def test_a_database_that_cannot_be_reached_is_unavailable():
    with pytest.raises(DatabaseUnavailable):
        await migrate(Database("postgresql://nobody:secret@127.0.0.1:1/none"))
