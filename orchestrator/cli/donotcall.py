"""`orchestrator do-not-call`: who must not be called, by all accounts or by one."""

from __future__ import annotations

import asyncio
import contextlib
import csv
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import click

from orchestrator.cli.callrow import read_moment
from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.cli.exits import Exit
from orchestrator.cli.numberimport import NO_COUNTRY, NumberFile, NumberImport, NumberReader, read_written
from orchestrator.cli.words import plural, shown_number, shown_time
from orchestrator.errors import BadInput, DatabaseUnavailable
from orchestrator.ids import E164, AccountId
from orchestrator.numbers import read_country
from orchestrator.store.donotcall import MOST_LISTED_AT_ONCE, Listing, ListingFilter, ListKind, NewListing

account_option = click.option("--account", metavar="NAME", help="The account's own list. Default: that of all accounts.")
country_option = click.option("--country", metavar="CC", help="Where numbers without + are. Default: the account's country.")


@click.group("do-not-call")
def do_not_call() -> None:
    """Who must not be called: the list of all accounts, each account's own, and suppressed numbers."""


@do_not_call.command("add")
@click.argument("number")
@account_option
@country_option
@click.option("--reason", default="", metavar="TEXT", help="Why, at most 500 characters.")
@click.option("--expires", metavar="TIME", help="Until when, like 2027-01-01T00:00:00Z. Default: for good.")
@with_desk
def add_number(desk: Desk, number: str, account: str | None, country: str | None, reason: str, expires: str | None) -> None:
    """Stop all further calls to a number. A call that is being dialled is canceled, an answered one goes on.

    Calls to it that wait end as BLOCKED_DO_NOT_CALL when their turn comes. What is listed already stays so at least as long.
    """
    expires_at = _read_expiry(expires)

    async def work(stores: Stores) -> tuple[E164, Listing, int]:
        read = await _read(stores, number, account=account, country=country)
        account_id = await stores.do_not_call.account_id(account)
        listing = NewListing(number=read, account_id=account_id, reason=reason, expires_at=expires_at)
        await stores.do_not_call.add([listing], source="operator")
        canceled = await stores.do_not_call.cancel_listed(read)
        (stored,) = [found for found in await stores.do_not_call.find(read) if found.account == account]
        return read, stored, canceled

    read, stored, canceled = desk.run(work)
    desk.answer({"listing": stored, "canceled": canceled})
    desk.say(f"{read} is on the list of {_whose(stored)}{_until(stored)}")
    if canceled:
        desk.say(f"{plural(canceled, 'call')} to it being dialled {'is' if canceled == 1 else 'are'} asked to stop")


@do_not_call.command("remove")
@click.argument("number")
@account_option
@country_option
@with_desk
def remove_number(desk: Desk, number: str, account: str | None, country: str | None) -> None:
    """Take a number off a list, whether it was asked for or is suppressed."""

    async def work(stores: Stores) -> tuple[Listing, list[Listing]]:
        read = await _read(stores, number, account=account, country=country)
        removed = await stores.do_not_call.remove(read, account=account)
        return removed, [listing for listing in await stores.do_not_call.find(read) if listing.in_force]

    removed, left = desk.run(work)
    desk.answer({"removed": removed, "left": left})
    desk.say(f"{number} is off the {_kind(removed)} list of {_whose(removed)}")
    for listing in left:
        desk.say(f"it is still on the {_kind(listing)} list of {_whose(listing)}{_until(listing)}")


@do_not_call.command("check")
@click.argument("number")
@click.option("--account", metavar="NAME", help="Only what stops this account's calls. Default: all lists.")
@country_option
@with_desk
def check_number(desk: Desk, number: str, account: str | None, country: str | None) -> None:
    """Whether a number may be called as far as the lists go, and which of them stops it."""

    async def work(stores: Stores) -> tuple[E164, list[Listing]]:
        read = await _read(stores, number, account=account, country=country)
        return read, await stores.do_not_call.find(read, account=account)

    read, found = desk.run(work)
    desk.answer({"number": read, "listed": any(listing.in_force for listing in found), "listings": found})
    _table(desk, found, numbers_in_full=True)
    if not any(listing.in_force for listing in found):
        desk.say(f"{read} is on no list{' that stops ' + account if account else ''}")


