"""Brings a database to the schema of this program, or says why it must not.

Migrations are plain files `NNNN_name.sql` in `migrations/`, each run once, in order, in a transaction of its own together with
its line in `schema_migrations`. A file that has run is never edited: a change is a new file. Knows nothing of what they say.

A file whose opening comment has the line `-- Compatible: yes` only adds what the program before it does not miss and does not
stumble over. Such a program runs on with it, and starts on it, so that workers can be replaced one by one; without that line
the old ones are stopped first.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import structlog

from orchestrator.errors import BadInput, DatabaseUnavailable, MigrationRefused
from orchestrator.store.pool import Database, Row, own_errors

log = structlog.get_logger(__name__)

MIGRATIONS_DIRECTORY = Path(__file__).parent / "migrations"
OLDEST_SERVER_VERSION = 15

LOCK_KEY = 0x6F72_6368_6573_7472  # "orchestr"; advisory locks are shared by all programs that use the database
LOCK_TIMEOUT_S = 300.0
FILE_TIMEOUT_S = 3600.0

COMPATIBLE = re.compile(r"(?:--[^\n]*\n)*?-- Compatible: yes\n")
"""Within the comment with which a file opens."""
FILE_NAME = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")

CREATE_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version     integer PRIMARY KEY CHECK (version > 0),
    name        text NOT NULL UNIQUE,
    checksum    text NOT NULL CHECK (checksum ~ '^[0-9a-f]{64}$'),
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    compatible  boolean NOT NULL DEFAULT false
)
"""
ADD_COMPATIBLE = "ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS compatible boolean NOT NULL DEFAULT false"
"""Ledgers that an earlier version made lack it."""
HAS_COMPATIBLE = """
SELECT EXISTS (SELECT FROM pg_attribute
                WHERE attrelid = 'schema_migrations'::regclass AND attname = 'compatible' AND NOT attisdropped)
"""
READ_LEDGER = """
SELECT version, name, checksum, coalesce((to_jsonb(m) ->> 'compatible')::boolean, false) AS compatible
  FROM schema_migrations m
 ORDER BY version
"""
"""As JSON, since a ledger that an earlier version made lacks the column, and looking changes nothing."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def compatible(self) -> bool:
        """Whether the program before this file may run on it."""
        return COMPATIBLE.match(self.text) is not None


def read_migrations(directory: Path = MIGRATIONS_DIRECTORY) -> list[Migration]:
    """All files in order. Raises MigrationRefused for a stray name, or a number that is missing or taken twice."""
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationRefused(f"{path.name} is not named NNNN_name.sql: rename or remove it")
        found.append(Migration(version=int(match["version"]), name=path.name, text=path.read_text(encoding="utf-8")))
    for expected, migration in enumerate(found, start=1):
        if migration.version != expected:
            raise MigrationRefused(
                f"{migration.name} should have the number {expected:04}: a file is missing or its number is taken twice"
            )
    return found


async def migrate(database: Database, *, directory: Path = MIGRATIONS_DIRECTORY) -> list[str]:
    """Run what has not run yet; returns the names of the files that ran. One that is newer by compatible files only is left.

    Safe to start many times at once: the others wait, and find nothing to do. Raises MigrationRefused, having changed nothing.
    """
    migrations = read_migrations(directory)
    async with _direct_connection(database) as connection, _only_one(connection):
        applied = await _applied(connection)
        pending = _pending(migrations, applied)
        if not applied:
            await _refuse_foreign_tables(connection)
        with own_errors():
            await connection.execute(CREATE_LEDGER)
            if not await connection.fetchval(HAS_COMPATIBLE):
                await connection.execute(ADD_COMPATIBLE)
        for migration in pending:
            await _run(connection, migration)
            log.info("migration_applied", file=migration.name)
    return [migration.name for migration in pending]


async def check_schema(database: Database, *, directory: Path = MIGRATIONS_DIRECTORY) -> list[str]:
    """The names of the files that have not run yet; empty when this program can run on the schema. Changes nothing.

    Raises MigrationRefused where `migrate` would.
    """
    migrations = read_migrations(directory)
    async with _direct_connection(database) as connection:
        return [migration.name for migration in _pending(migrations, await _applied(connection))]


@contextlib.asynccontextmanager
async def _direct_connection(database: Database) -> AsyncIterator[asyncpg.Connection[Row]]:
    connection = await database.connect()
    try:
        version = connection.get_server_version()
        if version.major < OLDEST_SERVER_VERSION:
            raise MigrationRefused(f"the server is PostgreSQL {version.major}: use {OLDEST_SERVER_VERSION} or later")
        yield connection
    finally:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await connection.close(timeout=5)


@contextlib.asynccontextmanager
async def _only_one(connection: asyncpg.Connection[Row]) -> AsyncIterator[None]:
    try:
        with own_errors():
            await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY, timeout=LOCK_TIMEOUT_S)
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, TimeoutError):
            raise DatabaseUnavailable(
                f"another program has been migrating this database for {LOCK_TIMEOUT_S:g} s:"
                f" see what holds the advisory lock {LOCK_KEY}"
            ) from error
        raise
    # The lock goes with the session, which its caller closes.
    yield


async def _applied(connection: asyncpg.Connection[Row]) -> list[Row]:
    with own_errors():
        if await connection.fetchval("SELECT to_regclass('schema_migrations') IS NULL"):
            return []
        return await connection.fetch(READ_LEDGER)


def _pending(migrations: Sequence[Migration], applied: Sequence[Row]) -> list[Migration]:
    """The files that have not run.

    Raises MigrationRefused unless what has run is a beginning of the files, unchanged, or all of them and then only compatible
    ones.
    """
    known = {migration.version: migration for migration in migrations}
    for row in applied:
        migration = known.get(row["version"])
        if migration is None and row["compatible"]:
            continue
        if migration is None:
            raise MigrationRefused(
                f"the database is newer than this program: it has run {row['name']}, which this program does not know;"
                " install the version that made it, or a later one"
            )
        if migration.name != row["name"] or migration.checksum != row["checksum"]:
            raise MigrationRefused(
                f"{migration.name} was changed after it ran on this database (as {row['name']}):"
                " restore the file as it was released, and put the change into a new file"
            )
    done = {row["version"] for row in applied}
    pending = [migration for migration in migrations if migration.version not in done]
    if pending and done and pending[0].version < max(done):
        raise MigrationRefused(
            f"{pending[0].name} has not run although later files have: restore schema_migrations or the database from a backup"
        )
    return pending


async def _refuse_foreign_tables(connection: asyncpg.Connection[Row]) -> None:
    """A database without our ledger must not have tables of our names: they are somebody else's, or a half-restored backup."""
    with own_errors():
        taken = await connection.fetchval(
            "SELECT string_agg(t, ', ') FROM unnest($1::text[]) AS t WHERE to_regclass(t) IS NOT NULL",
            ["accounts", "calls", "trunks", "workers"],
        )
    if taken:
        raise MigrationRefused(
            f"the database has tables of these names already, and they are not from migrations of this program: {taken};"
            " use a database of its own"
        )


async def _run(connection: asyncpg.Connection[Row], migration: Migration) -> None:
    try:
        with own_errors():
            async with asyncio.timeout(FILE_TIMEOUT_S), connection.transaction():
                await connection.execute(migration.text, timeout=FILE_TIMEOUT_S)
                await connection.execute(
                    "INSERT INTO schema_migrations (version, name, checksum, compatible) VALUES ($1, $2, $3, $4)",
                    migration.version,
                    migration.name,
                    migration.checksum,
                    migration.compatible,
                )
    except (asyncpg.PostgresError, BadInput) as error:
        raise MigrationRefused(f"{migration.name} failed and was rolled back: {error}") from error
