"""A file of rows, CSV or JSON Lines, read line by line in bounded memory.

Yields each line's values under known column names, or what is wrong with the line; a bad line never hides a good one. Which
columns there are is the caller's matter, and what the values mean.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import BadInput

MAX_LINE_BYTES = 1024 * 1024
"""Longer than any line can mean: metadata ends at 64 KiB."""
FIELD_LIMIT = 256 * 1024

_PUNCTUATION = {ord(character): None for character in "+ -().\u00a0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that a file may have."""

    names: Sequence[str]
    needed: str
    needed_holds: str
    """What is in the needed column, for people."""
    rows: str
    """What the rows are, for people, in the plural."""
    example: str
    """A first line."""
    hint: str
    """What to do with a column `{name}` that is not known."""
    prefixes: Sequence[str] = ()
    """Of columns that each give one member: `metadata.name`."""
    other_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What else people call a column."""
    header_optional: bool = False
    """A file without a header line holds the needed column alone."""


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


class RowFile:
    """An open file of rows. Raises BadInput when nothing in it can be read: no such file, no header, an unknown column."""

    def __init__(self, *, path: Path, columns: Columns) -> None:
        self._path = path
        self._columns = columns
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
                rows = _csv_rows(self._path, lines, self._columns)
            case ".jsonl" | ".ndjson":
                rows = _json_rows(lines, self._columns)
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
            raise BadInput(f"{self._path}: there are no {self._columns.rows} in it")

    def _count(self, size_bytes: int) -> None:
        self.read_bytes += size_bytes


class _LineTooLongError(Exception):
    """No line can be so long."""

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
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)


_NOT_UTF8 = "is not UTF-8 text: save the file as UTF-8"


def _csv_rows(path: Path, lines: _Lines, columns: Columns) -> Iterator[Row | BadLine]:
    source = iter(lines)
    header_line = next((line for line in source if line.strip()), "")
    if not header_line:
        raise BadInput(f"{path}: is empty: the first line names the columns, like {columns.example}")
    delimiter = max(",;\t", key=header_line.count)
    header_number = lines.number
    header = _header(path, next(csv.reader([header_line], delimiter=delimiter)), columns)
    if header is None:
        header, source, header_number = [columns.needed], itertools.chain([header_line], source), header_number - 1
    csv.field_size_limit(FIELD_LIMIT)
    records = csv.reader(source, delimiter=delimiter, strict=True)
    ended = header_number
    while True:
        begins = ended + 1
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            ended = lines.number
            yield BadLine(begins, _quoting(error, begins, ended))
            continue
        ended = lines.number
        values = [field.strip() for field in fields]
        if not any(values):
            continue
        if any(map(_undecodable, values)):
            yield BadLine(begins, _NOT_UTF8)
        elif len(values) != len(header):
            yield BadLine(begins, _count_mismatch(len(values), len(header), delimiter))
        else:
            yield Row(begins, {name: value for name, value in zip(header, values, strict=True) if value})


def _quoting(error: csv.Error, begins: int, ends: int) -> str:
    if ends > begins:
        return f"a quotation mark that is never closed swallows lines {begins} to {ends}: close or double it ({error})"
    return f"its quotation marks are wrong ({error}): double those inside a quoted text"


def _count_mismatch(got: int, wanted: int, delimiter: str) -> str:
    name = {",": "comma", ";": "semicolon", "\t": "tab"}[delimiter]
    return f"it has {got} fields and the header {wanted}: put texts that hold a {name} in quotation marks"


def _header(path: Path, cells: Sequence[str], columns: Columns) -> list[str] | None:
    """The names of the columns; None: the first line is a row already, of the needed column alone."""
    if any(map(_undecodable, cells)):
        raise BadInput(f"{path}: {_NOT_UTF8}")
    names = [cell.strip() for cell in cells]
    if any(name.translate(_PUNCTUATION).isdigit() for name in names):
        if columns.header_optional and len(names) == 1:
            return None
        raise BadInput(f"{path}: the first line must name the columns, like {columns.example}; it holds a number")
    known: list[str] = []
    for name in names:
        column = _column(name, columns)
        if column is None:
            raise BadInput(f"{path}: {_unknown(name, columns)}")
        if column in known:
            raise BadInput(f"{path}: the column {column!r} stands there twice")
        known.append(column)
    if columns.needed not in known:
        raise BadInput(f"{path}: no column is named {columns.needed!r}: it holds {columns.needed_holds}")
    return known


def _column(name: str, columns: Columns) -> str | None:
    """The column that is meant; prefixed ones keep the writing of what they name."""
    lower = name.lower()
    for prefix in columns.prefixes:
        if lower.startswith(prefix) and len(name) > len(prefix):
            return prefix + name[len(prefix) :]
    return lower if lower in columns.names else None


def _unknown(name: str, columns: Columns) -> str:
    if not name:
        return "a column has no name: name it or remove it"
    plain = name.lower().replace(" ", "_").replace("-", "_")
    meant = next((column for column, others in columns.other_names.items() if plain in others), None)
    if meant is None:
        near = difflib.get_close_matches(plain, columns.names, n=1, cutoff=0.75)
        meant = near[0] if near else None
    hint = f"did you mean {meant!r}?" if meant else columns.hint.format(name=name)
    return f"the column {name!r} is not known; {hint}"


def _json_rows(lines: _Lines, columns: Columns) -> Iterator[Row | BadLine]:
    for text in lines:
        if not text.strip():
            continue
        yield _json_row(lines.number, text, columns)


def _json_row(number: int, text: str, columns: Columns) -> Row | BadLine:
    if _undecodable(text):
        return BadLine(number, _NOT_UTF8)
    try:
        value = json.loads(text)
    except ValueError as error:
        return BadLine(number, f"is not JSON: {error}")
    except RecursionError:
        return BadLine(number, "is nested too deeply")
    if not isinstance(value, dict):
        return BadLine(number, f'is not a JSON object: write {{"{columns.needed}": "+12125550100"}} and so on, one on a line')
    values: dict[str, object] = {}
    for name, member in value.items():
        column = _column(name, columns)
        if column is None:
            return BadLine(number, _unknown(name, columns))
        if column in values:
            return BadLine(number, f"{column!r} stands there twice")
        if member is not None:
            values[column] = member
    return Row(number, values)
