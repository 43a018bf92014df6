"""Queueing a file of calls: chunk by chunk, each call once however often the file is run again.

A line's idempotency key comes from its column `key`, else from the batch's name and the number that is called. Not from the
line's number: a line inserted at the top would give every call behind it another key, and somebody would be called twice.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.cli.callfile import CallFile
from orchestrator.cli.callrow import request_from
from orchestrator.cli.rowfile import BadLine, Row
from orchestrator.enqueue import NewCallRequest, Refused
from orchestrator.errors import BadInput
from orchestrator.ids import E164
from orchestrator.store.views import Enqueued, NewCall

CHUNK = 1000
MAX_BATCH_NAME = 200
"""Leaves room in a key for the number behind it."""


class Queueing(Protocol):
    """What is asked of the intake."""

    async def check(
        self, requests: Sequence[NewCallRequest], *, key_of: Callable[[E164], str] | None = None
    ) -> list[NewCall | Refused]:
        """See Intake."""
        ...

    async def store(self, checked: Sequence[NewCall | Refused]) -> list[Enqueued | Refused]:
        """See Intake."""
        ...


@dataclass(slots=True)
class Tally:
    """What became of the lines so far."""

    queued: int = 0
    already_queued: int = 0
    """Had been queued by an earlier run, or by an earlier line with the same key."""
    refused: int = 0

    @property
    def lines(self) -> int:
        """All that were looked at; blank ones and the header do not count."""
        return self.queued + self.already_queued + self.refused


class SeenNumbers:
    """Which number stood on which line first.

    In bounded memory: what does not fit into SQLite's cache lies in a temporary file.
    """

    def __init__(self) -> None:
        self._table = sqlite3.connect("")
        self._table.execute("PRAGMA journal_mode = off")
        self._table.execute("CREATE TABLE seen (number INTEGER PRIMARY KEY, line INTEGER NOT NULL, times INTEGER NOT NULL)")

    def note(self, number: E164, line: int) -> tuple[int, int]:
        """The line on which the number stood first, and how often it has stood by now."""
        found = self._table.execute(
            "INSERT INTO seen VALUES (?, ?, 1) ON CONFLICT (number) DO UPDATE SET times = times + 1 RETURNING line, times",
            (int(number[1:]), line),
        ).fetchone()
        return int(found[0]), int(found[1])

    def close(self) -> None:
        """Forget everything."""
        self._table.close()


class CallImport:
    """Queues the calls of one file. `tally` tells how far it has come, also after it was interrupted."""

    def __init__(
        self,
        *,
        file: CallFile,
        intake: Queueing,
        batch: str,
        defaults: Mapping[str, object],
        allow_duplicates: bool,
        on_refused: Callable[[int, str], None],
        on_progress: Callable[[], None],
    ) -> None:
        """`on_refused`: line and reason. `on_progress`: after each chunk."""
        if len(batch) > MAX_BATCH_NAME:
            raise BadInput(f"the batch's name must have at most {MAX_BATCH_NAME} characters, not {len(batch)}")
        self._file = file
        self._intake = intake
        self._batch = batch
        self._defaults = defaults
        self._allow_duplicates = allow_duplicates
        self._on_refused = on_refused
        self._on_progress = on_progress
        self._seen = SeenNumbers()
        self._storing: asyncio.Task[None] | None = None
        self.tally = Tally()
        self.last_line = 0
        """Up to here every line has been queued or refused."""

    async def run(self) -> None:
        """Queue the whole file.

        While the database stores one chunk, the next is read. Raises BadInput if nothing in the file can be read, and
        DatabaseUnavailable. Running it again is safe, and goes on where it stopped.
        """
        try:
            for chunk in self._chunks():
                calls = await self._checked(chunk)
                await self._stored()
                self._storing = self._begin([line for line, _ in chunk], calls)
                await asyncio.sleep(0)  # it asks the database now
            await self._stored()
        finally:
            if self._storing is not None:
                self._storing.cancel()
            self._seen.close()

    def _begin(self, lines: Sequence[int], calls: Sequence[NewCall | Refused]) -> asyncio.Task[None]:
        return asyncio.create_task(self._store(lines, calls))

    async def _stored(self) -> None:
        if self._storing is not None:
            await self._storing

    def _chunks(self) -> Iterator[list[tuple[int, NewCallRequest | Refused]]]:
        rows = iter(self._file.rows())
        while chunk := [(row.line, self._asked(row)) for row in itertools.islice(rows, CHUNK)]:
            yield chunk

    def _asked(self, row: Row | BadLine) -> NewCallRequest | Refused:
        if isinstance(row, BadLine):
            return Refused(BadInput(row.reason))
        try:
            return request_from(row.values, defaults=self._defaults, batch=self._batch)
        except BadInput as error:
            return Refused(error)

    async def _checked(self, chunk: Sequence[tuple[int, NewCallRequest | Refused]]) -> list[NewCall | Refused]:
        requests = [asked for _, asked in chunk if isinstance(asked, NewCallRequest)]
        checked = iter(await self._intake.check(requests, key_of=self._key_of))
        return [
            asked if isinstance(asked, Refused) else self._once(line, next(checked), has_key=asked.key is not None)
            for line, asked in chunk
        ]

    async def _store(self, lines: Sequence[int], calls: Sequence[NewCall | Refused]) -> None:
        for line, result in zip(lines, await self._intake.store(calls), strict=True):
            if isinstance(result, Refused):
                self.tally.refused += 1
                self._on_refused(line, str(result.error))
            elif result.created:
                self.tally.queued += 1
            else:
                self.tally.already_queued += 1
        self.last_line = lines[-1]
        self._on_progress()

    def _key_of(self, number: E164) -> str:
        return f"{self._batch}:{number}"

    def _once(self, line: int, call: NewCall | Refused, *, has_key: bool) -> NewCall | Refused:
        """The call, with a key of its own where its number stands on an earlier line too, or refused because of that.

        `has_key`: the line gives its key itself.
        """
        if not call.to:
            return call
        number = E164(call.to)
        first_line, times = self._seen.note(number, line)
        if isinstance(call, Refused):
            return call
        if times > 1 and not self._allow_duplicates:
            return Refused(
                BadInput(f"{number} stands on line {first_line} already: remove one, or say --allow-duplicates"), number
            )
        if has_key or times == 1:
            return call
        return replace(call, idempotency_key=f"{self._key_of(number)}:{times}")
