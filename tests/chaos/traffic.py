"""The calls of one run: callees that talk, are busy, decline, ring out; some calls withdrawn, some numbers listed meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import DestinationForbidden, Error
from orchestrator.ids import E164, CallId
from orchestrator.store.donotcall import DoNotCallStore, NewListing
from orchestrator.store.views import NewCall
from tests.chaos.world import FEW_AGENTS, World

LINES = {0: 3, 1: 2, 2: 2, 3: 1, 7: 1, 16: 3, 21: 3, 22: 4, 24: 3}
"""Last two digits (sip.simulated.scripts) and how often: talks 8 s, busy, declines after 4 s, rings out, wrong number, hangs up
at once, talks 6 s, busy at once, answers without ringing."""
CANCELED, LISTED, OPTED_OUT, ENDED_BY_AGENT = 0.06, 0.04, 0.03, 0.15
"""Parts of the calls that are withdrawn or whose number is listed, at any moment of their lives; whose callee asks for no more
calls; and that the agent ends."""
URGENT, FOR_FEW = 0.1, 0.2
"""Parts of the calls that may take reserved slots, and that want the agents of which there are few."""
WAVE = 45
"""How many calls are queued or under way at once."""
BLOCK = 8
"""So many calls one after the other share a block of numbers, so that some of them want the same one."""
RETRY_S = 0.3


@dataclass(slots=True)
class Traffic:
    """What was queued and asked for."""

    world: World
    total: int
    chance: random.Random
    may_queue: Callable[[int], bool] = lambda _: True
    """Whether the call of this index may be queued yet: not far ahead of the faults."""
    is_enough: Callable[[], bool] = lambda: True
    """After `total` calls: more are queued until this is so."""
    queued: list[CallId] = field(default_factory=list)
    refused: int = 0
    """At the door, since the number is listed."""
    ended: int = 0
    """As last seen."""
    _later: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def progress(self) -> float:
        """Which part of it is over."""
        return self.ended / max(1, self.total)

    async def run(self) -> None:
        """Queue everything, keeping the queue filled without making it long."""
        lines = random.Random(self.chance.random()).choices(list(LINES), weights=list(LINES.values()), k=self.total)
        for index in itertools.count():
            if index >= self.total and self.is_enough():
                break
            line = lines[index % self.total]
            while not self.may_queue(index) or len(self.queued) - self.ended >= WAVE:
                await asyncio.sleep(0.2)
                await self.look()
            await self._queue(index, line)
        await asyncio.gather(*self._later, return_exceptions=True)

    async def look(self) -> None:
        """How many have ended."""
        (row,) = await self.world.query("SELECT count(*) FROM calls WHERE ended_at IS NOT NULL")
        self.ended = int(row[0])

    async def _queue(self, index: int, line: int) -> None:
        block = index // BLOCK % 100
        metadata: dict[str, float] = {}
        if self.chance.random() < OPTED_OUT:
            metadata["opt_out_after_s"] = self.chance.uniform(1, 4)
        if self.chance.random() < ENDED_BY_AGENT:
            metadata["end_after_s"] = 3.0
        account = self.chance.choice(list(self.world.limits.accounts))
        draw, after_s = self.chance.random(), self.chance.random()
        priority, agents = int(self.chance.random() < URGENT), FEW_AGENTS if self.chance.random() < FOR_FEW else ""
        while True:
            number = E164(f"+44207946{block:02d}{line:02d}")
            call = NewCall(
                account=account,
                to=number,
                agent_name=agents,
                priority=priority,
                metadata=json.dumps(metadata),
                idempotency_key=f"chaos-{index}-{number}",
            )
            try:
                (queued,) = await self.world.calls.enqueue([call])
                break
            except DestinationForbidden:
                self.refused += 1
                block = self.chance.randrange(100)
            except Error:
                await asyncio.sleep(RETRY_S)  # the database is away; the key makes asking again harmless
        self.queued.append(queued.call_id)
        if draw < CANCELED:
            self._soon(self._cancel(queued.call_id, 6 * after_s))
        elif draw < CANCELED + LISTED:
            self._soon(self._list(number, 5 * after_s))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _cancel(self, call_id: CallId, after_s: float) -> None:
        await asyncio.sleep(after_s)
        for _ in range(20):
            try:
                await self.world.calls.request_cancel(call_id)
            except Error:
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _list(self, number: E164, after_s: float) -> None:
        await asyncio.sleep(after_s)
        lists = DoNotCallStore(database=self.world.database)
        for _ in range(20):
            try:
                await lists.add([NewListing(number=number)], source="operator")
                await lists.cancel_listed(number)
            except Error:
                await asyncio.sleep(RETRY_S)
            else:
                return
