"""The peers, each through its own library's calls, each given the nearest equivalent of a limit for each account.

pgqueuer     An account is an entrypoint with `concurrency_limit`: exact, checked in the dequeue over all entrypoints that the
             worker serves. It has no shares, no trunks and no pace. Jobs are taken and logged 20 at a time.
procrastinate  It has no limit above one: jobs of one `lock` run one after the other. An account of ten slots is ten locks, and
             each job is bound to one of them when it is queued, so that a long call holds up those behind it while other slots
             are free. It takes and finishes one job at a time; there is no batch.

Both are also run without any limit, which is their best. Rows are put in by SQL where that is faster than their API and the
rows are the same.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import asyncpg
import procrastinate
from pgqueuer.db import AsyncpgDriver
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from tests.bench.queue.layout import AT_ONCE, SEEDING_TIMEOUT_S
from tests.bench.queue.rate import Step

LEASE = timedelta(minutes=10)
BATCH = 20


class PgQueuer:
    """pgqueuer, with an entrypoint for each account."""

    name = "pgqueuer"

    def __init__(self, *, url: str, accounts: int, limited: bool) -> None:
        self._url = url
        self._parameters: Any = {
            f"account-{number}": EntrypointExecutionParameter(concurrency_limit=AT_ONCE if limited else 0)
            for number in range(1, accounts + 1)
        }
        self._connections: list[asyncpg.Connection] = []

    async def fill(self, *, calls: int, full_every: int) -> None:
        """`calls` jobs over the accounts; every `full_every`-th account is at its limit (0: none)."""
        connection = await asyncpg.connect(self._url, command_timeout=SEEDING_TIMEOUT_S)
        accounts = len(self._parameters)
        await Queries.from_asyncpg_connection(connection).install()
        await connection.execute(
            f"""SET session_replication_role = replica;
                INSERT INTO pgqueuer (priority, status, entrypoint)
                SELECT (g % 17 = 0)::integer, 'queued', 'account-' || 1 + g % {accounts} FROM generate_series(1, {calls}) g"""
        )
        if full_every:
            await connection.execute(
                f"""INSERT INTO pgqueuer (priority, status, entrypoint, queue_manager_id, slot)
                    SELECT 0, 'picked', 'account-' || a, '{uuid.uuid4()}', s
                      FROM generate_series({full_every}, {accounts}, {full_every}) a, generate_series(1, {AT_ONCE}) s"""
            )
        await connection.execute("VACUUM (ANALYZE) pgqueuer")
        await connection.close()

    async def steps(self, workers: int) -> list[Step]:
        """One step for each worker: take up to 20, log them as successful."""
        return [await self._step() for _ in range(workers)]

    async def _step(self) -> Step:
        connection = await asyncpg.connect(self._url, command_timeout=SEEDING_TIMEOUT_S)
        self._connections.append(connection)
        queries = Queries(driver=AsyncpgDriver(connection))
        manager: Any = uuid.uuid4()

        async def step() -> int:
            jobs = await queries.dequeue(
                batch_size=BATCH,
                entrypoints=self._parameters,
                queue_manager_id=manager,
                global_concurrency_limit=None,
                heartbeat_timeout=LEASE,
            )
            if jobs:
                await queries.log_jobs([(job, "successful", None) for job in jobs])
            return len(jobs)

        return step

    async def close(self) -> None:
        """Disconnect."""
        for connection in self._connections:
            await connection.close()


class Procrastinate:
    """procrastinate, with a lock for each slot of each account."""

    name = "procrastinate"

    def __init__(self, *, url: str, accounts: int, limited: bool) -> None:
        self._url = url
        self._accounts = accounts
        self._limited = limited
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=20))

    async def fill(self, *, calls: int, full_every: int) -> None:
        """As `PgQueuer.fill`."""
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()
        connection = await asyncpg.connect(self._url, command_timeout=SEEDING_TIMEOUT_S)
        lock = f"(1 + g % {self._accounts}) || ':' || (g / {self._accounts} % {AT_ONCE})" if self._limited else "NULL"
        await connection.execute(
            f"""SET session_replication_role = replica;
                INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, status, args)
                SELECT 'calls', 'call', (g % 17 = 0)::integer, {lock}, 'todo', '{{}}' FROM generate_series(1, {calls}) g"""
        )
        await connection.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")
        if full_every and self._limited:
            await connection.execute(
                f"""INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, status, args)
                    SELECT 'calls', 'call', 0, a || ':' || s, 'doing', '{{}}'
                      FROM generate_series({full_every}, {self._accounts}, {full_every}) a,
                           generate_series(0, {AT_ONCE - 1}) s"""
            )
        await connection.execute("VACUUM (ANALYZE) procrastinate_jobs")
        await connection.close()

    async def steps(self, workers: int) -> list[Step]:
        """One step for each worker: take one, finish it."""
        return [self._step(JobManager(self._app.connector)) for _ in range(workers)]

    def _step(self, manager: JobManager) -> Step:
        async def step() -> int:
            job = await manager.fetch_job(queues=None, worker_id=1)
            if job is None:
                return 0
            await manager.finish_job(job, Status.SUCCEEDED, delete_job=False)
            return 1

        return step

    async def close(self) -> None:
        """Disconnect."""
        await self._app.close_async()
