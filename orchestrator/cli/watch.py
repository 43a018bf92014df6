"""Calls as they go: a live table on a terminal, one line for each change elsewhere.

Looks at the store now and then and remembers what it saw. It changes nothing, and waits for a database that is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.desk import plain_table
from orchestrator.cli.documents import call_document, text_of
from orchestrator.cli.words import clean, plural, shown_clock, shown_number
from orchestrator.errors import DatabaseUnavailable, NotFound
from orchestrator.ids import CallId
from orchestrator.lifecycle import HOLDING, State
from orchestrator.outcomes import EndReason
from orchestrator.store.calls import CallStore
from orchestrator.store.views import CallFilter, CallRow

MOST_SHOWN = 1000
RESERVED_LINES = 12
"""Of the terminal's height, for everything but the calls."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the store found."""

    at: datetime
    live: tuple[CallRow, ...]
    """Calls that hold a slot, longest in their state first."""
    changed: tuple[CallRow, ...]
    """Calls whose state is another one than at the look before, and calls that have ended since."""


class Watcher:
    """Remembers what was live, and so notices what changed and what ended."""

    def __init__(self, *, calls: CallStore, account: str | None, batch: str | None) -> None:
        self._calls = calls
        self._filter = CallFilter(account=account, batch=batch, states=HOLDING, limit=MOST_SHOWN)
        self._seen: dict[CallId, State] = {}
        self._batch = batch
        self.ended: Counter[EndReason] = Counter()
        """By end reason: all of the batch, or without one those that ended since the first look."""
        self.waiting: int | None = None
        """Calls of the batch that still wait; None without a batch."""

    async def look(self) -> Look:
        """Look once. Raises DatabaseUnavailable, and may be asked again."""
        live = await self._calls.list_calls(self._filter)
        now_live = {call.call_id for call in live}
        gone = [await self._gone(call_id) for call_id in self._seen if call_id not in now_live]
        await self._count(gone)
        changed = [call for call in live if self._seen.get(call.call_id) is not call.state]
        self._seen = {call.call_id: call.state for call in live}
        return Look(
            at=datetime.now(UTC),
            live=tuple(sorted(live, key=lambda call: (since(call), call.call_id))),
            changed=(*changed, *(call for call in gone if call is not None)),
        )

    async def _gone(self, call_id: CallId) -> CallRow | None:
        """A call that held a slot at the last look and holds none now: it has ended, or gone back to the queue."""
        try:
            return (await self._calls.show(call_id)).call
        except NotFound:
            return None  # deleted by an operator meanwhile

    async def _count(self, gone: Sequence[CallRow | None]) -> None:
        if self._batch is None:
            self.ended.update(call.end_reason for call in gone if call is not None and call.end_reason is not None)
            return
        summary = await self._calls.summary(self._batch)
        self.ended = Counter(dict(summary.ended))
        self.waiting = sum(count for state, count in summary.unfinished.items() if state not in HOLDING)


class Watch:
    """Shows what a Watcher sees, until cancelled."""

    def __init__(self, *, watcher: Watcher, paper: Console, as_json: bool, numbers_in_full: bool, interval_s: float) -> None:
        self._watcher = watcher
        self._paper = paper
        self._as_json = as_json
        self._numbers_in_full = numbers_in_full
        self._interval_s = interval_s

    async def run(self) -> None:
        """Until cancelled."""
        if self._as_json or not self._paper.is_terminal:
            await self._lines()
        else:
            await self._table()

    async def _lines(self) -> None:
        while True:
            try:
                look = await self._watcher.look()
            except DatabaseUnavailable as error:
                if not self._as_json:
                    self._paper.print(clean(str(error)), soft_wrap=True)
            else:
                for call in look.changed:
                    self._paper.print(self._line(call, look.at), soft_wrap=True)
            await asyncio.sleep(self._interval_s)

    def _line(self, call: CallRow, at: datetime) -> str:
        if self._as_json:
            return text_of(call_document(call, numbers_in_full=self._numbers_in_full))
        return change_line(call, at, numbers_in_full=self._numbers_in_full)

    async def _table(self) -> None:
        with screen(self._paper) as live:
            trouble = ""
            look = Look(at=datetime.now(UTC), live=(), changed=())
            while True:
                try:
                    look = await self._watcher.look()
                    trouble = ""
                except DatabaseUnavailable as error:
                    trouble = str(error)
                    look = replace(look, at=datetime.now(UTC))
                live.update(self._picture(look, trouble), refresh=True)
                await asyncio.sleep(self._interval_s)

    def _picture(self, look: Look, trouble: str) -> RenderableType:
        rows = max(3, self._paper.height - RESERVED_LINES)
        parts: list[RenderableType] = [calls_table(look, numbers_in_full=self._numbers_in_full, rows=rows)]
        if trouble:
            parts.append(Text(clean(trouble), style="red"))
        waiting = "" if self._watcher.waiting is None else f", {self._watcher.waiting:,} waiting"
        parts.append(
            Text(
                f"{plural(len(look.live), 'live call')}{waiting}   {shown_clock(look.at)[:-4]} UTC   Ctrl-C to leave",
                style="dim",
            )
        )
        parts.append(Text(counts_line(self._watcher.ended)))
        return Group(*parts)


@contextlib.contextmanager
def screen(paper: Console) -> Iterator[Live]:
    """A place on the terminal that is drawn anew at each update."""
    with Live(console=paper, auto_refresh=False, transient=False) as live:
        yield live


def since(call: CallRow) -> datetime:
    """When the call came into its state, as far as its row tells."""
    at = {
        State.CLAIMED: call.claimed_at,
        State.DIALING: call.dialed_at,
        State.RINGING: call.ringing_at,
        State.ACTIVE: call.answered_at,
    }.get(call.state, call.ended_at)
    return at or call.created_at


def change_line(call: CallRow, at: datetime, *, numbers_in_full: bool) -> str:
    """One change as one line."""
    what = call.end_reason.value if call.end_reason else call.state.value
    if call.state in {State.SCHEDULED, State.READY}:
        what = f"back on the queue, waits for {call.waiting_for.value}"
    number = shown_number(call.to, in_full=numbers_in_full)
    return f"{shown_clock(at)} call {call.call_id} {clean(call.account)} {number} {what}"


def calls_table(look: Look, *, numbers_in_full: bool, rows: int) -> Table:
    """Live calls, at most `rows` of them."""
    table = plain_table(("call", "account", "to", "state", "for", "trunk", "agent"), right=frozenset({"call", "for"}))
    for call in look.live[:rows]:
        table.add_row(
            str(call.call_id),
            clean(call.account),
            shown_number(call.to, in_full=numbers_in_full),
            Text(call.state.value, style=STYLES.get(call.state, "")),
            f"{max(0.0, (look.at - since(call)).total_seconds()):.0f} s",
            clean(call.trunk or ""),
            clean(call.agent_name),
        )
    if len(look.live) > rows:
        table.add_row("", f"and {len(look.live) - rows:,} more", "", "", "", "", "")
    return table


STYLES = {State.CLAIMED: "dim", State.DIALING: "yellow", State.RINGING: "yellow bold", State.ACTIVE: "green"}


def counts_line(ended: Counter[EndReason]) -> str:
    """How often each end reason came, the most frequent first."""
    if not ended:
        return "nothing has ended yet"
    return f"{ended.total():,} ended: " + ", ".join(f"{reason.value} {count:,}" for reason, count in ended.most_common())
