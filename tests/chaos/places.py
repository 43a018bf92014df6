"""Places for workers: each has its configuration, its wires to database and media server, and the switches at its steps.

The place stays; its process comes and goes. Knows nothing of what runs elsewhere.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.chaos.wires import Wire
from tests.fixtures.livekit import ROOT, RealServer, StandIn
from tests.fixtures.processes import RunningProcess

LEASE_S = 3.0

CONFIG = """
[database]
url = "{database_url}"
pool_max = 8
command_timeout_s = 4.0

[worker]
name = "{name}"
poll_s = 0.2
sweep_s = 0.5
heartbeat_s = 0.5
lease_s = {lease_s}
drain_s = 20.0

[carrier]
kind = "livekit"

[livekit]
url = "{livekit_url}"
api_key = "{api_key}"
api_secret = "{api_secret}"
ring_poll_ms = 150
sweep_s = 0.5
request_timeout_s = 4.0
media_timeout_s = 4.0
post_dial_allowance_s = 3.0

[calls]
ring_timeout_s = 5.0
agent_return_grace_s = 2.0
agent_join_timeout_s = 15.0
agent_delays_s = [0.5, 2.0]
trunk_delays_s = [0.5, 2.0]
gate_delay_s = 0.5

[http]
port = {http_port}

[log]
format = "json"
"""


@dataclass(slots=True)
class Worker:
    """One place for a worker: its wires and files stay, its process comes and goes."""

    number: int
    config: Path
    switches: Path
    hits: Path
    to_database: Wire
    to_livekit: Wire
    without: str = ""
    hurries: bool = False
    process: RunningProcess | None = None
    starts: int = 0

    @property
    def is_running(self) -> bool:
        """Whether its process is there, perhaps stopped."""
        return self.process is not None and self.process.exit_code is None

    def start(self) -> None:
        """Start its process."""
        self.starts += 1
        self.process = RunningProcess(
            [
                *(sys.executable, "-m", "tests.chaos.worker"),
                *("--config", self.config, "--switches", self.switches, "--hits", self.hits),
                *(("--without", self.without) if self.without else ()),
                *(("--hurry",) if self.hurries else ()),
            ],
            name=f"worker-{self.number}",
            directory=self.config.parent,
            cwd=ROOT,
        )

    def kill(self) -> None:
        """End its process at once, stopped or not."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self.process.wait(timeout_s=10)

    def arm(self, step: str, what: str) -> bool:
        """The next time a call comes to the step, the process kills or stops itself. False: it does not listen yet."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(json.dumps({"step": step, "what": what}).encode(), str(self.switches))
            except OSError:
                return False
        return True

    def disarm(self, step: str = "") -> None:
        """What was armed and never reached; without a name everything."""
        self.arm(step, "disarm")

    def signal(self, number: signal.Signals) -> None:
        """To its process, if there is one."""
        if self.process is not None:
            self.process.signal(number)

    def hit(self) -> list[dict[str, object]]:
        """What was done to it at a step so far."""
        if not self.hits.exists():
            return []
        return [json.loads(line) for line in self.hits.read_text(encoding="utf-8").splitlines()]


async def place(number: int, port: int, directory: Path, url: str, server: RealServer, stand_in: StandIn) -> Worker:
    """A place whose wires are up; nobody works there yet."""
    parts = urlsplit(url)
    socket_directory = parse_qs(parts.query)["host"][0]
    to_database = Wire(target=f"{socket_directory}/.s.PGSQL.{parse_qs(parts.query).get('port', ['5432'])[0]}")
    to_livekit = Wire(target=urlsplit(stand_in.http_url).port or 0)
    database_port, livekit_port = await to_database.open(), await to_livekit.open()
    home = directory / f"worker-{number}"
    home.mkdir()
    config = home / "orchestrator.toml"
    config.write_text(
        CONFIG.format(
            name=f"worker-{number}",
            database_url=f"postgresql://{parts.username}@127.0.0.1:{database_port}{parts.path}?sslmode=disable",
            livekit_url=f"http://127.0.0.1:{livekit_port}",
            api_key=server.api_key,
            api_secret=server.api_secret,
            lease_s=LEASE_S,
            http_port=port,
        )
    )
    config.chmod(0o600)
    return Worker(
        number=number,
        config=config,
        switches=home / "switches",
        hits=home / "hits.jsonl",
        to_database=to_database,
        to_livekit=to_livekit,
    )
