"""The connection to Postgres: a pool, the statements by name, and one error for everything that means "not reachable".

Knows nothing of calls or accounts. Retries nothing: whoever asks knows whether asking again is right, since the answer to a
commit may have been lost after the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from orchestrator.errors import BadInput, DatabaseUnavailable, ForbiddenTransition

log = structlog.get_logger(__name__)

SQL_DIRECTORY = Path(__file__).parent / "sql"

CONNECT_TIMEOUT_S = 5.0
IDLE_IN_TRANSACTION_TIMEOUT_S = 30

# SQLSTATE classes and codes that speak of the server's condition and not of what was asked: connection, authorisation, no
# such database, rolled back for another's sake (deadlock, serialization), resources, system errors; read-only (a standby),
# timeouts, a lock that somebody else holds, shutting down or starting up.
UNAVAILABLE_CLASSES = frozenset({"08", "28", "3D", "40", "53", "58"})
UNAVAILABLE_CODES = frozenset({"25006", "25P03", "55P03", "57014", "57P01", "57P02", "57P03", "57P05"})

LIBRARY_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""All that asking may raise; `is_unavailable` says which of them mean that the database is away."""

Row = asyncpg.Record


class Contended(DatabaseUnavailable):
    """Others hold what the transaction needs: it was given up and rolled back, and its connection is sound. Ask again."""


def is_unavailable(error: BaseException) -> bool:
    """Whether an error of asyncpg or the operating system means that the database cannot be used now."""
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code in UNAVAILABLE_CODES or code[:2] in UNAVAILABLE_CLASSES
    # InternalClientError: the library stumbles over a connection that the server closed while it was idle.
    return isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError | TimeoutError)


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Turn the library's errors into this package's; what is left is a defect and passes unchanged."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise DatabaseUnavailable(f"the database's disk is full ({error}): make room on it") from error
    except asyncpg.CheckViolationError as error:
        if error.constraint_name == "calls_transition":
            before, _, after = (error.detail or "").partition(" > ")
            raise ForbiddenTransition(before, after) from error
        raise BadInput(f"the database refuses this by its rule {error.constraint_name}: {error.args[0]}") from error
    except asyncpg.DataError as error:
        raise BadInput(f"the database cannot read this: {error}") from error
    except (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError) as error:
        raise Contended(f"others hold what this needs in the database ({error}): ask again") from error
    except LIBRARY_ERRORS as error:
        if not is_unavailable(error):
            raise
        raise DatabaseUnavailable(f"the database cannot be used: {str(error) or type(error).__name__}") from error


class Statements:
    """The statements of one directory, each read once from its own .sql file."""

    def __init__(self, *, directory: Path = SQL_DIRECTORY) -> None:
        self._directory = directory
        self._texts: dict[str, str] = {}

    def text(self, name: str) -> str:
        """The statement in `name`.sql."""
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = (self._directory / f"{name}.sql").read_text(encoding="utf-8")
        return text


