"""The processes of one run, all on the loopback: Postgres, livekit-server, stand-in, agents, workers, and the wires between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import parse_qs, urlsplit

import asyncpg
from livekit import api

from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrations import migrate
from orchestrator.store.policy import NewAccount, NewTrunk
from orchestrator.store.pool import Database
from orchestrator.store.trunks import TrunkStore
from tests.chaos.verdict import Limits
from tests.chaos.wires import Wire
from tests.fixtures.livekit import ROOT, RealServer, StandIn, find_server, start_server, start_stand_in
from tests.fixtures.processes import RunningProcess, free_port
from tests.standin.ledger import Dial

WORKERS = 3
AGENT_NAME = "chaos-agent"
AGENT_PROCESSES = 2
TIME_SCALE = 4.0
LEASE_S = 3.0
LIMITS = Limits(accounts={"north": 16, "south": 10, "east": 20}, channels=36, cps=12)
SERVER_SETTINGS = {"max_connections": "200", "wal_level": "minimal", "max_wal_senders": "0"}

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
agent_join_timeout_s = 8.0
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


@dataclass(slots=True)
class World:
    """Everything that runs."""

    directory: Path
    database_url: str
    postgres: EmbeddedPostgres
    database: Database
    calls: CallStore
    server: RealServer
    stand_in: StandIn
    workers: list[Worker]
    processes: list[RunningProcess] = field(default_factory=list)
    limits: Limits = LIMITS
    after_call: int = 0
    keep_files: bool = True
    """Logs, ledger and database stay when everything has ended: there is something to look at."""
    _dials_before: int = 0
    _own: asyncpg.Connection[asyncpg.Record] | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def restart_postgres(self) -> None:
        """As an operator would, without waiting for anybody's transaction."""
        await self.postgres.stop()
        await self.postgres.start()

    async def cut_backends(self, count: int) -> int:
        """pg_terminate_backend of some connections of the workers, whichever."""
        rows = await self.query(
            """SELECT pg_terminate_backend(pid) FROM (
                   SELECT pid FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
                    ORDER BY random() LIMIT $1) chosen""",
            count,
        )
        return len(rows)

    async def query(self, text: str, *arguments: object) -> list[asyncpg.Record]:
        """For checks; on a connection of its own, tried again while the server is away."""
        deadline_s = time.monotonic() + 30
        async with self._asking:
            while True:
                try:
                    if self._own is None or self._own.is_closed():
                        self._own = await asyncpg.connect(self.database_url, timeout=5)
                    return await self._own.fetch(text, *arguments, timeout=20)
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError):
                    if time.monotonic() > deadline_s:
                        raise
                    if self._own is not None:
                        self._own.terminate()
                        self._own = None
                    await asyncio.sleep(0.2)

    def dials(self) -> Sequence[Dial]:
        """What the far end has seen."""
        return self.stand_in.ledger.dials()[self._dials_before :]

    async def begin_anew(self) -> None:
        """What was so far is not judged."""
        (row,) = await self.query("SELECT coalesce(max(id), 0) FROM calls")
        self.after_call, self._dials_before = row[0], len(self.stand_in.ledger.dials())

    async def rooms(self) -> list[str]:
        """Names of this deployment's rooms that exist."""
        (row,) = await self.query("SELECT id::text FROM deployment")
        prefix = f"oc-{row[0].replace('-', '')[:8]}-"
        async with api.LiveKitAPI(self.server.http_url, self.server.api_key, self.server.api_secret) as client:
            listed = await asyncio.wait_for(client.room.list_rooms(api.ListRoomsRequest()), 10)
        return [room.name for room in listed.rooms if room.name.startswith(prefix)]

    async def delete_room(self, name: str) -> None:
        """Delete a room with all that is in it."""
        async with api.LiveKitAPI(self.server.http_url, self.server.api_key, self.server.api_secret) as client:
            await asyncio.wait_for(client.room.delete_room(api.DeleteRoomRequest(room=name)), 10)


