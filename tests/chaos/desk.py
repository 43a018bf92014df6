"""An operator who stops something for a moment, again and again: an account, the trunk, agents, everything.

When that was committed and when it was taken back is written down, so that the verdict can see whether anybody was dialled
meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from orchestrator.errors import Error
from orchestrator.store.accounts import AccountStore
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.policy import AccountChange, TrunkChange
from orchestrator.store.pool import Database
from orchestrator.store.switches import SwitchStore
from orchestrator.store.trunks import TrunkStore
from tests.chaos.forbidden import ACCOUNT, AGENTS, EVERYTHING, TRUNK, Stop

BETWEEN_S = (3.0, 9.0)
STOPPED_S = (0.6, 1.5)
"""How long something is stopped: longer than an intent may take that was being written (Limits.stopping_s)."""
RETRY_S = 0.3


@dataclass(slots=True)
class Desk:
    """What an operator can stop."""

    database: Database
    stops: list[Stop] = field(default_factory=list)

    async def set(self, what: str, name: str, *, stopped: bool) -> None:
        """Stop something, or let it go on. Raises Error while the database is away."""
        match what:
            case "everything" if stopped:
                await SwitchStore(database=self.database).stop("for a moment")
            case "everything":
                await SwitchStore(database=self.database).resume()
            case "account":
                await AccountStore(database=self.database).update(name, AccountChange(paused=stopped))
            case "trunk":
                await TrunkStore(database=self.database).update(name, TrunkChange(enabled=not stopped))
            case _:
                await AgentPoolStore(database=self.database).pause(name, paused=stopped)

    async def stop(self, what: str, name: str = "") -> None:
        """From here on nobody whom it concerns may be dialled. Raises Error, as `let_go`."""
        await self.set(what, name, stopped=True)
        self.note(what, name)

    def note(self, what: str, name: str = "") -> None:
        """It has been stopped, by somebody else."""
        self.stops.append(Stop(what=what, name=name, from_s=time.time()))

    async def let_go(self) -> None:
        """Take the last stop back. Raises Error while the database is away: ask again."""
        stop = self.stops[-1]
        if stop.until_s == float("inf"):  # asked again it may have been done the first time
            self.stops[-1] = replace(stop, until_s=time.time())
        await self.set(stop.what, stop.name, stopped=False)


async def run(desk: Desk, *, chance: random.Random, accounts: list[str], trunk: str, agents: list[str]) -> None:
    """Until cancelled; nothing is stopped afterwards."""
    choices = [(EVERYTHING, ""), (TRUNK, trunk), *((ACCOUNT, name) for name in accounts), *((AGENTS, name) for name in agents)]
    while True:
        await asyncio.sleep(chance.uniform(*BETWEEN_S))
        what, name = chance.choice(choices)
        stopping = asyncio.create_task(_stop_for_a_moment(desk, what, name, chance.uniform(*STOPPED_S)))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping  # nothing stays stopped
            raise


async def _stop_for_a_moment(desk: Desk, what: str, name: str, for_s: float) -> None:
    await _insist(lambda: desk.stop(what, name))
    await asyncio.sleep(for_s)
    await _insist(desk.let_go)


async def _insist(deed: Callable[[], Awaitable[None]]) -> None:
    """However often the database goes away."""
    while True:
        try:
            await deed()
        except Error:
            await asyncio.sleep(RETRY_S)
        else:
            return
