"""The do-not-call lists: who is listed is neither queued nor dialled, until the entry is taken off or runs out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from orchestrator.cli import numberimport
from orchestrator.errors import BadInput, DestinationForbidden, NotFound
from orchestrator.ids import E164
from orchestrator.lifecycle import State
from orchestrator.store.donotcall import ALL_ACCOUNTS, Added, DoNotCallStore, Listing, ListingFilter, ListKind, NewListing
from orchestrator.store.pool import Contended, Database
from orchestrator.store.records import DialForbidden, Gate
from tests.db.office import TO, Office

OTHER = "+12125550101"
SOON = timedelta(hours=1)


@pytest.fixture
def lists(office: Office) -> DoNotCallStore:
    return DoNotCallStore(database=office.database)


async def put(lists: DoNotCallStore, number: str = TO, *, account: str | None = None, **fields: Any) -> Added:
    kind = fields.pop("kind", ListKind.DO_NOT_CALL)
    source = fields.pop("source", "operator")
    listing = NewListing(number=number, account_id=await lists.account_id(account), **fields)
    return await lists.add([listing], source=source, kind=kind)


async def the_one(lists: DoNotCallStore, number: str = TO) -> Listing:
    (listing,) = await lists.find(number)
    return listing


# -- what a list stops ---------------------------------------------------------------------------------------------------------


async def test_a_listed_number_is_refused_when_it_is_queued_and_the_refusal_says_by_which_list(office: Office, lists):
    await put(lists, reason="asked by letter")
    with pytest.raises(DestinationForbidden, match=r"do-not-call list of all accounts \(asked by letter\)"):
        await office.enqueue()
    await put(lists, OTHER, account="acme", kind=ListKind.SUPPRESSION, expires_at=datetime(2099, 1, 1, tzinfo=UTC))
    with pytest.raises(DestinationForbidden, match="suppression list of account acme until 2099-01-01 00:00Z"):
        await office.enqueue(to=OTHER)
    assert (await office.calls.summary(None)).total == 0


async def test_an_accounts_own_list_stops_nobody_elses_calls(office: Office, lists):
    await office.open_account("b")
    await put(lists, account="acme")
    (call_id,) = await office.enqueue(account="b")
    assert await office.state(call_id) is State.SCHEDULED


@pytest.mark.parametrize("account", [None, "acme"])
async def test_a_number_that_is_listed_after_it_was_claimed_is_not_dialled(office: Office, lists, account):
    call = await office.claimed()
    await put(lists, account=account)
    refused = await office.begin(call)
    assert isinstance(refused, DialForbidden)
    assert refused.gate is Gate.DO_NOT_CALL
    assert (await office.calls.show(call.call_id)).dials == ()


async def test_what_has_run_out_or_was_taken_off_stops_nothing(office: Office, lists):
    await put(lists, expires_at=datetime.now(UTC) - SOON)
    await office.enqueue()
    await put(lists)
    await lists.remove(TO, account=None)
    await office.enqueue()


async def test_an_erased_number_stays_listed(office: Office, lists):
    await put(lists)
    await office.sql("UPDATE do_not_call SET to_number = NULL")
    with pytest.raises(DestinationForbidden):
        await office.enqueue()
    assert (await the_one(lists)).number is None


# -- calls that are on their way ---------------------------------------------------------------------------------------------


async def test_listing_asks_for_the_cancel_of_what_rings_and_leaves_the_answered_alone(office: Office, lists):
    ringing, talking = await office.ringing(), await office.active(to=OTHER)
    unconcerned = await office.ringing(to="+12125550102")
    await put(lists)
    await put(lists, OTHER)
    assert await lists.cancel_listed() == 1
    assert await lists.cancel_listed() == 0, "once is enough"
    assert [call_id for call_id, _ in await office.queue.canceled_calls()] == [ringing.call_id]
    for call in (talking, unconcerned):
        assert (await office.calls.show(call.call_id)).call.cancel_requested_at is None


async def test_a_claimed_call_is_left_to_the_gate_which_says_why(office: Office, lists):
    call = await office.claimed()
    await put(lists)
    assert await lists.cancel_listed(TO) == 0
    refused = await office.begin(call)
    assert isinstance(refused, DialForbidden)
    assert refused.gate is Gate.DO_NOT_CALL


async def test_an_intent_that_is_being_written_while_the_number_is_listed_is_canceled(office: Office, lists, database_url: str):
    """The intent's transaction read the list before, and commits after the number is listed."""
    call = await office.claimed()
    intent = await asyncpg.connect(database_url)
    transaction = intent.transaction()
    await transaction.start()
    await intent.execute("SELECT FROM calls WHERE id = $1 FOR NO KEY UPDATE", call.call_id)
    await put(lists)
    waiting = await asyncpg.connect(database_url)
    pid = await waiting.fetchval("SELECT pg_backend_pid()")
    task = asyncio.ensure_future(waiting.fetchval("SELECT cancel_listed($1)", TO))
    while not await intent.fetchval("SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted", pid):
        await asyncio.sleep(0)
    await intent.execute("SET LOCAL session_replication_role = replica")
    await intent.execute("INSERT INTO attempts (call_id, number) VALUES ($1, 1)", call.call_id)
    await intent.execute(
        "UPDATE calls SET state = 'dialing', attempt = 1, dialed_at = clock_timestamp() WHERE id = $1", call.call_id
    )
    await transaction.commit()
    assert await task == 1
    assert (await office.calls.show(call.call_id)).call.cancel_requested_at is not None
    await intent.close()
    await waiting.close()


