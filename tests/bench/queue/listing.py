"""How long the import of a do-not-call list takes that somebody sends as a file: each line read, checked and listed."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from orchestrator.cli.numberimport import NumberFile, NumberImport, NumberReader
from orchestrator.store.donotcall import ALL_ACCOUNTS, DoNotCallStore
from orchestrator.store.pool import Database
from tests.bench.queue.layout import Layout, drop_database, furnish, new_database

NUMBERS = 1_000_000
MOST_S = 60.0
Rows = list[tuple[str, str, str]]


async def run(server_url: str, *, numbers: int = NUMBERS) -> Rows:
    """Rows of (what, measured, wanted)."""
    url = await new_database(server_url, "listing")
    await furnish(url, Layout(calls=20_000, accounts=200))
    with TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        path = Path(directory) / "list.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("number,reason\n")
            file.writelines(f"+1{_national(number)},register\n" for number in range(numbers))
        took_s = await _import(url, path, numbers=numbers)
    await drop_database(server_url, "listing")
    return [(f"import of {numbers:,} do-not-call numbers from CSV, s", f"{took_s:.1f}", f"less than {MOST_S:g}")]


def _national(number: int) -> int:
    """The so many-th number of area code 212, in the order in which a register lists them; an exchange begins with 2 to 9."""
    return 2_122_000_000 + number


async def _import(url: str, path: Path, *, numbers: int) -> float:
    """What `orchestrator do-not-call import` does once it has connected. Raises RuntimeError if a number is missing."""
    database = Database(url, command_timeout_s=60)
    await database.open()
    reader = NumberReader(country="US", reason="", expires_at=None, account_ids={None: ALL_ACCOUNTS})
    started = time.perf_counter()
    with contextlib.closing(NumberFile(path=path)) as file:
        importing = NumberImport(
            file=file, reader=reader, store=DoNotCallStore(database=database), source="bench", on_refused=_refused
        )
        await importing.run()
    took_s = time.perf_counter() - started
    await database.close()
    connection = await asyncpg.connect(url)
    listed = await connection.fetchval("SELECT count(*) FROM do_not_call WHERE source = 'bench'")
    await connection.close()
    if not numbers == listed == importing.tally.listed:
        raise RuntimeError(f"{listed} of {numbers} numbers are listed")
    return took_s


def _refused(line: int, why: str) -> None:
    raise RuntimeError(f"line {line}: {why}")
