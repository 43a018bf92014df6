"""Daemons as real processes on the simulated carrier, with a database that the test may stop and start."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import asyncpg
import pytest

from orchestrator.ids import CallId
from orchestrator.store.calls import CallStore
from orchestrator.store.pool import Database
from orchestrator.store.views import CallView, NewCall
from tests.fixtures.orchestra import furnish
from tests.fixtures.processes import RunningProcess, free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0
"""Bounds a failing test only: a busy machine may take its time."""

CONFIG = """
[database]
url = "{url}"
command_timeout_s = 2.0

[worker]
name = "twin"
poll_s = 0.1
sweep_s = 0.2
heartbeat_s = 0.3
lease_s = 1.5

[simulated]
time_scale = 8.0

[http]
port = {port}
"""


class Worker:
    """One daemon process."""

    def __init__(self, *, process: RunningProcess, port: int) -> None:
        self.process = process
        self._port = port

    def status(self, path: str) -> int:
        """The HTTP status of one of its pages; 0: it does not listen."""
        try:
            with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            return 0

    def metric(self, name: str) -> float | None:
        """One of its figures without labels; None while there is none."""
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except (URLError, OSError):
            return None
        return next((float(line.split()[1]) for line in lines if line.startswith(f"orchestrator_{name} ")), None)

    def wait_until_ready(self) -> None:
        self.process.wait_until(lambda: self.status("/readyz") == 200, what="ready", timeout_s=PATIENCE_S)


class Plant:
    """Starts workers on one database, queues calls and watches them."""

    def __init__(self, *, url: str, directory: Path) -> None:
        self.url = url
        self._directory = directory
        self._workers: list[Worker] = []

    def start_worker(self) -> Worker:
        port = free_port()
        number = len(self._workers)
        config = self._directory / f"worker{number}.toml"
        config.write_text(CONFIG.format(url=self.url, port=port))
        process = RunningProcess(
            [sys.executable, "-m", "orchestrator", "run", "--config", config],
            name=f"worker{number}",
            directory=self._directory,
            cwd=ROOT,
        )
        worker = Worker(process=process, port=port)
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        for worker in self._workers:
            worker.process.signal(signal.SIGTERM)
            worker.process.signal(signal.SIGTERM)
        for worker in self._workers:
            worker.process.stop(patience_s=60)

    @contextlib.asynccontextmanager
    async def calls(self) -> AsyncIterator[CallStore]:
        database = Database(self.url, min_size=1, max_size=2)
        await database.open()
        try:
            yield CallStore(database=database)
        finally:
            await database.close()

    async def execute(self, statement: str) -> None:
        """As an operator by hand."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def until_one_leads(self, workers: Sequence[Worker], *, patience_s: float = PATIENCE_S) -> list[Worker]:
        """Exactly one of them, as soon as it does."""
        async with asyncio.timeout(patience_s):
            while True:
                figures = [await asyncio.to_thread(worker.metric, "leader") for worker in workers]
                leaders = [worker for worker, figure in zip(workers, figures, strict=True) if figure == 1]
                if leaders:
                    assert len(leaders) == 1
                    return leaders
                await asyncio.sleep(0.1)

    async def furnish(self) -> None:
        database = Database(self.url, min_size=1, max_size=2)
        await database.open()
        await furnish(database)
        await database.close()

    async def enqueue(self, *numbers: str, **fields: str) -> list[CallId]:
        async with self.calls() as calls:
            queued = await calls.enqueue([NewCall(account="acme", to=number, **fields) for number in numbers])
        return [call.call_id for call in queued]

    async def until(self, call_id: CallId, wanted: Callable[[CallView], bool], *, patience_s: float = PATIENCE_S) -> CallView:
        view = None
        async with self.calls() as calls:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    while not wanted(view := await calls.show(call_id)):
                        await asyncio.sleep(0.03)
                    return view
        raise AssertionError(f"never came to it: {view}")

    async def until_state(self, call_id: CallId, state: str) -> CallView:
        """Until it has been in the state, which at this pace of time may be over before a look finds it there."""
        return await self.until(
            call_id, lambda view: state in [event.state.value for event in view.events if event.state is not None]
        )

    async def until_ended(self, call_id: CallId) -> CallView:
        return await self.until(call_id, lambda view: view.call.state.is_terminal)


@pytest.fixture
async def plant(database_url: str, tmp_path: Path) -> AsyncIterator[Plant]:
    plant = Plant(url=database_url, directory=tmp_path)
    await plant.furnish()
    try:
        yield plant
    finally:
        await asyncio.to_thread(plant.stop)
