"""A real daemon process that dials through the stand-in, and its database, as tests see them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.store.accounts import AccountStore
from orchestrator.store.calls import CallStore
from orchestrator.store.policy import NewAccount, NewTrunk
from orchestrator.store.pool import Database
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.views import CallView, NewCall
from tests.fixtures.livekit import AGENT_NAME, ROOT, RealServer, StandIn
from tests.fixtures.processes import RunningProcess, free_port

ACCOUNT, TRUNK = "acme", "main"
CALLER_ID = "+442079460900"
RING_TIMEOUT_S = 5.0
_LOOK_S = 0.05

CONFIG = """
[database]
url = "{database_url}"

[worker]
name = "e2e"
poll_s = 0.1
sweep_s = 0.2
heartbeat_s = {heartbeat_s}
lease_s = {lease_s}
orphan_sweep_s = 1.0
drain_s = 30.0

[carrier]
kind = "livekit"

[livekit]
url = "{livekit_url}"
api_key = "{api_key}"
api_secret = "{api_secret}"
ring_poll_ms = 100
media_timeout_s = {media_timeout_s}
sweep_s = 0.5
post_dial_allowance_s = {allowance_s}

[calls]
ring_timeout_s = 5.0
agent_return_grace_s = 1.5
agent_join_timeout_s = 20.0
agent_delays_s = [1.0, 2.0]
trunk_delays_s = [1.0, 2.0]

[listening]
enabled = {listening}
most_children = 2

[http]
port = {http_port}

[log]
format = "json"
"""


def number(line: int, *, series: int = 0) -> str:
    """A number reserved for drama (Ofcom: 020 7946 0000 to 0999) whose last two digits select the callee's script."""
    return f"+44207946{series:02d}{line:02d}"


class Daemon:
    """One daemon process with its database."""

    def __init__(self, *, process: RunningProcess, database_url: str, http_port: int, config: Path, stand_in: StandIn) -> None:
        self.process = process
        self.http_port = http_port
        self.config = config
        self.stand_in = stand_in
        self._database_url = database_url

    def stop(self) -> None:
        """Hang up and leave."""
        for _ in range(2):
            self.process.signal(signal.SIGTERM)
        self.process.stop(patience_s=60)

    def desk(self) -> AbstractAsyncContextManager[Desk]:
        """To queue calls and see what becomes of them, in the event loop of one test."""
        return Desk.at(self._database_url, stand_in=self.stand_in)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `orchestrator` with this daemon's settings."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments, "--config", str(self.config)],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
        )


class Desk:
    """Queues calls and watches them, past the daemon, through its database."""

    def __init__(self, *, database: Database, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self._database = database
        self._calls = CallStore(database=database)

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, database_url: str, *, stand_in: StandIn) -> AsyncIterator[Desk]:
        """A desk at this database."""
        database = Database(database_url, min_size=1, max_size=4)
        await database.open()
        try:
            yield cls(database=database, stand_in=stand_in)
        finally:
            await database.close()

    async def furnish(self) -> None:
        """A new database gets one trunk, one account with the example agent, and an id of its own: its template's would do for
        rooms of other tests too."""
        connection = await self._database.connect()
        try:
            await connection.execute("UPDATE deployment SET id = gen_random_uuid()")
        finally:
            await connection.close()
        await TrunkStore(database=self._database).create(
            NewTrunk(
                name=TRUNK,
                sip_trunk_id=self.stand_in.trunk_id,
                max_channels=100,
                max_cps=100,
                dial_slack_ms=1000,
                caller_ids=(CALLER_ID,),
            )
        )
        await AccountStore(database=self._database).create(
            NewAccount(
                name=ACCOUNT,
                max_concurrent=50,
                country="GB",
                trunk=TRUNK,
                agent_name=AGENT_NAME,
                ring_timeout_s=RING_TIMEOUT_S,
                calling_hours=("always",),
                detection={"on": False},  # a call that is to be listened to says so
            )
        )

    async def enqueue(self, to: str, *, metadata: Mapping[str, Any] | None = None, **fields: Any) -> CallId:
        """Queue a call, due now."""
        call = NewCall(account=ACCOUNT, to=to, metadata=json.dumps(metadata or {}), **fields)
        (enqueued,) = await self._calls.enqueue([call])
        return enqueued.call_id

    async def cancel(self, call_id: CallId) -> None:
        """Ask for the call's end."""
        await self._calls.request_cancel(call_id)

    async def show(self, call_id: CallId) -> CallView:
        """The call as it stands."""
        return await self._calls.show(call_id)

    async def until(self, call_id: CallId, *states: State, timeout_s: float = 120.0) -> CallView:
        """The call, once it is in one of these states."""
        view = await self._calls.show(call_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while view.call.state not in states:
                    await asyncio.sleep(_LOOK_S)
                    view = await self._calls.show(call_id)
                return view
        raise AssertionError(f"not in {[state.value for state in states]} after {timeout_s} s: {view}")

    async def until_ended(self, call_id: CallId, *, timeout_s: float = 120.0) -> CallView:
        """The call, once it has ended."""
        return await self.until(call_id, *(state for state in State if state.is_terminal), timeout_s=timeout_s)


def start_daemon(
    database_url: str,
    *,
    server: RealServer,
    stand_in: StandIn,
    directory: Path,
    allowance_s: float = 0.0,
    lease_s: float = 5.0,
    furnish: bool = True,
    hears_webhooks: bool = True,
    listens: bool = False,
    media_timeout_s: float = 4.0,
) -> Daemon:
    """Start a daemon, on a database that is furnished first. It hears the server's webhooks.

    `allowance_s` 0: dials that nobody answers are ended by the SIP service's ring time, since that starts before our own.
    """
    # The server sends its webhooks to one port only; daemons of one test process run one after the other.
    http_port = (server.webhook_port if hears_webhooks else None) or free_port()
    config = directory / "orchestrator.toml"
    config.write_text(
        CONFIG.format(
            database_url=database_url,
            livekit_url=stand_in.http_url,
            api_key=server.api_key,
            api_secret=server.api_secret,
            allowance_s=allowance_s,
            http_port=http_port,
            listening=str(listens).lower(),
            media_timeout_s=media_timeout_s,
            lease_s=lease_s,
            heartbeat_s=lease_s / 5,
        )
    )
    if furnish:
        asyncio.run(_furnish(database_url, stand_in))
    process = RunningProcess(
        [sys.executable, "-m", "orchestrator", "run", "--config", config], name="daemon", directory=directory, cwd=ROOT
    )
    daemon = Daemon(process=process, database_url=database_url, http_port=http_port, config=config, stand_in=stand_in)

    try:
        process.wait_until(lambda: _is_ready(http_port), what="ready", timeout_s=120)
    except BaseException:
        process.stop()
        raise
    return daemon


async def _furnish(database_url: str, stand_in: StandIn) -> None:
    async with Desk.at(database_url, stand_in=stand_in) as desk:
        await desk.furnish()


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
