"""A real daemon process that dials through a real SIP service, and its database, as tests see them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
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
from tests.fixtures.livekit import AGENT_NAME, ROOT, RealServer
from tests.fixtures.processes import RunningProcess, free_port
from tests.sip.exchange import CALLER_ID

ACCOUNT = "acme"
RING_TIMEOUT_S = 8.0
MEDIA_TIMEOUT_S = 4
_LOOK_S = 0.05

CONFIG = """
[database]
url = "{database_url}"

[worker]
name = "sip"
poll_s = 0.1
sweep_s = 0.2
heartbeat_s = 1.0
lease_s = 5.0
drain_s = 30.0

[carrier]
kind = "livekit"

[livekit]
url = "{server.http_url}"
api_key = "{server.api_key}"
api_secret = "{server.api_secret}"
ring_poll_ms = 100
sweep_s = 0.5
post_dial_allowance_s = {allowance_s}
media_timeout_s = {media_timeout_s}

[calls]
agent_return_grace_s = 1.5
agent_join_timeout_s = 15.0
agent_delays_s = [1.0, 2.0]
trunk_delays_s = [1.0, 2.0]

[listening]
enabled = {listening}

[http]
port = {http_port}

[log]
format = "json"
"""

_lines = itertools.count()


def new_number() -> str:
    """A number of this process that no other call has. Reserved for drama (Ofcom: 020 7946 0000 to 0999): it is nobody's."""
    return f"+44207946{next(_lines):04d}"


class Desk:
    """Queues calls and watches them, past the daemon, through its database."""

    def __init__(self, *, database: Database) -> None:
        self._database = database
        self._calls = CallStore(database=database)

    async def furnish(self, trunk_ids: Mapping[str, str]) -> None:
        """A trunk to each far end, under its name, and one account with the example agent."""
        trunks = TrunkStore(database=self._database)
        for name, trunk_id in trunk_ids.items():
            await trunks.create(
                NewTrunk(
                    name=name, sip_trunk_id=trunk_id, max_channels=100, max_cps=100, dial_slack_ms=1000, caller_ids=(CALLER_ID,)
                )
            )
        await AccountStore(database=self._database).create(
            NewAccount(
                name=ACCOUNT,
                max_concurrent=50,
                country="GB",
                agent_name=AGENT_NAME,
                ring_timeout_s=RING_TIMEOUT_S,
                calling_hours=("always",),
                detection={"on": False},  # a call that is to be listened to says so
            )
        )

    async def enqueue(self, far_end: str, *, metadata: Mapping[str, Any] | None = None, **fields: Any) -> CallId:
        """Queue a call to a number at this far end, due now."""
        call = NewCall(account=ACCOUNT, to=new_number(), trunk=far_end, metadata=json.dumps(metadata or {}), **fields)
        (enqueued,) = await self._calls.enqueue([call])
        return enqueued.call_id

    async def cancel(self, call_id: CallId) -> None:
        """Ask for the call's end."""
        await self._calls.request_cancel(call_id)

    async def until(self, call_id: CallId, *states: State, timeout_s: float = 60.0) -> CallView:
        """The call, once it is in one of these states."""
        view = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while (view := await self._calls.show(call_id)).call.state not in states:
                    await asyncio.sleep(_LOOK_S)
                return view
        raise AssertionError(f"not in {[state.value for state in states]} after {timeout_s} s: {view}")

    async def until_ended(self, call_id: CallId) -> CallView:
        """The call, once it has ended."""
        return await self.until(call_id, *(state for state in State if state.is_terminal))


class Daemon:
    """One daemon process with its database."""

    def __init__(
        self, *, server: RealServer, database_url: str, directory: Path, allowance_s: float, listens: bool = False
    ) -> None:
        """It hears the server's webhooks: only one daemon at a time can."""
        self._database_url = database_url
        self._http_port = server.webhook_port or free_port()
        self._config = directory / "orchestrator.toml"
        self._config.write_text(
            CONFIG.format(
                database_url=database_url,
                server=server,
                allowance_s=allowance_s,
                media_timeout_s=MEDIA_TIMEOUT_S,
                http_port=self._http_port,
                listening=str(listens).lower(),
            )
        )
        self.process = RunningProcess(
            [sys.executable, "-m", "orchestrator", "run", "--config", self._config],
            name="daemon",
            directory=directory,
            cwd=ROOT,
        )

    def wait_until_ready(self) -> None:
        """Until it says so itself."""
        self.process.wait_until(self._is_ready, what="ready", timeout_s=30)

    def stop(self) -> None:
        """Hang up and leave."""
        for _ in range(2):
            self.process.signal(signal.SIGTERM)
        self.process.stop(patience_s=20)

    @contextlib.asynccontextmanager
    async def desk(self) -> AsyncIterator[Desk]:
        """To queue calls and see what becomes of them, in the event loop of one test."""
        database = Database(self._database_url, min_size=1, max_size=4)
        await database.open()
        try:
            yield Desk(database=database)
        finally:
            await database.close()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `orchestrator` with this daemon's settings."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments, "--config", str(self._config)],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
        )

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._http_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False
