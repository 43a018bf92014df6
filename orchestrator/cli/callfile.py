"""A file of calls, CSV or JSON Lines, read line by line in bounded memory.

Yields each line's values under known column names, or what is wrong with the line; a bad line never hides a good one. What the
values mean is orchestrator.cli.callrow's.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import BadInput

MAX_LINE_BYTES = 1024 * 1024
"""Longer than any line can mean: metadata ends at 64 KiB."""
FIELD_LIMIT = 256 * 1024

COLUMNS = (
    *("to", "account", "agent", "metadata", "caller_id", "display_name", "headers", "dtmf", "ring_timeout_s", "max_duration_s"),
    *("priority", "run_at", "expires_at", "key", "trunk"),
)
PREFIXES = ("metadata.", "header.")
"""Of columns that each give one member: `metadata.name`, `header.X-Campaign`."""

_OTHER_NAMES = {
    "to": (
        "phone",
        "phone_number",
        "number",
        "phonenumber",
        "telephone",
        "tel",
        "mobile",
        "callee",
        "to_number",
        "destination",
    ),
    "caller_id": ("from", "from_number", "callerid", "cli"),
    "agent": ("agent_name",),
    "run_at": ("scheduled_at", "schedule", "start_at", "at"),
    "expires_at": ("expiry", "expires", "expire_at"),
    "key": ("id", "idempotency_key", "external_id"),
    "ring_timeout_s": ("ring_timeout",),
    "max_duration_s": ("max_duration",),
    "display_name": ("name",),
    "headers": ("header",),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line, or several of a quoted text, as values by column name."""

    line: int
    """Where it begins; the file's first line is 1."""
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read."""

    line: int
    reason: str


class CallFile:
    """An open file of calls. Raises BadInput when nothing in it can be read: no such file, no header, an unknown column."""

    def __init__(self, *, path: Path) -> None:
        self._path = path
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror or error}") from error
        self.size_bytes = path.stat().st_size
        self.read_bytes = 0
        """How much of it has been read."""

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def rows(self) -> Iterator[Row | BadLine]:
        """All its lines but blank ones, in order."""
        start = self._stream.peek(4)[:4]
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise BadInput(f"{self._path}: is UTF-16: save it as UTF-8")
        if start.startswith(b"PK\x03\x04"):
            raise BadInput(f"{self._path}: is a spreadsheet or an archive: save the sheet as CSV (UTF-8)")
        lines = _Lines(stream=self._stream, on_read=self._count)
        match self._path.suffix.lower():
            case ".csv" | ".tsv" | ".txt":
                rows = _csv_rows(self._path, lines)
            case ".jsonl" | ".ndjson":
                rows = _json_rows(lines)
            case other:
                raise BadInput(f"{self._path}: the name must end in .csv or .jsonl, not {other or 'nothing'}")
        empty = True
        try:
            for row in rows:
                empty = False
                yield row
        except _LineTooLongError as error:
            empty = False
            yield BadLine(error.line, f"is longer than {MAX_LINE_BYTES:,} bytes: nothing behind it was read")
        if empty:
            raise BadInput(f"{self._path}: there are no calls in it")

    def _count(self, size_bytes: int) -> None:
        self.read_bytes += size_bytes


class _LineTooLongError(Exception):
    """No line of a file of calls can be so long."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Lines:
    """The lines of a stream as text; bytes that are not UTF-8 become lone surrogates, which `undecodable` finds."""

    def __init__(self, *, stream: BinaryIO, on_read: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_read = on_read
        self.number = 0
        """Of the line that was read last."""

    def __iter__(self) -> Iterator[str]:
        while raw := self._stream.readline(MAX_LINE_BYTES):
            self._on_read(len(raw))
            self.number += 1
            if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                raise _LineTooLongError(self.number)
            if self.number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            yield raw.decode("utf-8", errors="surrogateescape")


def _undecodable(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


_NOT_UTF8 = "is not UTF-8 text: save the file as UTF-8"


def _csv_rows(path: Path, lines: _Lines) -> Iterator[Row | BadLine]:
    source = iter(lines)
    header_line = next((line for line in source if line.strip()), "")
    if not header_line:
        raise BadInput(f"{path}: is empty: the first line names the columns, like to,metadata.name")
    delimiter = max(",;\t", key=header_line.count)
    header = _header(path, next(csv.reader([header_line], delimiter=delimiter)))
    csv.field_size_limit(FIELD_LIMIT)
    records = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        begins = lines.number + 1
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(begins, _quoting(error, begins, lines.number))
            continue
        if not any(field.strip() for field in fields):
            continue
        if any(map(_undecodable, fields)):
            yield BadLine(begins, _NOT_UTF8)
        elif len(fields) != len(header):
            yield BadLine(begins, _count_mismatch(len(fields), len(header), delimiter))
        else:
            yield Row(begins, {name: value for name, value in zip(header, (f.strip() for f in fields), strict=True) if value})


def _quoting(error: csv.Error, begins: int, ends: int) -> str:
    if ends > begins:
        return f"a quotation mark that is never closed swallows lines {begins} to {ends}: close or double it ({error})"
    return f"its quotation marks are wrong ({error}): double those inside a quoted text"


def _count_mismatch(got: int, wanted: int, delimiter: str) -> str:
    name = {",": "comma", ";": "semicolon", "\t": "tab"}[delimiter]
    return f"it has {got} fields and the header {wanted}: put texts that hold a {name} in quotation marks"


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    if any(map(_undecodable, cells)):
        raise BadInput(f"{path}: {_NOT_UTF8}")
    names = [cell.strip() for cell in cells]
    if any(name.lstrip("+").replace(" ", "").replace("-", "").isdigit() for name in names):
        raise BadInput(f"{path}: the first line must name the columns, like to,metadata.name; it holds a number")
    known: list[str] = []
    for name in names:
        column = _column(name)
        if column is None:
            raise BadInput(f"{path}: {_unknown(name)}")
        if column in known:
            raise BadInput(f"{path}: the column {column!r} stands there twice")
        known.append(column)
    if "to" not in known:
        raise BadInput(f"{path}: no column is named 'to': it holds the number to call")
    return known


def _column(name: str) -> str | None:
    """The column that is meant; prefixed ones keep the writing of what they name."""
    lower = name.lower()
    for prefix in PREFIXES:
        if lower.startswith(prefix) and len(name) > len(prefix):
            return prefix + name[len(prefix) :]
    return lower if lower in COLUMNS else None


def _unknown(name: str) -> str:
    if not name:
        return "a column has no name: name it or remove it"
    plain = name.lower().replace(" ", "_").replace("-", "_")
    meant = next((column for column, others in _OTHER_NAMES.items() if plain in others), None)
    if meant is None:
        near = difflib.get_close_matches(plain, COLUMNS, n=1, cutoff=0.75)
        meant = near[0] if near else None
    hint = f"did you mean {meant!r}?" if meant else f"name it 'metadata.{name}' to give it to the agent"
    return f"the column {name!r} is not known; {hint}"


def _json_rows(lines: _Lines) -> Iterator[Row | BadLine]:
    for text in lines:
        if not text.strip():
            continue
        yield _json_row(lines.number, text)


def _json_row(number: int, text: str) -> Row | BadLine:
    if _undecodable(text):
        return BadLine(number, _NOT_UTF8)
    try:
        value = json.loads(text)
    except ValueError as error:
        return BadLine(number, f"is not JSON: {error}")
    except RecursionError:
        return BadLine(number, "is nested too deeply")
    if not isinstance(value, dict):
        return BadLine(number, 'is not a JSON object: write {"to": "+12125550100"} and so on, one on a line')
    values: dict[str, object] = {}
    for name, member in value.items():
        column = _column(name)
        if column is None:
            return BadLine(number, _unknown(name))
        if column in values:
            return BadLine(number, f"{column!r} stands there twice")
        if member is not None:
            values[column] = member
    return Row(number, values)
