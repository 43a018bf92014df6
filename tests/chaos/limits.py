"""What may be in use at once, and whoever looks at it while everything runs.

What was over a limit and is not any more would be missed afterwards. Limits of the past, as gaps between dials and caps of a
day, are looked for at the end (forbidden.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import asyncpg


@dataclass(frozen=True, slots=True)
class Spacing:
    """How often an account may dial one number."""

    gap_s: float
    most: int
    within_s: float
    """`most` dials in any so many seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be in use at once, a second, a day; agents, spacing and caller ids are not limited unless they are named."""

    accounts: Mapping[str, int]
    """Slots by name."""
    channels: int
    cps: int
    reserved: Mapping[str, int] = field(default_factory=dict)
    """Of an account's slots, those for urgent calls alone."""
    agents: Mapping[str, int] = field(default_factory=dict)
    """Capacities of agent pools by name."""
    spacing: Mapping[str, Spacing] = field(default_factory=dict)
    """By account."""
    caller_ids: Sequence[str] = ("+442079460900",)
    """Of the trunk."""
    caller_id_cap: int | None = None
    """Dials a day with each."""
    rooms_swept: int = 20
    """How many rooms one sweep may end without an operator's word."""
    stopping_s: float = 0.0
    """How long after dialling was stopped an intent may be dated that was being written then."""


class Counted(Protocol):
    """Whose calls are counted."""

    @property
    def limits(self) -> Limits:
        """As they were set."""
        ...

    async def query(self, text: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask the database."""
        ...


class Findings(Protocol):
    """Who takes down what was over a limit; `verdict.Verdict` is one."""

    def found(self, what: str, seen: str) -> None:
        """One breach."""
        ...


class Watch:
    """Looks at the limits of what is in use."""

    def __init__(self, *, scene: Counted, verdict: Findings) -> None:
        self._scene = scene
        self._verdict = verdict

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(0.1)

    async def look(self) -> None:
        """One snapshot of the calls, not of the counters."""
        limits = self._scene.limits
        rows = await self._scene.query(
            """SELECT a.name AS account, c.agent_name AS agent, c.priority > 0 AS urgent, count(*) AS held
                 FROM calls c JOIN accounts a ON a.id = c.account_id
                WHERE c.worker_id IS NOT NULL AND c.ended_at IS NULL GROUP BY 1, 2, 3"""
        )
        by_account: Counter[str] = Counter()
        plain: Counter[str] = Counter()
        by_agent: Counter[str] = Counter()
        for row in rows:
            by_account[row["account"]] += row["held"]
            by_agent[row["agent"]] += row["held"]
            if not row["urgent"]:
                plain[row["account"]] += row["held"]
        for name, held in by_account.items():
            most = limits.accounts[name]
            if held > most:
                self._verdict.found("over an account's limit", f"{name} holds {held} of {most}")
            if plain[name] > most - limits.reserved.get(name, 0):
                self._verdict.found("over what is not reserved", f"{name} holds {plain[name]} that are not urgent of {most}")
        for name, held in by_agent.items():
            if held > limits.agents.get(name, held):
                self._verdict.found("over what agents can take", f"{name}: {held} of {limits.agents[name]}")
        total = by_account.total()
        if total > limits.channels:
            self._verdict.found("over the trunk's channels", f"{total} calls on {limits.channels} channels")
