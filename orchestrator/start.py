"""What must be true before a worker starts: the database is there, and it keeps what it commits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from orchestrator.builders import build_database
from orchestrator.errors import DatabaseUnavailable
from orchestrator.settings import Settings
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.pool import Database

log = structlog.get_logger(__name__)

DATABASE_RETRY_S = 2.0


async def open_database(
    settings: Settings, url: str, *, stop: asyncio.Event, on_wait: Callable[[str], None]
) -> Database | None:
    """Wait for the database for as long as it takes; None when told to stop first. `on_wait` hears that it goes on."""
    database = build_database(settings, url)
    while not stop.is_set():
        try:
            await database.open()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=str(error), remedy="start it, or set database.url; trying again")
            on_wait("waiting for the database")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATABASE_RETRY_S):
                    await stop.wait()
        else:
            return database
    return None


async def reach(database: Database) -> None:
    """Find out whether the database takes a connection beside the pool. Raises DatabaseUnavailable."""
    connection = await database.connect()
    await connection.close(timeout=1)


async def look_at_cluster(store: ClusterStore) -> None:
    """Refuse a server that forgets what it has committed; hold dialling on one that was restored."""
    cluster = await store.refuse_lost_commits()
    if cluster.fsync == "off":
        log.warning("database_forgets", text="fsync is off: a crash of its machine would forget calls that were dialled")
    if why := await store.watch():
        log.error("dialling_held", why=why, remedy="see that nobody is called twice, then `orchestrator confirm-restore`")
