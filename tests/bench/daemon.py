"""A daemon as a child process for benchmarks: started from a config of its own, watched by its metrics and by the system."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    """A running daemon."""

    pid: int
    http_port: int

    def resident_mb(self) -> float:
        return psutil.Process(self.pid).memory_info().rss / 1e6

    async def samples(self) -> dict[str, float]:
        """Every sample of /metrics, keyed by name and labels."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"http://127.0.0.1:{self.http_port}/metrics") as response,
        ):
            text = await response.text()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


@contextlib.asynccontextmanager
async def running_daemon(
    directory: Path, *, toml: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[DaemonProcess]:
    """Start `orchestrator run` with this configuration; stop it by SIGTERM, and by SIGINT if it does not leave."""
    port = free_port()
    config = directory / "orchestrator.toml"
    config.write_text(f'{toml}\n[http]\nhost = "127.0.0.1"\nport = {port}\n')
    with (directory / "daemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "orchestrator", "run", "--config", str(config),
            stdout=log, stderr=log, env={**os.environ, **(environ or {})},
        )  # fmt: skip
    try:
        await _until_ready(process, port, directory)
        yield DaemonProcess(pid=process.pid, http_port=port)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            if process.returncode is not None:
                break
            process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await process.wait()


async def _until_ready(process: asyncio.subprocess.Process, port: int, directory: Path) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session, asyncio.timeout(60):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"the daemon left with {process.returncode}:\n{(directory / 'daemon.log').read_text()[-3000:]}")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)
