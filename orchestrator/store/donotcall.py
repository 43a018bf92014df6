"""The do-not-call lists: who must not be called, by all accounts or by one. Suppressed numbers are on them too.

Doors ask them when a call is queued, and the last gate asks them before each dial. Never touches a claim.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.errors import BadInput, NotFound
from orchestrator.ids import E164, AccountId
from orchestrator.store.pool import Contended, Database, Row

ALL_ACCOUNTS = AccountId(0)
"""Whose list stops the calls of all."""
MOST_ADDED_AT_ONCE = 20_000
MOST_LISTED_AT_ONCE = 10_000
MOST_TRIES = 5
MAX_REASON = 500
"""Characters."""


class ListKind(enum.Enum):
    """Why a number is listed."""

    DO_NOT_CALL = "do_not_call"
    """Somebody asked for it."""
    SUPPRESSION = "suppression"
    """The trunk said that the number does not exist."""


@dataclass(frozen=True, slots=True)
class NewListing:
    """A number to be listed."""

    number: E164
    account_id: AccountId = ALL_ACCOUNTS
    reason: str = ""
    expires_at: datetime | None = None
    """None: never."""


@dataclass(frozen=True, slots=True)
class Listing:
    """An entry of a list."""

    number: E164 | None
    """None: erased, only its hash is left."""
    account: str | None
    """None: of all accounts."""
    kind: ListKind
    reason: str
    source: str
    """Who put it there: `operator`, `import`, `agent, call 4711`, `call 4711` (a suppression) ..."""
    created_at: datetime
    expires_at: datetime | None
    in_force: bool
    """It has not run out, by the database's clock."""
    place: str
    """Where it stands in a listing: what follows it is asked for by this."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of numbers that were to be listed; the rest was listed as strictly before."""

    new: int
    changed: int
    """Listed more strictly now: longer, as do-not-call, or anew after they had run out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFilter:
    """Which entries to show; every field that is set must match."""

    account: str | None = None
    all_accounts: bool = False
    """Only those of the list of all accounts."""
    kind: ListKind | None = None
    source: str | None = None
    """What it begins with."""
    after: str | None = None
    """The `place` of the last entry of the page before."""
    limit: int = 50
    """1 to 10,000."""


class DoNotCallStore:
    """Puts numbers on the lists, takes them off, and shows them."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def account_id(self, account: str | None) -> AccountId:
        """Whose list is meant; None: that of all accounts. Raises NotFound."""
        if account is None:
            return ALL_ACCOUNTS
        row = await self._database.fetch_one("find_account_id", account)
        if row is None:
            raise NotFound(f"there is no account {account}")
        return AccountId(row["id"])

    async def add(self, listings: Sequence[NewListing], *, source: str, kind: ListKind = ListKind.DO_NOT_CALL) -> Added:
        """List them, 20,000 at most; repeating it is harmless. What comes to the last gate after that does not pass it.

        Raises BadInput, having listed none. Of more than 1,000 numbers, one that was at the gate at that very moment may pass
        and be dialled after this has returned. It and all others that are being dialled are asked to stop by `cancel_listed`.
        """
        if len(listings) > MOST_ADDED_AT_ONCE:
            raise BadInput(f"at most {MOST_ADDED_AT_ONCE:,} numbers can be listed at once, not {len(listings):,}")
        for listing in listings:
            if len(listing.reason) > MAX_REASON:
                raise BadInput(f"a reason may have {MAX_REASON} characters, not {len(listing.reason)}")
        row = await self._database.fetch_one(
            "list_numbers",
            [listing.account_id for listing in listings],
            [listing.number for listing in listings],
            [listing.reason for listing in listings],
            [listing.expires_at for listing in listings],
            kind.value,
            source,
        )
        if row is None:
            raise LookupError("list_numbers.sql returned no row")
        return Added(new=row["added"], changed=row["changed"])

    async def cancel_listed(self, number: E164 | None = None) -> int:
        """Ask for the cancel of calls to a listed number (None: to any) that are being dialled; answered ones go on.

        Returns how many. To be asked after `add`: it waits for calls that are at the last gate, so that none slips through
        between the two. Calls that wait end as BLOCKED_DO_NOT_CALL when their turn comes.
        """
        tries_left = MOST_TRIES
        while True:
            tries_left -= 1
            try:
                canceled = await self._database.fetch_value("cancel_listed", number)
            except Contended:  # it locks calls without their accounts, and gives way to those that have them
                if not tries_left:
                    raise
                continue
            if not isinstance(canceled, int):
                raise TypeError(f"cancel_listed.sql returned {canceled!r}")
            return canceled

    async def remove(self, number: E164, *, account: str | None) -> Listing:
        """Take a number off a list, whether do-not-call or suppression; returns what stood there. Raises NotFound."""
        row = await self._database.fetch_one("unlist_number", number, await self.account_id(account))
        if row is None:
            elsewhere = sorted(listing.account or "all accounts" for listing in await self.find(number))
            hint = f"; it is on that of {', '.join(elsewhere)}" if elsewhere else ""
            raise NotFound(f"{number} is not on the list of {account or 'all accounts'}{hint}")
        return _listing_of(row)

    async def find(self, number: E164, *, account: str | None = None) -> list[Listing]:
        """All entries of a number, or those that stop an account's calls; also those that have run out. Raises NotFound."""
        account_id = None if account is None else await self.account_id(account)
        return [_listing_of(row) for row in await self._database.fetch("find_listings", number, account_id)]

    async def page(self, wanted: ListingFilter) -> list[Listing]:
        """Newest first. Raises BadInput, NotFound."""
        if not 1 <= wanted.limit <= MOST_LISTED_AT_ONCE:
            raise BadInput(f"the limit must be from 1 to {MOST_LISTED_AT_ONCE:,}, not {wanted.limit}")
        account_id = None if wanted.account is None and not wanted.all_accounts else await self.account_id(wanted.account)
        rows = await self._database.fetch(
            "list_do_not_call",
            account_id,
            None if wanted.kind is None else wanted.kind.value,
            wanted.source,
            *(_read_place(wanted.after) if wanted.after else (None, None, None)),
            wanted.limit,
        )
        return [_listing_of(row) for row in rows]


def _listing_of(row: Row) -> Listing:
    return Listing(
        number=None if row["to_number"] is None else E164(row["to_number"]),
        account=row["account"],
        kind=ListKind(row["kind"]),
        reason=row["reason"],
        source=row["source"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        in_force=row["in_force"],
        place=_place(row),
    )


def _place(row: Row) -> str:
    key = base64.urlsafe_b64encode(row["number_key"]).decode().rstrip("=")
    return f"{row['created_at'].isoformat()}_{row['account_id']}_{key}"


def _read_place(text: str) -> tuple[datetime, bytes, int]:
    try:
        created_at, account_id, key = text.split("_", 2)
        return datetime.fromisoformat(created_at), base64.b64decode(key + "=", altchars=b"-_", validate=True), int(account_id)
    except ValueError as error:
        raise BadInput(f"{text!r} is no place in a list: give what the page before said at its end") from error
