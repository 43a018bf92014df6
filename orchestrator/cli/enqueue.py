"""`orchestrator enqueue`: one call, or a file of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orchestrator.cli.callfile import CallFile
from orchestrator.cli.callrow import request_from
from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.cli.exits import Exit
from orchestrator.cli.importing import CallImport
from orchestrator.cli.words import plural
from orchestrator.errors import BadInput, DatabaseUnavailable

FOR_ONE_CALL = ("to", "key")
"""Options that say nothing of a file."""


@click.command()
@click.option("--account", metavar="NAME", help="Whose call it is.")
@click.option("--to", metavar="NUMBER", help="Whom to call: E.164, or as it is dialled in the account's country.")
@click.option("--agent", metavar="NAME", help="The agent that takes the call. Default: the account's.")
@click.option("--metadata", metavar="JSON", help="An object for the agent, at most 64 KiB.")
@click.option("--caller-id", metavar="NUMBER", help="One of the account's or its trunk's. Default: the first of them.")
@click.option("--display-name", metavar="TEXT", help="Shown beside the caller id where networks carry it.")
@click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="An extra SIP header; repeatable.")
@click.option("--dtmf", metavar="DIGITS", help="Sent right after the answer; w waits half a second.")
@click.option("--run-at", metavar="TIME", help="Not before, like 2026-11-21T09:00:00Z. Default: now.")
@click.option("--expires-at", metavar="TIME", help="Not after. Default: a day later, see calls.expires_after_s.")
@click.option("--ring-timeout", "ring_timeout_s", type=float, metavar="S", help="How long the phone may ring, 5 to 60 s.")
@click.option("--max-duration", "max_duration_s", type=float, metavar="S", help="Longest conversation.")
@click.option("--priority", type=int, help="Higher goes first within the account, -100 to 100.")
@click.option("--trunk", metavar="NAME", help="A trunk or trunk group. Default: the account's.")
@click.option("--calling-hours", metavar="RULE", multiple=True, help="Like 'mon-fri 09:00-17:30'; repeatable.")
@click.option("--max-attempts", type=int, metavar="N", help="How often to try, 1 to 50. Default: the account's.")
@click.option("--redial", metavar="JSON", help="An object with delays (seconds by class) and jitter. Default: the account's.")
@click.option(
    "--detection", metavar="JSON", help='on, off, or an object like {"on_voicemail": "hang_up"}. Default: the account\'s.'
)
@click.option("--key", metavar="TEXT", help="Idempotency key: the same key queues an account's call once.")
@click.option("--batch", metavar="NAME", help="A name for calls that belong together; needed with --file.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="A file of calls, .csv or .jsonl.")
@click.option("--allow-duplicates", is_flag=True, help="With --file: a number may stand on several lines.")
@with_desk
def enqueue(
    desk: Desk,
    path: Path | None,
    batch: str | None,
    allow_duplicates: bool,
    headers: tuple[str, ...],
    calling_hours: tuple[str, ...],
    **options: object,
) -> Exit:
    """Queue one call (--account, --to), or a file of calls (--file, --batch).

    \b
    The first line of a .csv file names its columns; a .jsonl file has one object on each line. The columns:
      to             whom to call (needed)
      account        needed, unless --account says it
      key            idempotency key; without one, batch name and number make it
      metadata       a JSON object; metadata.NAME gives one member of it
      header.NAME    a SIP header
      calling_hours  when it may be made, rules with semicolons between them, like mon-fri 09:00-17:30; sat closed
      max_attempts   how often to try
      redial         a JSON object: delays (lists of seconds by class), jitter
      detection      on, off, or a JSON object: what is done about who answers, like {"on_voicemail": "hang_up"}
      agent caller_id display_name dtmf run_at expires_at ring_timeout_s max_duration_s priority trunk

    Options give what a line leaves out. Good lines are queued, each bad one is reported with its number. Running the same file
    and batch again, after an interruption or by mistake, calls nobody twice. Leaves with 3 if any line was refused.
    """
    given: dict[str, object] = {name: value for name, value in options.items() if value is not None}
    if headers:
        given["headers"] = dict(_header(text) for text in headers)
    if calling_hours:
        given["calling_hours"] = calling_hours
    if path is not None:
        desk.warn_of_short_ring(given.get("ring_timeout_s"))
        return _enqueue_file(desk, path, batch=batch, defaults=given, allow_duplicates=allow_duplicates)
    if allow_duplicates:
        raise click.UsageError("--allow-duplicates goes with --file")
    missing = [f"--{name}" for name in ("account", "to") if name not in given]
    if missing:
        raise click.UsageError(f"{' and '.join(missing)} missing; or name a file of calls with --file")
    request = request_from(given, defaults={}, batch=batch)
    queued = desk.run(lambda stores: stores.intake.enqueue_one(request))
    desk.warn_of_short_ring(request.ring_timeout_s)
    desk.answer(queued)
    desk.say(f"call {queued.call_id} {'is queued' if queued.created else 'was queued before under this key'}")
    return Exit.OK


def _enqueue_file(desk: Desk, path: Path, *, batch: str | None, defaults: dict[str, object], allow_duplicates: bool) -> Exit:
    for name in FOR_ONE_CALL:
        if name in defaults:
            raise click.UsageError(f"--{name} does not go with --file: give the file a column {name!r}")
    if not batch:
        raise click.UsageError(
            "--file needs --batch NAME: it groups the calls, and keeps a second run from calling anybody again"
        )
    with contextlib.closing(CallFile(path=path)) as file, _bar(desk, file) as bar:

        def tell_refused(line: int, reason: str) -> None:
            desk.answer({"line": line, "error": reason})
            if not desk.as_json:
                desk.warn(f"line {line}: {reason}")

        async def work(stores: Stores) -> None:
            running.append(
                CallImport(
                    file=file,
                    intake=stores.intake,
                    batch=batch,
                    defaults=defaults,
                    allow_duplicates=allow_duplicates,
                    on_refused=tell_refused,
                    on_progress=bar.advance,
                )
            )
            await running[0].run()

        running: list[CallImport] = []
        try:
            desk.run(work)
        except (DatabaseUnavailable, KeyboardInterrupt, asyncio.CancelledError):
            if running:
                _report(desk, running[0], batch, finished=False)
            raise
    _report(desk, running[0], batch, finished=True)
    return Exit.PARTLY_REFUSED if running[0].tally.refused else Exit.OK


def _report(desk: Desk, done: CallImport, batch: str, *, finished: bool) -> None:
    tally = done.tally
    desk.answer(
        {
            "batch": batch,
            "finished": finished,
            "lines": tally.lines,
            "queued": tally.queued,
            "already_queued": tally.already_queued,
            "refused": tally.refused,
        }
    )
    desk.say(
        f"batch {batch}: {plural(tally.lines, 'line')}: {tally.queued:,} queued, {tally.already_queued:,} queued before,"
        f" {tally.refused:,} refused"
    )
    if not finished:
        desk.say(f"stopped after line {done.last_line}: run the same command again to go on, nobody is called twice")


class Bar:
    """A progress bar over the file's bytes, or nothing where there is no terminal."""

    def __init__(self, *, progress: Progress | None, file: CallFile) -> None:
        self._progress = progress
        self._file = file
        self._task = progress.add_task("reading", total=file.size_bytes) if progress is not None else None

    def advance(self) -> None:
        """Draw how far the file has been read."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self._file.read_bytes)


@contextlib.contextmanager
def _bar(desk: Desk, file: CallFile) -> Iterator[Bar]:
    if desk.as_json or not desk.err.is_terminal:
        yield Bar(progress=None, file=file)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("bytes"), TimeRemainingColumn())
    with Progress(*columns, console=desk.err, transient=True) as progress:
        yield Bar(progress=progress, file=file)


def _header(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise BadInput(f"header {text!r}: write NAME=VALUE, like X-Campaign=7")
    return name.strip(), value.strip()