@do_not_call.command("list")
@click.option("--account", metavar="NAME", help="Only this account's own list.")
@click.option("--global", "all_accounts", is_flag=True, help="Only the list of all accounts.")
@click.option("--kind", type=click.Choice([kind.value for kind in ListKind]), help="Only these.")
@click.option("--source", metavar="TEXT", help="Only what came from there: operator, import, agent ...")
@click.option("--limit", type=int, default=50, show_default=True, metavar="N", help="At most so many, 1 to 10,000.")
@click.option("--after", metavar="PLACE", help="The next page: what the page before said at its end.")
@with_desk
def list_numbers(
    desk: Desk, account: str | None, all_accounts: bool, kind: str | None, source: str | None, limit: int, after: str | None
) -> None:
    """What is listed, newest first."""
    if account and all_accounts:
        raise click.UsageError("--account and --global exclude each other")
    wanted = ListingFilter(
        account=account,
        all_accounts=all_accounts,
        kind=ListKind(kind) if kind else None,
        source=source,
        limit=limit,
        after=after,
    )
    found = desk.run(lambda stores: stores.do_not_call.page(wanted))
    desk.answer(found)
    _table(desk, found, numbers_in_full=not desk.settings.log.mask_numbers)
    if len(found) == limit:
        desk.say(f"there may be more: --after {found[-1].place}")
    if not found:
        desk.say("nothing is listed")


@do_not_call.command("import")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@account_option
@country_option
@click.option("--reason", default="", metavar="TEXT", help="For lines that give none.")
@click.option("--expires", metavar="TIME", help="For lines that give none. Default: for good.")
@click.option("--source", default="import", show_default=True, metavar="TEXT", help="Where the list is from.")
@click.option("--strict", is_flag=True, help="List nothing if any line is bad.")
@with_desk
def import_numbers(
    desk: Desk,
    path: Path,
    account: str | None,
    country: str | None,
    reason: str,
    expires: str | None,
    source: str,
    strict: bool,
) -> Exit:
    """List the numbers of a .csv or .jsonl file.

    \b
    The columns: number (needed), reason, expires_at, account. A file of numbers alone needs no header line.

    Good lines are listed, each bad one is reported with its number; leaves with 3 if there was one. Importing a file again is
    harmless. Calls to these numbers that are being dialled are canceled, those that wait end as BLOCKED_DO_NOT_CALL.
    """
    if not 1 <= len(source) <= 100:
        raise BadInput("--source must have 1 to 100 characters")
    expires_at = _read_expiry(expires)
    running: list[NumberImport] = []

    def tell_refused(line: int, why: str) -> None:
        desk.answer({"line": line, "error": why})
        if not desk.as_json:
            desk.warn(f"line {line}: {why}")

    async def work(stores: Stores) -> None:
        ids: dict[str | None, AccountId] = {row.name: row.id for row in await stores.accounts.list()}
        ids[None] = await stores.do_not_call.account_id(account)
        home = await _country(stores, account, country)
        reader = NumberReader(country=home, reason=reason, expires_at=expires_at, account_ids=ids)

        def importing(file: NumberFile) -> NumberImport:
            return NumberImport(file=file, reader=reader, store=stores.do_not_call, source=source, on_refused=tell_refused)

        if strict:
            with contextlib.closing(NumberFile(path=path)) as file:
                bad = importing(file).look()
            if bad:
                raise BadInput(
                    f"{plural(bad, 'line')} of {path} cannot be listed, so nothing was: mend them, or leave out --strict"
                )
        with contextlib.closing(NumberFile(path=path)) as file:
            running.append(importing(file))
            await running[0].run()

    try:
        desk.run(work)
    except (DatabaseUnavailable, KeyboardInterrupt, asyncio.CancelledError):
        if running:
            _report(desk, running[0], finished=False)
        raise
    _report(desk, running[0], finished=True)
    return Exit.PARTLY_REFUSED if running[0].tally.refused else Exit.OK