@contextlib.asynccontextmanager
async def world(*, without: str = "", workers: int = WORKERS, start: bool = True) -> AsyncIterator[World]:
    """Start everything (the workers only if `start`); end everything that was started, by its process id."""
    # Not pytest's own directory: its path is too long for a socket, and closed to the server's user.
    directory = Path(mkdtemp(prefix="orchestrator-chaos-"))
    made: World | None = None
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(lambda: None if made is None or made.keep_files else shutil.rmtree(directory, ignore_errors=True))
        postgres = EmbeddedPostgres(directory / "pg", durable=True, settings=SERVER_SETTINGS)
        url = await postgres.start()
        stack.push_async_callback(postgres.stop)
        ports = [free_port() for _ in range(workers)]
        server, process = start_server(find_server(), directory=directory, webhook_ports=ports)
        stack.callback(process.stop)
        stand_in = start_stand_in(server, directory=directory, time_scale=TIME_SCALE, has_media=False)
        stack.callback(stand_in.process.stop)
        agents = [_start_agents(number, server, directory) for number in range(AGENT_PROCESSES)]
        stack.callback(_stop_all, agents)
        database = Database(url, min_size=1, max_size=6)
        await migrate(database)
        await database.open()
        stack.push_async_callback(database.close)
        await furnish(database, stand_in)
        placed = []
        for number, port in enumerate(ports, start=1):
            worker = await _place(number, port, directory, url, server, stand_in)
            worker.without = without
            placed.append(worker)
            stack.push_async_callback(worker.to_database.close)
            stack.push_async_callback(worker.to_livekit.close)
        for agent in agents:
            agent.wait_until(partial(agent.says, "registered worker"), what="registered", timeout_s=60)
        keeping = asyncio.create_task(_keep_agents(agents, server, directory))
        stack.callback(keeping.cancel)
        made = World(
            directory=directory,
            database_url=url,
            postgres=postgres,
            database=database,
            calls=CallStore(database=database),
            server=server,
            stand_in=stand_in,
            workers=placed,
            processes=[process, stand_in.process],
        )
        for worker in placed if start else ():
            worker.start()
        try:
            yield made
        finally:
            for worker in placed:
                worker.kill()


def _start_agents(number: int, server: RealServer, directory: Path) -> RunningProcess:
    return RunningProcess(
        [sys.executable, "-m", "tests.chaos.agent"],
        name=f"agents-{number}",
        directory=directory,
        env={**server.env, "AGENT_NAME": AGENT_NAME},
        cwd=ROOT,
    )


def _stop_all(processes: list[RunningProcess]) -> None:
    for process in processes:
        process.stop()


async def _keep_agents(agents: list[RunningProcess], server: RealServer, directory: Path) -> None:
    """Start those that have served their rooms anew."""
    while True:
        for number, agent in enumerate(agents):
            if agent.exit_code is not None:
                agents[number] = _start_agents(number, server, directory)
        await asyncio.sleep(0.2)


async def furnish(database: Database, stand_in: StandIn) -> None:
    """Three accounts of different weight over one trunk."""
    await TrunkStore(database=database).create(
        NewTrunk(
            name="main",
            sip_trunk_id=stand_in.trunk_id,
            max_channels=LIMITS.channels,
            max_cps=LIMITS.cps,
            caller_ids=("+442079460900",),
        )
    )
    accounts = AccountStore(database=database)
    for name, limit in LIMITS.accounts.items():
        await accounts.create(
            NewAccount(
                name=name,
                max_concurrent=limit,
                country="GB",
                trunk="main",
                agent_name=AGENT_NAME,
                ring_timeout_s=5.0,
                max_duration_s=20.0,
                calling_hours=("always",),
            )
        )


async def _place(number: int, port: int, directory: Path, url: str, server: RealServer, stand_in: StandIn) -> Worker:
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
