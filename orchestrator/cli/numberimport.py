"""Reading a file of numbers that must not be called, and listing them.

A column `number`, and `reason`, `expires_at` and `account` for those that have their own; a file of one column needs no header.
Every line is listed, was listed already, or is told with its number and what is wrong with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.cli.callrow import read_moment
from orchestrator.cli.rowfile import BadLine, Columns, Row, RowFile
from orchestrator.errors import BadInput
from orchestrator.ids import E164, AccountId
from orchestrator.numbers import read_number
from orchestrator.ordinary import OrdinaryNumbers
from orchestrator.store.donotcall import MAX_REASON, MOST_ADDED_AT_ONCE, DoNotCallStore, NewListing

NO_COUNTRY = "ZZ"
"""Where numbers are of which only those with a country code can be read."""

NUMBER_COLUMNS = Columns(
    names=("number", "reason", "expires_at", "account"),
    needed="number",
    needed_holds="the number not to call",
    rows="numbers",
    example="number,reason",
    hint="a list has number, reason, expires_at and account: remove the column",
    other_names={
        "number": ("to", "phone", "phone_number", "phonenumber", "telephone", "tel", "mobile", "to_number", "msisdn"),
        "expires_at": ("expiry", "expires", "until"),
        "reason": ("comment", "note", "why"),
    },
    header_optional=True,
)


class NumberFile(RowFile):
    """An open file of numbers."""

    def __init__(self, *, path: Path) -> None:
        super().__init__(path=path, columns=NUMBER_COLUMNS)


@dataclass(slots=True)
class ListTally:
    """What became of the lines so far."""

    listed: int = 0
    """New on their list, or longer on it than before."""
    already_listed: int = 0
    """Had been listed by an earlier line or otherwise."""
    refused: int = 0

    @property
    def lines(self) -> int:
        """All that were looked at; blank ones and the header do not count."""
        return self.listed + self.already_listed + self.refused


def read_written(text: str, country: str) -> E164:
    """A number as people write it in `country`. Raises BadInput."""
    if country == NO_COUNTRY and not text.strip().startswith("+"):
        raise BadInput(f"{text!r} has no country code: write + and the country code, or say --country or --account")
    return read_number(text, country)


class NumberReader:
    """Reads lines. `country`: where numbers without a country code are."""

    def __init__(
        self, *, country: str, reason: str, expires_at: datetime | None, account_ids: Mapping[str | None, AccountId]
    ) -> None:
        """`reason`, `expires_at`: of lines that give none.

        `account_ids`: of all accounts that lines may name, and under None whose list is meant by a line that names none.
        """
        self._country = country
        self._reason = reason
        self._expires_at = expires_at
        self._account_ids = account_ids
        self._ordinary = OrdinaryNumbers.of_all_countries(home=country)
        self._now = datetime.now(UTC)

    def read(self, row: Row) -> NewListing:
        """What a line asks for. Raises BadInput."""
        values = row.values
        text = values.get("number")
        if not isinstance(text, str):
            raise BadInput("'number' is missing" if text is None else "'number' must be a text: put it in quotation marks")
        number = self._ordinary.read(text) or read_written(text, self._country)
        if len(values) == 1:
            return NewListing(number, self._account_ids[None], self._reason, self._expires_at)
        return NewListing(number, self._account_of(values), self._reason_of(values), self._expires_of(values))

    def _account_of(self, values: Mapping[str, object]) -> AccountId:
        name = _text(values, "account") or None
        if name not in self._account_ids:
            raise BadInput(f"there is no account {name}")
        return self._account_ids[name]

    def _reason_of(self, values: Mapping[str, object]) -> str:
        reason = _text(values, "reason") or self._reason
        if len(reason) > MAX_REASON:
            raise BadInput(f"the reason has {len(reason)} characters, at most {MAX_REASON} are allowed")
        if "\0" in reason:
            raise BadInput("the reason holds a NUL, which the database cannot store")
        return reason

    def _expires_of(self, values: Mapping[str, object]) -> datetime | None:
        text = _text(values, "expires_at")
        if not text:
            return self._expires_at
        expires_at = read_moment(text, name="expires_at")
        if expires_at <= self._now:
            raise BadInput(f"expires_at {text} is past: the number would not be listed")
        return expires_at


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name, "")
    if not isinstance(value, str):
        raise BadInput(f"{name!r} must be a text")
    return value


class NumberImport:
    """Lists the numbers of one file. `tally` tells how far it has come, also after it was interrupted."""

    def __init__(
        self,
        *,
        file: NumberFile,
        reader: NumberReader,
        store: DoNotCallStore,
        source: str,
        on_refused: Callable[[int, str], None],
    ) -> None:
        """`on_refused`: line and reason."""
        self._file = file
        self._reader = reader
        self._store = store
        self._source = source
        self._on_refused = on_refused
        self.tally = ListTally()
        self.canceled = 0
        """Calls that were being dialled and have been asked to stop."""

    async def run(self) -> None:
        """List the whole file, 20,000 numbers in each transaction, and stop the dials to each of these at once.

        Raises BadInput if nothing in the file can be read, and DatabaseUnavailable; what was listed stays listed. However it
        ends, dials to what was listed have been asked to stop, unless the database is away. Running it again is harmless.
        """
        good = self._good()
        while chunk := list(itertools.islice(good, MOST_ADDED_AT_ONCE)):
            try:
                added = await self._store.add(chunk, source=self._source)
                self.tally.listed += added.new + added.changed
                self.tally.already_listed += len(chunk) - added.new - added.changed
            finally:  # interrupted, the chunk may have been committed all the same
                self.canceled += await self._store.cancel_listed()

    def look(self) -> int:
        """Only read the whole file; returns how many lines are bad."""
        for _ in self._good():
            pass
        return self.tally.refused

    def _good(self) -> Iterator[NewListing]:
        for row in self._file.rows():
            if isinstance(row, BadLine):
                self._refuse(row.line, row.reason)
                continue
            try:
                yield self._reader.read(row)
            except BadInput as error:
                self._refuse(row.line, str(error))

    def _refuse(self, line: int, reason: str) -> None:
        self.tally.refused += 1
        self._on_refused(line, reason)
