"""A daemon under a service manager: real processes, real signals, a real notify socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.outcomes import EndReason
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrations import migrate
from orchestrator.store.pool import Database
from sip.simulated import callees
from tests.daemon.conftest import PATIENCE_S, ROOT, Plant
from tests.fixtures.processes import RunningProcess

WATCHDOG_S = 0.6

pytestmark = pytest.mark.timeout(600)

CONFIG = """
[database]
url = "{url}"
command_timeout_s = 0.5

[worker]
poll_s = 0.1
sweep_s = 0.2
heartbeat_s = 0.3
lease_s = 30.0
drain_s = {drain_s}

[simulated]
time_scale = 8.0

[http]
port = 0

[log]
format = "json"
level = "{level}"
"""


class Manager:
    """What systemd would be: it starts one daemon, hears what it says, and sends signals."""

    def __init__(self, *, directory: Path, url: str) -> None:
        self._directory = directory
        self._url = url
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ear.bind(str(directory / "notify"))
        self._ear.setblocking(False)
        self.heard: list[dict[str, str]] = []
        self.process: RunningProcess | None = None

    def configure(self, *, drain_s: float = 30, level: str = "info", more: str = "") -> None:
        text = CONFIG.format(url=self._url, drain_s=drain_s, level=level) + more
        (self._directory / "orchestrator.toml").write_text(text)

    def start(self) -> None:
        self.process = RunningProcess(
            [sys.executable, "-m", "orchestrator", "run", "--config", self._directory / "orchestrator.toml"],
            name="daemon",
            directory=self._directory,
            cwd=ROOT,
            env={"NOTIFY_SOCKET": self._ear.getsockname(), "WATCHDOG_USEC": str(round(WATCHDOG_S * 1_000_000))},
        )

    def listen(self) -> None:
        """Take in what was said meanwhile."""
        while True:
            try:
                message = self._ear.recv(65_536).decode()
            except BlockingIOError:
                return
            self.heard.append(dict(line.split("=", 1) for line in message.split("\n")))

    async def until(self, key: str, text: str = "", *, patience_s: float = PATIENCE_S) -> dict[str, str]:
        """The next message that has this key with this text in its value; what came before it is forgotten."""
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            self.listen()
            while self.heard:
                message = self.heard.pop(0)
                if text in message.get(key, "\0"):
                    return message
            assert self.process is not None
            assert self.process.exit_code is None or self.heard, self.process.tail()
            await asyncio.sleep(0.02)
        raise AssertionError(f"never said {key}={text}\n{self.process.tail() if self.process else ''}")

    async def silent_for(self, duration_s: float, key: str) -> bool:
        """Whether it does not say this for so long."""
        self.listen()
        self.heard.clear()
        await asyncio.sleep(duration_s)
        self.listen()
        return not any(key in message for message in self.heard)

    async def until_says(self, text: str) -> None:
        assert self.process is not None
        await asyncio.to_thread(
            self.process.wait_until, lambda: self.process.says(text), what=f"saying {text}", timeout_s=PATIENCE_S
        )

    def stop(self) -> None:
        self._ear.close()
        if self.process is not None:
            self.process.signal(signal.SIGCONT)
            self.process.signal(signal.SIGTERM)
            self.process.signal(signal.SIGTERM)
            self.process.stop(patience_s=60)


@pytest.fixture
async def manager(plant: Plant, tmp_path: Path) -> AsyncIterator[Manager]:
    manager = Manager(directory=tmp_path, url=plant.url)
    manager.configure()
    try:
        yield manager
    finally:
        await asyncio.to_thread(manager.stop)


async def test_it_is_ready_once_it_takes_calls_and_then_feeds_the_watchdog(manager: Manager, plant: Plant):
    manager.start()
    ready = await manager.until("READY", "1")
    assert ready["STATUS"].startswith("taking calls: 0 calls of 2000")
    for _ in range(3):
        assert (await manager.until("WATCHDOG", "1"))["STATUS"].startswith("taking calls")
    assert manager.process is not None
    manager.process.signal(signal.SIGSTOP)
    assert await manager.silent_for(3 * WATCHDOG_S, "WATCHDOG")
    manager.process.signal(signal.SIGCONT)
    await manager.until("WATCHDOG", "1")


async def test_while_it_waits_for_its_database_it_asks_for_patience_and_is_not_ready(manager: Manager, plant: Plant):
    plant.url = manager._url = "postgresql://postgres@127.0.0.1:1/none"
    manager.configure()
    manager.start()
    message = await manager.until("EXTEND_TIMEOUT_USEC", "30000000")
    assert message["STATUS"] == "waiting for the database"
    assert not any("READY" in said for said in manager.heard)


async def test_a_hangup_takes_over_what_it_can_names_the_rest_and_a_broken_file_changes_nothing(manager: Manager):
    manager.start()
    await manager.until("READY", "1")
    assert manager.process is not None
    manager.configure(drain_s=77, level="debug", more="\n[retention]\ncalls_days = 3\n\n[simulated2]\n")
    manager.process.signal(signal.SIGHUP)
    assert (await manager.until("RELOADING", "1"))["MONOTONIC_USEC"].isdecimal()
    await manager.until("READY", "1")
    await manager.until_says("unknown section [simulated2]")
    assert not manager.process.says("settings_reloaded")
    manager.configure(drain_s=77, level="debug", more="\n[retention]\ncalls_days = 3\n\n[livekit]\nsweep_s = 3.0\n")
    manager.process.signal(signal.SIGHUP)
    await manager.until("READY", "1")
    await manager.until_says('"settings_reloaded"')
    await manager.until_says('"names": ["livekit.sweep_s"]')
    assert manager.process.says("worker.drain_s")
    assert manager.process.says("retention.calls_days")


async def test_a_stop_signal_drains_what_is_not_dialled_goes_back_and_conversations_go_on(manager: Manager, plant: Plant):
    manager.start()
    await manager.until("READY", "1")
    (talking,) = await plant.enqueue(callees.TALKS_ON)
    await plant.until_state(talking, "active")
    assert manager.process is not None
    manager.process.signal(signal.SIGTERM)
    await manager.until("STOPPING", "1")
    (late,) = await plant.enqueue(callees.TALKS_6_S)
    waiting = await manager.until("EXTEND_TIMEOUT_USEC", "30000000")
    assert waiting["STATUS"] == "draining: 1 calls are live"
    await manager.until("WATCHDOG", "1")  # the heart beats on, and that is watched
    async with plant.calls() as calls:
        assert (await calls.show(talking)).call.state.value == "active", "for as long as it takes"
        await calls.request_cancel(talking)
    assert (await plant.until_ended(talking)).call.end_reason is EndReason.OPERATOR_HUNG_UP
    assert await asyncio.to_thread(manager.process.wait, timeout_s=PATIENCE_S) == 0
    async with plant.calls() as calls:
        assert not (await calls.show(late)).call.state.is_terminal, "nobody takes new calls any more"


async def test_a_heart_that_cannot_beat_although_the_database_answers_starves_the_watchdog(manager: Manager, plant: Plant):
    manager.start()
    await manager.until("WATCHDOG", "1")
    database = Database(plant.url, min_size=1, max_size=1)
    holder = await database.connect()
    try:
        await holder.execute("SET idle_in_transaction_session_timeout = 0")
        async with holder.transaction():
            await holder.execute("SELECT FROM workers FOR UPDATE")
            message = await manager.until("STATUS", "no progress: ", patience_s=90)
            assert message["STATUS"].startswith("no progress: heart")
            assert await manager.silent_for(2 * WATCHDOG_S, "WATCHDOG"), manager.process and manager.process.tail()
    finally:
        await holder.close()
    await manager.until("WATCHDOG", "1")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def frozen() -> Iterator[list[psutil.Process]]:
    """Processes that are stopped; they go on when the test is over."""
    frozen: list[psutil.Process] = []
    yield frozen
    thaw(frozen)


def thaw(frozen: list[psutil.Process]) -> None:
    """Let stopped processes go on; those whose daemon gave them up meanwhile end at once."""
    for process in frozen:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


async def test_a_database_that_stands_still_starves_nobody_and_live_calls_are_not_hung_up_for_it(
    server: EmbeddedPostgres, tmp_path: Path, frozen: list[psutil.Process]
):
    plant = Plant(url=await server.start(), directory=tmp_path)
    await migrate(Database(plant.url))
    await plant.furnish()
    manager = Manager(directory=tmp_path, url=plant.url)
    manager.configure()
    try:
        manager.start()
        await manager.until("READY", "1")
        (talking,) = await plant.enqueue(callees.TALKS_ON)
        await plant.until_state(talking, "active")
        postmaster = psutil.Process(int((tmp_path / "postgres" / "postmaster.pid").read_text().split()[0]))
        for process in (postmaster, *postmaster.children()):
            with contextlib.suppress(psutil.NoSuchProcess):  # a vacuum that has just ended
                process.suspend()
                frozen.append(process)
        await manager.until_says("loop_step_failed")
        manager.listen()
        manager.heard.clear()
        for _ in range(5):
            await manager.until("WATCHDOG", "1")
        assert not any("no progress" in message.get("STATUS", "") for message in manager.heard)
        thaw(frozen)
        async with plant.calls() as calls:
            await calls.request_cancel(talking)
        assert (await plant.until_ended(talking)).call.end_reason is EndReason.OPERATOR_HUNG_UP
    finally:
        thaw(frozen)
        await asyncio.to_thread(manager.stop)


def test_the_tests_own_environment_has_no_service_manager():
    assert "NOTIFY_SOCKET" not in os.environ
