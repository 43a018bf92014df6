"""The demo as people watch it: the banner, live calls while it goes, the summary by end reason, and the last line.

Reads from the store only, through orchestrator.demo; what a demo is and when a call passes is decided there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.desk import plain_table, stores_of
from orchestrator.cli.documents import text_of
from orchestrator.cli.exits import Exit
from orchestrator.cli.watch import RESERVED_LINES, STYLES, counts_line, screen, since
from orchestrator.cli.words import clean, plural
from orchestrator.companion import Running
from orchestrator.demo import ACCOUNTS, Demo, Verdict, verdict, verdicts
from orchestrator.errors import DatabaseUnavailable
from orchestrator.ids import CallId
from orchestrator.lifecycle import HOLDING
from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallRow

BANNER = "simulated carrier: no phone will ring"
INTERVAL_S = 0.25
LATEST = 5
"""Calls that ended last, shown below the live ones."""
COLUMN_WIDTHS = (4, 12, 12, 28, 8, 4)


class DemoView:
    """Accompanies a daemon through one demo."""

    def __init__(self, *, size: int, paper: Console, as_json: bool, ends_with_summary: bool) -> None:
        """`ends_with_summary`: the daemon ends with the demo, and whoever started it prints the summary then."""
        self._size = size
        self._paper = paper
        self._as_json = as_json
        self._ends_with_summary = ends_with_summary
        self._told: set[CallId] = set()
        self._verdicts: list[Verdict] | None = None

    @property
    def is_live(self) -> bool:
        """A terminal is drawn on, which log lines would tear apart."""
        return self._paper.is_terminal and not self._as_json

    @property
    def is_finished(self) -> bool:
        """Its last call has ended and was judged."""
        return self._verdicts is not None

    def announce(self) -> None:
        """Say what this is, before anything happens."""
        self._say(f"{BANNER}; {plural(self._size, 'demo call')} of {plural(len(ACCOUNTS), 'account')}:")
        for account in ACCOUNTS:
            self._say(f"  {account.name}: at most {account.max_concurrent} calls at once, weight {account.weight:g}")

    async def accompany(self, running: Running) -> int:
        """Queue the demo, show it until its last call has ended, and judge it; returns the exit code."""
        stores = stores_of(running.settings, running.database)
        demo = Demo(
            size=self._size,
            is_real=running.settings.is_real,
            accounts=stores.accounts,
            trunks=stores.trunks,
            calls=stores.calls,
        )
        await demo.queue()
        if self.is_live:
            rows = await self._draw(demo)
        else:
            rows = await self._tell(demo)
        self._verdicts = verdicts(rows)
        if not self._ends_with_summary:
            self.print_summary()
            self._say(f"\nserving on until Ctrl-C; `orchestrator calls list --batch {demo.batch}` shows these calls")
        return Exit.OK if all(one.passed for one in self._verdicts) else Exit.FAILURE

    def print_summary(self) -> None:
        """Calls by end reason, broken promises, and the last line."""
        if self._verdicts is None:
            self._say("the demo was stopped before its last call ended")
            return
        for line in summary(self._verdicts):
            self._say(line)
        if self._as_json:
            self._print(text_of(summary_document(self._verdicts)))

    async def _draw(self, demo: Demo) -> list[CallRow]:
        with screen(self._paper) as live:
            while True:
                rows = await self._rows(demo)
                live.update(self._picture(rows), refresh=True)
                if rows and is_over(rows):
                    return rows
                await asyncio.sleep(INTERVAL_S)

    async def _tell(self, demo: Demo) -> list[CallRow]:
        while True:
            rows = await self._rows(demo)
            ended = (row for row in rows if row.end_reason and row.call_id not in self._told)
            for row in sorted(ended, key=lambda row: (since(row), row.call_id)):
                self._told.add(row.call_id)
                self._say(f"{len(self._told):>4} of {self._size}  {verdict_line(verdict(row))}")
            if rows and is_over(rows):
                return rows
            await asyncio.sleep(INTERVAL_S)

    async def _rows(self, demo: Demo) -> list[CallRow]:
        """All calls of the demo; none while the database is away."""
        try:
            return await demo.rows()
        except DatabaseUnavailable:
            return []

    def _picture(self, rows: Sequence[CallRow]) -> RenderableType:
        holding = sorted((row for row in rows if row.state in HOLDING), key=lambda row: (since(row), row.call_id))
        latest = sorted((row for row in rows if row.ended_at), key=since)[-LATEST:]
        busy = Counter(row.account for row in holding)
        slots = "   ".join(f"{account.name} {busy[account.name]}/{account.max_concurrent}" for account in ACCOUNTS)
        ended = Counter(row.end_reason for row in rows if row.end_reason)
        return Group(
            Text(BANNER, style="bold green"),
            self._table(holding),
            Text(f"slots in use: {slots}", style="dim"),
            Text(""),
            *(Text(verdict_line(verdict(row)), overflow="ellipsis", no_wrap=True) for row in latest),
            Text(""),
            Text(f"of {self._size} demo calls {counts_line(ended)}"),
        )

    def _table(self, holding: Sequence[CallRow]) -> Table:
        now = datetime.now(UTC)
        table = plain_table(("call", "account", "to", "callee", "state", "for"), right=frozenset({"call", "for"}))
        for column, width in zip(table.columns, COLUMN_WIDTHS, strict=True):
            column.min_width = width  # so that the table does not breathe with its longest cell
        for row in holding[: max(3, self._paper.height - RESERVED_LINES - LATEST)]:
            table.add_row(
                str(row.call_id),
                clean(row.account),
                row.to,
                verdict(row).script,
                Text(row.state.value, style=STYLES.get(row.state, "")),
                f"{max(0.0, (now - since(row)).total_seconds()):.0f} s",
            )
        return table

    def _say(self, text: str) -> None:
        if not self._as_json:
            self._print(text)

    def _print(self, text: str) -> None:
        self._paper.print(text, soft_wrap=True)


def is_over(rows: Sequence[CallRow]) -> bool:
    """Every call has ended."""
    return all(row.state.is_terminal for row in rows)


def verdict_line(judged: Verdict) -> str:
    """One call and how it ended."""
    call = judged.call
    got = judged.got.value if judged.got else "not ended"
    talked = ""
    if call.outcome is not None and call.outcome.talk_ms is not None:
        talked = f" after {call.outcome.talk_ms / 1000:.1f} s of talk"
    broken = "" if judged.passed else f"   BROKEN: {judged.promised.value} was promised"
    return f"{clean(call.account):<13} {call.to}  {judged.script:<28} {got}{talked}{broken}"


def summary(judged: Sequence[Verdict]) -> list[str]:
    """The lines of the summary; the last one counts passed and failed."""
    ends: Counter[EndReason | None] = Counter(one.got for one in judged)
    accounts = Counter(one.call.account for one in judged)
    broken = [one for one in judged if not one.passed]
    return [
        "",
        "calls  end reason",
        *(f"{count:>5}  {reason.value if reason else 'not ended'}" for reason, count in ends.most_common()),
        "",
        "calls  account",
        *(f"{count:>5}  {clean(account)}" for account, count in accounts.most_common()),
        "",
        *(f"call {one.call.call_id}  {verdict_line(one)}" for one in broken),
        f"{len(judged) - len(broken)} passed, {len(broken)} failed",
    ]


def summary_document(judged: Sequence[Verdict]) -> dict[str, object]:
    """The summary for programs."""
    broken = [one for one in judged if not one.passed]
    return {
        "passed": len(judged) - len(broken),
        "failed": len(broken),
        "end_reasons": Counter(one.got.value for one in judged if one.got),
        "broken": [
            {
                "call_id": one.call.call_id,
                "to": one.call.to,
                "script": one.script,
                "promised": one.promised.value,
                "got": one.got.value if one.got else None,
            }
            for one in broken
        ],
    }
