"""What every command has at hand: the settings, the open database, and a way to answer people or programs.

Knows how a command begins and ends, and nothing of what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from orchestrator import logs
from orchestrator.builders import database_url
from orchestrator.cli.documents import text_of
from orchestrator.cli.exits import Exit, exit_for
from orchestrator.cli.words import clean
from orchestrator.enqueue import Intake
from orchestrator.errors import DatabaseError, Error
from orchestrator.settings import SHORT_RING_S, Settings, load_settings
from orchestrator.store.accounts import AccountStore
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.calls import CallStore
from orchestrator.store.donotcall import DoNotCallStore
from orchestrator.store.groups import TrunkGroupStore
from orchestrator.store.migrations import check_schema, migrate
from orchestrator.store.pool import Database
from orchestrator.store.switches import SwitchStore
from orchestrator.store.trunks import TrunkStore
from sip.errors import Error as SipError

PIPE_WIDTH = 200
"""Columns where nobody says how wide the paper is: tables are not to be folded at 80 when another program reads them."""
CONNECTIONS = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stores:
    """What a command asks of the database."""

    database: Database
    accounts: AccountStore
    trunks: TrunkStore
    groups: TrunkGroupStore
    agents: AgentPoolStore
    switches: SwitchStore
    calls: CallStore
    do_not_call: DoNotCallStore
    intake: Intake


class Desk:
    """One command's settings, database and paper."""

    def __init__(self, *, settings: Settings, as_json: bool, reread: Callable[[], Settings]) -> None:
        self.settings = settings
        self.reread = reread
        """Reads the settings anew from where these came from. Raises SettingsError."""
        self.as_json = as_json
        self.out = console()
        self.err = console(stderr=True)

    def run(self, work: Callable[[Stores], Awaitable[T]]) -> T:
        """Do the work with the database open, at the schema of this program."""

        async def session() -> T:
            async with open_stores(self.settings) as stores:
                return await work(stores)

        return asyncio.run(session())

    def say(self, text: str) -> None:
        """One line for people; programs do not see it."""
        if not self.as_json:
            self.out.print(clean(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line for people beside the answer, on standard error."""
        self.err.print(clean(text), soft_wrap=True)

    def warn_of_short_ring(self, ring_timeout_s: object) -> None:
        """Warn of a ring timeout that is allowed and hardly meant."""
        if isinstance(ring_timeout_s, float) and ring_timeout_s < SHORT_RING_S:
            self.warn(
                f"warning: with a ring timeout of {ring_timeout_s:g} s many people cannot reach their phone;"
                f" {SHORT_RING_S:g} s and more is usual"
            )

    def answer(self, value: object) -> None:
        """A JSON document for programs; people do not see it."""
        if self.as_json:
            click.echo(text_of(value))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[str] = frozenset()) -> None:
        """A table for people; `right` names columns of figures."""
        table = plain_table(columns, right=right)
        for row in rows:
            table.add_row(*(clean(cell) for cell in row))
        if table.row_count and not self.as_json:
            self.out.print(table)


def plain_table(columns: Sequence[str], *, right: frozenset[str] = frozenset()) -> Table:
    """An empty table in the house's look."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def console(*, stderr: bool = False) -> Console:
    """Paper on which texts stand as they are: no markup, no emoji, nothing coloured by guess."""
    paper = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not paper.is_terminal and "COLUMNS" not in os.environ:
        paper.width = PIPE_WIDTH
    return paper


@contextlib.asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """The database, open and at the schema of this program. Raises DatabaseError."""
    async with database_url(settings) as url:
        database = Database(
            url, min_size=1, max_size=CONNECTIONS, command_timeout_s=settings.database.command_timeout_s,
            application_name="orchestrator command",
        )  # fmt: skip
        await database.open()
        try:
            if await check_schema(database):
                if settings.database.url.get_secret_value():
                    raise DatabaseError("the database is not at the schema of this program: run `orchestrator migrate` first")
                await migrate(database)
            yield stores_of(settings, database)
        finally:
            await database.close()


def stores_of(settings: Settings, database: Database) -> Stores:
    """The stores of an open database."""
    accounts = AccountStore(database=database)
    trunks = TrunkStore(database=database)
    calls = CallStore(
        database=database,
        expires_after_s=settings.calls.expires_after_s,
        past_tolerance_s=settings.calls.past_schedule_tolerance_s,
    )
    intake = Intake(accounts=accounts, calls=calls, fiction_allowed=not settings.is_real)
    return Stores(
        database=database,
        accounts=accounts,
        trunks=trunks,
        groups=TrunkGroupStore(database=database),
        agents=AgentPoolStore(database=database),
        switches=SwitchStore(database=database),
        calls=calls,
        do_not_call=DoNotCallStore(database=database),
        intake=intake,
    )


def with_desk(command: Callable[..., Exit | None]) -> Callable[..., None]:
    """Give a command its desk and the options that all have; turn our errors into one line and an exit code."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Settings file (TOML). Default: what ORCHESTRATOR_SETTINGS_FILE names, else none.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
    @functools.wraps(command)
    def run(*, config: Path | None, as_json: bool, **options: object) -> None:
        context = click.get_current_context()
        try:
            settings = load_settings(config, os.environ)
            logs.configure(
                format=settings.log.format,
                level="error" if settings.log.level == "error" else "warning",
                mask_numbers=settings.log.mask_numbers,
            )
            desk = Desk(settings=settings, as_json=as_json, reread=lambda: load_settings(config, os.environ))
            code = command(desk, **options)
        except (Error, SipError) as error:
            code = report(error, as_json=as_json)
        except ExceptionGroup as group:
            code = report(_own(group), as_json=as_json)
        context.exit(code or Exit.OK)

    return run


def report(error: Error | SipError, *, as_json: bool) -> Exit:
    """Tell one error on standard error; returns the exit code that goes with it."""
    code = exit_for(error)
    if as_json:
        click.echo(json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}}, ensure_ascii=False), err=True)
    else:
        for line in str(error).splitlines() or [type(error).__name__]:
            click.echo(f"error: {clean(line)}", err=True)
    return code


def _own(group: ExceptionGroup[Exception]) -> Error | SipError:
    """The error of ours that a group of tasks ended with. Raises the group if there is anything else in it."""
    ours, others = group.split((Error, SipError))
    if ours is None or others is not None:
        raise group
    first: BaseException = ours
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    if not isinstance(first, Error | SipError):
        raise group
    return first