class TracedLists(DoNotCallStore):
    """Says what was asked of it; the second `add` is interrupted after its commit."""

    def __init__(self, *, database: Database) -> None:
        super().__init__(database=database)
        self.asked: list[str] = []

    async def add(self, listings: Sequence[NewListing], *, source: str, kind: ListKind = ListKind.DO_NOT_CALL) -> Added:
        added = await super().add(listings, source=source, kind=kind)
        self.asked.append(f"add {len(listings)}")
        if len(self.asked) > 2:
            raise asyncio.CancelledError
        return added

    async def cancel_listed(self, number: E164 | None = None) -> int:
        canceled = await super().cancel_listed(number)
        self.asked.append(f"cancel {canceled}")
        return canceled


async def test_an_import_stops_dials_after_each_chunk_also_when_it_is_interrupted(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(numberimport, "MOST_ADDED_AT_ONCE", 2)
    numbers = [f"+121255501{n:02d}" for n in range(5)]
    path = tmp_path / "numbers.csv"
    path.write_text("\n".join(numbers))
    for n in (0, 1, 2, 4):
        await office.ringing(to=numbers[n])
    lists = TracedLists(database=office.database)
    reader = numberimport.NumberReader(country="US", reason="", expires_at=None, account_ids={None: ALL_ACCOUNTS})
    with contextlib.closing(numberimport.NumberFile(path=path)) as file:
        running = numberimport.NumberImport(file=file, reader=reader, store=lists, source="import", on_refused=print)
        with pytest.raises(asyncio.CancelledError):
            await running.run()
    assert lists.asked == ["add 2", "cancel 2", "add 2", "cancel 1"]
    assert (running.canceled, running.tally.listed) == (3, 2)


async def test_to_ask_for_cancels_gives_way_to_whoever_holds_the_calls_and_asks_again(lists, monkeypatch: pytest.MonkeyPatch):
    answers: list[object] = [Contended("deadlock"), Contended("deadlock"), 3]

    async def fetch_value(_statement: str, *_arguments: object) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(lists._database, "fetch_value", fetch_value)
    assert await lists.cancel_listed() == 3
    answers[:] = [Contended("deadlock")] * 10
    with pytest.raises(Contended):
        await lists.cancel_listed()
    assert answers, "not for ever"


# -- what stands on a list -----------------------------------------------------------------------------------------------------


async def test_listing_twice_is_harmless(lists):
    assert await put(lists, reason="first") == Added(new=1, changed=0)
    assert await put(lists, reason="second") == Added(new=0, changed=0)
    assert (await the_one(lists)).reason == "first"


@pytest.mark.parametrize(
    ("before", "after", "kind", "expires"),
    [
        # what is stricter stands: do-not-call before suppression, later before sooner, for good before all
        (("suppression", 90), ("do_not_call", None), "do_not_call", None),
        (("suppression", 90), ("do_not_call", 1), "do_not_call", 90),
        (("do_not_call", None), ("suppression", 90), "do_not_call", None),
        (("do_not_call", 1), ("suppression", 90), "do_not_call", 90),
        (("do_not_call", 90), ("do_not_call", 1), "do_not_call", 90),
        (("do_not_call", 1), ("do_not_call", None), "do_not_call", None),
        # what has run out counts for nothing
        (("do_not_call", -1), ("suppression", 90), "suppression", 90),
        (("do_not_call", -1), ("do_not_call", 1), "do_not_call", 1),
    ],
)
async def test_of_two_entries_the_stricter_stands(lists, before, after, kind, expires):
    now = datetime.now(UTC)

    def moment(days: int | None) -> datetime | None:
        return None if days is None else now + timedelta(days=days)

    for name, days in (before, after):
        await put(lists, kind=ListKind(name), expires_at=moment(days))
    listing = await the_one(lists)
    assert (listing.kind.value, listing.expires_at) == (kind, moment(expires))
    assert listing.in_force


async def test_the_list_of_all_and_an_accounts_own_stand_beside_each_other(office: Office, lists):
    await put(lists)
    await put(lists, account="acme")
    assert [listing.account for listing in await lists.find(TO)] == [None, "acme"]
    removed = await lists.remove(TO, account="acme")
    assert removed.account == "acme"
    with pytest.raises(NotFound, match="not on the list of acme; it is on that of all accounts"):
        await lists.remove(TO, account="acme")
    assert (await the_one(lists)).account is None


async def test_only_what_concerns_an_account_is_found_for_it(office: Office, lists):
    await office.open_account("b")
    await put(lists, account="b")
    assert await lists.find(TO, account="acme") == []
    assert len(await lists.find(TO, account="b")) == 1
    with pytest.raises(NotFound, match="there is no account nobody"):
        await lists.find(TO, account="nobody")


async def test_entries_are_shown_newest_first_page_by_page_and_by_every_filter(office: Office, lists):
    await lists.add([NewListing(number=f"+1212555{n:04}") for n in range(1000, 1025)], source="import")
    await put(lists, account="acme", kind=ListKind.SUPPRESSION, source="call 7")

    async def numbers(**wanted: Any) -> list[str | None]:
        return [listing.number for listing in await lists.page(ListingFilter(**wanted))]

    everything = await numbers(limit=100)
    assert everything[0] == TO
    assert len(everything) == 26
    pages: list[str | None] = []
    wanted = ListingFilter(limit=10)
    while page := await lists.page(wanted):
        pages += [listing.number for listing in page]
        wanted = ListingFilter(limit=10, after=page[-1].place)
    assert pages == everything
    assert await numbers(account="acme") == [TO] == await numbers(kind=ListKind.SUPPRESSION) == await numbers(source="call")
    assert await numbers(all_accounts=True, limit=100) == everything[1:]
    assert await numbers(account="acme", kind=ListKind.DO_NOT_CALL) == []
    for bad in ({"limit": 0}, {"after": "here"}):
        with pytest.raises(BadInput):
            await numbers(**bad)


async def test_a_reason_that_is_too_long_and_too_many_numbers_are_refused(lists):
    with pytest.raises(BadInput, match="500"):
        await put(lists, reason="x" * 501)
    with pytest.raises(BadInput, match="at most 20,000"):
        await lists.add([NewListing(number=TO)] * 20_001, source="import")
    assert await lists.find(TO) == []


async def test_a_number_that_stands_twice_in_what_is_added_is_listed_once_and_longest(lists):
    short = NewListing(number=TO, account_id=ALL_ACCOUNTS, expires_at=datetime.now(UTC) + SOON)
    assert await lists.add([short, NewListing(number=TO), short], source="import") == Added(new=1, changed=0)
    assert (await the_one(lists)).expires_at is None


# -- an agent's word -----------------------------------------------------------------------------------------------------------


async def test_an_opt_out_lists_the_number_for_the_account_and_is_in_the_timeline_once(office: Office, lists):
    call = await office.active()
    for _ in range(2):
        assert await office.queue.record_opt_out(call, identity="agent-1", reason="never\0 again")
    listing = await the_one(lists)
    assert (listing.account, listing.kind, listing.reason) == ("acme", ListKind.DO_NOT_CALL, "never again")
    assert listing.source == f"agent, call {call.call_id}"
    view = await office.calls.show(call.call_id)
    assert view.call.state is State.ACTIVE
    (noted,) = [event for event in view.events if event.kind == "do_not_call"]
    assert noted.detail == {"agent": "agent-1", "reason": "never again"}


async def test_an_opt_out_counts_even_when_the_claim_is_lost(office: Office, lists):
    call = await office.active()
    await office.sql("UPDATE calls SET epoch = epoch + 1 WHERE id = $1", call.call_id)
    assert await office.queue.record_opt_out(call, identity="agent-1", reason="never again")
    assert (await the_one(lists)).in_force


# -- plans ---------------------------------------------------------------------------------------------------------------------


async def test_a_number_is_looked_up_by_the_index_whatever_the_planner_believes(office: Office):
    """A list of a million may come in while the statistics still say that the table is empty."""
    await office.sql("ANALYZE do_not_call")
    connection = await office.database.connect()
    await connection.execute("SET enable_seqscan = off")
    plan = await connection.fetchval(
        "EXPLAIN (FORMAT text) SELECT FROM do_not_call d WHERE d.number_key = '\\x00' AND d.account_id IN (0, 7)"
    )
    await connection.close()
    assert "do_not_call_pkey" in plan
    (row,) = await office.sql("SELECT proconfig FROM pg_proc WHERE proname = 'is_listed'")
    assert row["proconfig"] == ["enable_seqscan=off"]