@do_not_call.command("export")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--account", metavar="NAME", help="Only this account's own list.")
@click.option("--global", "all_accounts", is_flag=True, help="Only the list of all accounts.")
@click.option("--kind", type=click.Choice([kind.value for kind in ListKind]), help="Only these.")
@with_desk
def export_numbers(desk: Desk, path: Path, account: str | None, all_accounts: bool, kind: str | None) -> Exit:
    """Write what is listed and in force to a .csv file that `import` reads.

    Of an erased number only a hash is left, which is not written; how many there are is said.
    """
    wanted = ListingFilter(
        account=account, all_accounts=all_accounts, kind=ListKind(kind) if kind else None, limit=MOST_LISTED_AT_ONCE
    )
    written = erased = 0

    async def work(stores: Stores) -> None:
        nonlocal written, erased
        with _new_file(path) as file:
            rows = csv.writer(file)
            rows.writerow(("number", "reason", "expires_at", "account"))
            async for listing in _all(stores, wanted):
                if listing.number is None:
                    erased += 1
                elif listing.in_force:
                    written += 1
                    expires_at = listing.expires_at.isoformat() if listing.expires_at else ""
                    rows.writerow((listing.number, listing.reason, expires_at, listing.account or ""))

    desk.run(work)
    desk.answer({"written": written, "erased": erased})
    desk.say(f"{plural(written, 'number')} in {path}")
    if erased:
        desk.warn(f"{plural(erased, 'number')} erased: only hashes are left of them, which stay listed and are not in the file")
    return Exit.OK


def _new_file(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error


async def _all(stores: Stores, wanted: ListingFilter) -> AsyncIterator[Listing]:
    while page := await stores.do_not_call.page(wanted):
        for listing in page:
            yield listing
        wanted = replace(wanted, after=page[-1].place)


async def _country(stores: Stores, account: str | None, country: str | None) -> str:
    if country:
        return read_country(country)
    return (await stores.accounts.get(account)).country if account else NO_COUNTRY


async def _read(stores: Stores, number: str, *, account: str | None, country: str | None) -> E164:
    return read_written(number, await _country(stores, account, country))


def _read_expiry(text: str | None) -> datetime | None:
    if not text:
        return None
    expires_at = read_moment(text, name="--expires")
    if expires_at <= datetime.now(UTC):
        raise BadInput(f"--expires {text} is past: nothing would be listed")
    return expires_at


def _report(desk: Desk, done: NumberImport, *, finished: bool) -> None:
    tally = done.tally
    desk.answer(
        {
            "finished": finished,
            "lines": tally.lines,
            "listed": tally.listed,
            "already_listed": tally.already_listed,
            "refused": tally.refused,
            "canceled": done.canceled,
        }
    )
    desk.say(
        f"{plural(tally.lines, 'line')}: {tally.listed:,} listed, {tally.already_listed:,} listed before,"
        f" {tally.refused:,} refused"
    )
    if done.canceled:
        desk.say(f"{plural(done.canceled, 'call')} being dialled to such numbers asked to stop")
    if not finished:
        desk.say("stopped: run the same command again to go on, what is listed stays listed")


def _table(desk: Desk, found: Iterable[Listing], *, numbers_in_full: bool) -> None:
    desk.table(
        ("number", "list of", "kind", "reason", "source", "since", "until"),
        (
            (
                shown_number(listing.number, in_full=numbers_in_full) or "(erased)",
                listing.account or "all accounts",
                _kind(listing),
                listing.reason,
                listing.source,
                shown_time(listing.created_at),
                shown_time(listing.expires_at) + ("" if listing.in_force else " (over)"),
            )
            for listing in found
        ),
    )


def _kind(listing: Listing) -> str:
    return "suppression" if listing.kind is ListKind.SUPPRESSION else "do-not-call"


def _whose(listing: Listing) -> str:
    return f"account {listing.account}" if listing.account else "all accounts"


def _until(listing: Listing) -> str:
    return f" until {shown_time(listing.expires_at)}" if listing.expires_at else ""