class Session:
    """One connection; statements by name."""

    def __init__(self, *, connection: PoolConnectionProxy[Row], statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """All rows of the statement."""
        with own_errors():
            return await self._connection.fetch(self._statements.text(statement), *arguments)

    async def fetch_one(self, statement: str, *arguments: object) -> Row | None:
        """The first row, or None."""
        with own_errors():
            return await self._connection.fetchrow(self._statements.text(statement), *arguments)


if TYPE_CHECKING:
    _PlainConnection = asyncpg.Connection[Row]
else:
    _PlainConnection = asyncpg.Connection  # generic in its stubs only


class _Connection(_PlainConnection):
    """A connection of the pool. Nothing here leaves state in a session, so that none need be reset: it saves a round trip for
    each statement. (An open transaction is rolled back all the same.)"""

    def get_reset_query(self) -> str:
        """None."""
        return ""


class Database:
    """A pool of connections to one database.

    `url` may hold a password: it appears in no message and no `repr`.
    """

    def __init__(
        self,
        url: str,
        *,
        min_size: int = 2,
        max_size: int = 10,
        command_timeout_s: float = 10.0,
        application_name: str = "orchestrator",
    ) -> None:
        self._url = url
        self._min_size = min_size
        self._max_size = max_size
        self._command_timeout_s = command_timeout_s
        self._application_name = application_name
        self._statements = Statements()
        self._pool: asyncpg.Pool[Row] | None = None

    async def open(self) -> None:
        """Connect. Raises DatabaseUnavailable, and may be tried again then."""
        if self._pool is not None:
            return
        with own_errors():
            pool = asyncpg.create_pool(
                self._url,
                min_size=self._min_size,
                max_size=self._max_size,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=self._command_timeout_s,
                server_settings=self._server_settings(),
                connection_class=_Connection,
            )
            try:
                await pool
            except BaseException:
                pool.terminate()
                raise
        self._pool = pool

    async def close(self) -> None:
        """Disconnect, after what is running has ended or `command_timeout_s` have passed."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._command_timeout_s):
                await pool.close()
        except TimeoutError:
            log.warning("database_closed_with_statements_running", waited_s=self._command_timeout_s)
            pool.terminate()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """One connection of the pool, each statement a transaction of its own."""
        async with self._acquired() as connection:
            yield Session(connection=connection, statements=self._statements)

    @contextlib.asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[Session]:
        """One connection and one transaction, committed at the end of the block and rolled back by an exception.

        With snapshot its statements only read, and all see the same moment.
        """
        async with self._acquired() as connection:
            transaction = connection.transaction(isolation="repeatable_read" if snapshot else None, readonly=snapshot)
            with own_errors():
                await transaction.start()
            try:
                yield Session(connection=connection, statements=self._statements)
            except BaseException:
                with contextlib.suppress(*LIBRARY_ERRORS):
                    await transaction.rollback()
                raise
            with own_errors():
                await transaction.commit()

    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """All rows of the statement, which is a transaction of its own."""
        async with self.session() as session:
            return await session.fetch(statement, *arguments)

    async def fetch_one(self, statement: str, *arguments: object) -> Row | None:
        """The first row of the statement, which is a transaction of its own, or None."""
        async with self.session() as session:
            return await session.fetch_one(statement, *arguments)

    async def fetch_value(self, statement: str, *arguments: object) -> object:
        """The first column of the statement's one row."""
        row = await self.fetch_one(statement, *arguments)
        if row is None:
            raise LookupError(f"{statement}.sql returned no row")
        return row[0]

    async def connect(self) -> asyncpg.Connection[Row]:
        """A connection outside the pool, to the server itself: for LISTEN and for migrations. The caller closes it."""
        with own_errors():
            return await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=self._command_timeout_s,
                server_settings=self._server_settings(),
            )

    @contextlib.asynccontextmanager
    async def _acquired(self) -> AsyncIterator[PoolConnectionProxy[Row]]:
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailable("the database is not open")
        with own_errors():
            connection = await pool.acquire(timeout=self._command_timeout_s)
        try:
            yield connection
        except Contended:
            raise
        except DatabaseUnavailable:
            # Whatever state it is in, nobody shall be given it again. The pool may have taken it back already.
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()
            raise
        finally:
            # What was asked has its answer or its error by now.
            with contextlib.suppress(*LIBRARY_ERRORS):
                await pool.release(connection, timeout=self._command_timeout_s)

    def _server_settings(self) -> dict[str, str]:
        return {
            "application_name": self._application_name,
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S}s",
            "timezone": "UTC",
            # Statements here take milliseconds; compiling one takes longer than the statement.
            "jit": "off",
            # What is asked for all the time is in memory: at the server's default of 4, meant for spinning disks, a claim reads
            # all accounts rather than look up twenty.
            "random_page_cost": "1.1",
        }
