"""The processes of one run, all on the loopback: Postgres, livekit-server, stand-in, agents, workers, and the wires between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import asyncpg
from livekit import api

from orchestrator.store.accounts import AccountStore
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.calls import CallStore
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrations import migrate
from orchestrator.store.policy import AccountChange, NewAccount, NewTrunk
from orchestrator.store.pool import Database
from orchestrator.store.trunks import TrunkStore
from tests.chaos.agent import NEARLY_FULL, REGISTERED
from tests.chaos.desk import Desk
from tests.chaos.forbidden import Stop
from tests.chaos.limits import Limits, Spacing
from tests.chaos.places import Worker, place
from tests.chaos.verdict import Sweep
from tests.fixtures.livekit import ROOT, RealServer, StandIn, find_server, start_server, start_stand_in
from tests.fixtures.processes import RunningProcess, free_port
from tests.standin.ledger import Dial

WORKERS = 3
TRUNK = "main"
AGENTS, FEW_AGENTS = "chaos-agent", "chaos-few"
AGENT_PROCESSES = 2
TIME_SCALE = 4.0
LIMITS = Limits(
    accounts={"north": 8, "south": 5, "east": 10},
    channels=18,
    cps=12,
    reserved={"east": 3},
    agents={AGENTS: 16, FEW_AGENTS: 3},
    spacing={"south": Spacing(gap_s=1.5, most=3, within_s=60.0)},
    caller_ids=tuple(f"+442079461{n:03d}" for n in range(300)),
    caller_id_cap=40,
    stopping_s=0.5,
)
"""The caller ids are enough for 12,000 dials, and the first of them is used up in the shortest run."""
DIAL_SLACK_MS = 300
"""With less, a loaded machine misses the dial times of most calls, again and again."""
SERVER_SETTINGS = {"max_connections": "200", "wal_level": "minimal", "max_wal_senders": "0"}


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
    desk: Desk
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

    @property
    def stops(self) -> Sequence[Stop]:
        """When the operator stopped whom."""
        return self.desk.stops

    def sweeps(self) -> Sequence[Sweep]:
        """What the workers' logs tell of rooms that they swept, each by itself."""
        return [sweep for worker in self.workers for sweep in _swept(worker)]

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
            worker = await place(number, port, directory, url, server, stand_in)
            worker.without = without
            placed.append(worker)
            stack.push_async_callback(worker.to_database.close)
            stack.push_async_callback(worker.to_livekit.close)
        for agent in agents:
            agent.wait_until(partial(_is_registered, agent), what="registered", timeout_s=60)
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
            desk=Desk(database=database),
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
        env={**server.env, "AGENT_NAMES": f"{AGENTS} {FEW_AGENTS}"},
        cwd=ROOT,
    )


def _is_registered(agents: RunningProcess) -> bool:
    return agents.log.read_text(encoding="utf-8", errors="replace").count(REGISTERED) == len(LIMITS.agents)


def _swept(worker: Worker) -> Iterator[Sweep]:
    log = worker.config.parent / f"worker-{worker.number}.log"
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        if '"room_swept"' in line:
            told = json.loads(line)
            yield Sweep(at_s=datetime.fromisoformat(told["timestamp"]).timestamp(), rooms=(told["room"],))


def _stop_all(processes: list[RunningProcess]) -> None:
    for process in processes:
        process.stop()


async def _keep_agents(agents: list[RunningProcess], server: RealServer, directory: Path) -> None:
    """Others take the place of those that have served their rooms, and end once those are closed."""
    started = len(agents)
    while True:
        serving = [agent for agent in agents if agent.exit_code is None and not agent.says(NEARLY_FULL)]
        for _ in range(AGENT_PROCESSES - len(serving)):
            agents.append(_start_agents(started, server, directory))
            started += 1
        await asyncio.sleep(0.2)


async def furnish(database: Database, stand_in: StandIn) -> None:
    """Three accounts over one trunk, with two pools of agents."""
    await TrunkStore(database=database).create(
        NewTrunk(
            name=TRUNK,
            sip_trunk_id=stand_in.trunk_id,
            max_channels=LIMITS.channels,
            max_cps=LIMITS.cps,
            dial_slack_ms=DIAL_SLACK_MS,
            caller_ids=tuple(LIMITS.caller_ids),
            caller_id_cap=LIMITS.caller_id_cap,
        )
    )
    accounts = AccountStore(database=database)
    for name, limit in LIMITS.accounts.items():
        await accounts.create(
            NewAccount(
                name=name,
                max_concurrent=limit,
                reserved=LIMITS.reserved.get(name, 0),
                country="GB",
                trunk=TRUNK,
                agent_name=AGENTS,
                ring_timeout_s=5.0,
                max_duration_s=20.0,
                calling_hours=("always",),
                detection={"on": False},  # there is nothing to be heard
            )
        )
    for name, spacing in LIMITS.spacing.items():
        change = AccountChange(number_gap_s=spacing.gap_s, number_most_dials=spacing.most, number_window_s=spacing.within_s)
        await accounts.update(name, change)
    for name, capacity in LIMITS.agents.items():
        await AgentPoolStore(database=database).set_capacity(name, capacity)
