"""The two doors of the queue: what a call may ask for, whose trunks it may use, the same call asked twice, nobody held up."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from orchestrator.errors import BadInput, Conflict, DestinationForbidden, NotFound
from orchestrator.store.calls import CallStore
from orchestrator.store.donotcall import DoNotCallStore, NewListing
from orchestrator.store.policy import NewTrunk
from orchestrator.store.records import DialGranted
from orchestrator.store.views import Enqueued, NewCall
from tests.db.office import BUSY, TO, Office

SOON = timedelta(hours=1)


def call(**fields: Any) -> NewCall:
    return NewCall(**({"account": "acme", "to": TO} | fields))


async def stored(office: Office, call_id: int) -> asyncpg.Record:
    (row,) = await office.sql("SELECT * FROM calls WHERE id = $1", call_id)
    return row


# -- what a call may ask for ---------------------------------------------------------------------------------------------------


async def test_hours_and_redial_of_its_own_are_stored_with_the_call(office: Office):
    redial = {"max_attempts": 3, "delays": {"soon": [300.0]}}
    (call_id,) = await office.enqueue(calling_hours=("mon-fri 09:00-17:00", "sun closed"), redial=redial)
    row = await stored(office, call_id)
    assert row["calling_hours"] == ["mon-fri 09:00-17:00", "sun closed"]
    assert json.loads(row["redial"]) == redial
    plain = await stored(office, (await office.enqueue())[0])
    assert (plain["calling_hours"], plain["redial"]) == (None, None)


async def test_an_expiry_that_is_given_bounds_the_call_and_any_other_each_attempt(office: Office):
    store = CallStore(database=office.database, expires_after_s=120)
    given, left_out = await store.enqueue([call(expires_at=datetime.now(UTC) + SOON), call()])
    assert (await stored(office, given.call_id))["expires_after_s"] is None
    assert (await stored(office, left_out.call_id))["expires_after_s"] == 120


async def test_queueing_sets_no_route_and_touches_no_counter(office: Office):
    before = await office.sql("SELECT * FROM account_slots, lanes, agent_pools, routes, trunk_channels")
    (call_id,) = await office.enqueue()
    assert (await stored(office, call_id))["route_id"] is None
    assert await office.sql("SELECT * FROM account_slots, lanes, agent_pools, routes, trunk_channels") == before


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"calling_hours": ("",)}, "calling_hours must be an array of texts"),
    ({"calling_hours": ("always",) * 201}, "calling_hours must be at most 200"),
    ({"redial": {"tries": 3}}, "redial may have max_attempts, delays and jitter, and nothing else"),
    ({"redial": {"max_attempts": 0}}, "redial must have a whole number from 1 to 50"),
    ({"redial": {"max_attempts": 1.5}}, "redial must have a whole number from 1 to 50"),
    ({"redial": {"max_attempts": "3"}}, "redial must have a whole number from 1 to 50"),
    ({"redial": {"jitter": 1.5}}, "redial must have a number from 0 to 1"),
    ({"redial": {"delays": [300]}}, "redial must have an object as delays"),
    ({"redial": {"delays": {"never": [300]}}}, "for no other class"),
    ({"redial": {"delays": {"soon": []}}}, "1 to 50 delays"),
    ({"redial": {"delays": {"soon": 300}}}, "1 to 50 delays"),
    ({"redial": {"delays": {"soon": [300, -1]}}}, "above 0"),
    ({"redial": {"delays": {"soon": ["5m"]}}}, "above 0"),
]


async def test_hours_and_redial_that_cannot_be_are_refused_with_their_reason(office: Office):
    for fields, says in REFUSALS:
        with pytest.raises(BadInput, match=says):
            await office.calls.enqueue([call(**fields)])
    assert (await office.calls.summary(None)).total == 0


async def test_the_sql_door_takes_hours_and_redial(office: Office):
    (row,) = await office.sql(
        "SELECT enqueue_call('acme', $1, calling_hours => '{mon-fri 09:00-17:00}', redial => '{\"max_attempts\": 3}') AS id", TO
    )
    got = await stored(office, row["id"])
    assert (got["calling_hours"], json.loads(got["redial"])) == (["mon-fri 09:00-17:00"], {"max_attempts": 3})


async def test_the_sql_door_tells_a_listed_number_from_bad_input(office: Office):
    await DoNotCallStore(database=office.database).add([NewListing(number=TO)], source="operator")
    with pytest.raises(asyncpg.PostgresError, match="do-not-call list of all accounts") as refused:
        await office.sql("SELECT enqueue_call('acme', $1)", TO)
    assert refused.value.sqlstate == "ORDNC"


# -- trunks --------------------------------------------------------------------------------------------------------------------


async def test_a_call_names_a_trunk_group(office: Office):
    await office.trunks.create(
        NewTrunk(name="side", sip_trunk_id="ST_2", max_channels=1, max_cps=1, caller_ids=("+12125550177",))
    )
    await office.sql("INSERT INTO trunk_groups (name) VALUES ('both')")
    await office.sql(
        "INSERT INTO trunk_group_members (trunk_group_id, trunk_id)"
        " SELECT g.id, t.id FROM trunk_groups g, trunks t WHERE g.name = 'both'"
    )
    (call_id,) = await office.enqueue(trunk="both", caller_id="+12125550177")
    (group,) = await office.sql(
        "SELECT name FROM trunk_groups WHERE id = (SELECT trunk_group_id FROM calls WHERE id = $1)", call_id
    )
    assert group["name"] == "both"
    with pytest.raises(NotFound, match="caller id"):
        await office.enqueue(trunk="main", caller_id="+12125550177")


async def test_a_caller_id_must_be_the_accounts_or_its_trunks_also_where_neither_has_any(office: Office):
    await office.trunks.create(NewTrunk(name="bare", sip_trunk_id="ST_2", max_channels=1, max_cps=1))
    with pytest.raises(NotFound, match="caller id"):
        await office.enqueue(trunk="bare", caller_id="+12125550177")
    await office.change_account("acme", caller_ids=("+12125550177",))
    await office.enqueue(trunk="bare", caller_id="+12125550177")


async def test_a_trunk_is_for_its_owners_calls_alone(office: Office):
    await office.open_account("b")
    await office.trunks.create(NewTrunk(name="own", sip_trunk_id="ST_2", max_channels=1, max_cps=1, owner="acme"))
    await office.enqueue(trunk="own")
    with pytest.raises(BadInput, match="trunk own belongs to another account"):
        await office.enqueue(account="b", trunk="own")


async def test_a_group_without_trunks_takes_no_calls(office: Office):
    await office.sql("INSERT INTO trunk_groups (name) VALUES ('empty')")
    with pytest.raises(BadInput, match="trunk group empty has no trunks: give it one"):
        await office.enqueue(trunk="empty")


# -- asked twice ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"calling_hours": ("always",)}, {"redial": {"max_attempts": 2}}])
async def test_the_same_key_with_other_hours_or_another_redial_is_a_conflict(office: Office, fields):
    await office.enqueue(idempotency_key="a")
    with pytest.raises(Conflict, match="already stands for call 1"):
        await office.enqueue(idempotency_key="a", **fields)
    first, again = [await office.enqueue(idempotency_key="b", **fields) for _ in range(2)]
    assert first == again


async def test_a_key_that_was_used_before_hours_and_redial_existed_still_stands(office: Office):
    """Whatever is added to a call, an upgrade must not make a repeated import call everybody again."""
    (call_id,) = await office.enqueue(idempotency_key="a")
    (row,) = await office.sql(
        "SELECT request_digest = sha256(convert_to(jsonb_build_array(to_number::text, '', metadata::jsonb, caller_id::text,"
        " display_name, headers::jsonb, dtmf, ring_timeout_s, max_duration_s, NULL)::text, 'UTF8')) AS same"
        " FROM calls WHERE id = $1",
        call_id,
    )
    assert row["same"]


async def test_a_call_that_was_queued_before_is_answered_so_whatever_has_become_of_it(office: Office):
    """A file is run again a day later: its times are past, and its numbers may be on a list."""
    wanted = call(idempotency_key="a", run_at=datetime.now(UTC), expires_at=datetime.now(UTC) + SOON)
    (first,) = await office.calls.enqueue([wanted])
    await office.sql("UPDATE calls SET run_at = run_at - interval '2 days', expires_at = expires_at - interval '2 days'")
    past = call(
        idempotency_key="a", run_at=datetime.now(UTC) - timedelta(days=2), expires_at=datetime.now(UTC) - timedelta(days=1)
    )
    await DoNotCallStore(database=office.database).add([NewListing(number=TO)], source="operator")
    again, other = await office.calls.enqueue_each([past, call(idempotency_key="b")])
    assert again == Enqueued(call_id=first.call_id, created=False)
    assert isinstance(other, DestinationForbidden)


async def test_a_call_that_has_ended_is_not_called_again_by_its_key(office: Office):
    ended = await office.dialing(idempotency_key="a")
    assert (await office.ends.finish(ended, BUSY)).ours
    assert await office.enqueue(idempotency_key="a") == [ended.call_id]


async def test_of_many_calls_the_good_ones_are_queued_and_each_refusal_stands_in_its_place(office: Office):
    await office.enqueue(idempotency_key="taken")
    results = await office.calls.enqueue_each(
        [
            call(),
            call(to="five"),
            call(account="nobody"),
            call(idempotency_key="taken", dtmf="1"),
            call(idempotency_key="taken"),
            call(),
        ]
    )
    kinds = [type(result) for result in results]
    assert kinds == [Enqueued, BadInput, NotFound, Conflict, Enqueued, Enqueued]
    assert [result.created for result in results if isinstance(result, Enqueued)] == [True, False, True]
    assert (await office.calls.summary(None)).total == 3


async def test_two_transactions_with_the_same_key_queue_one_call(office: Office, database_url: str):
    """The second waits for the first, and finds its call; if the first is rolled back, the second's stands."""
    ask = "SELECT enqueue_call('acme', '+12125550100', idempotency_key => $1)"
    for key, ends in (("a", "commit"), ("b", "rollback")):
        first, second = [await asyncpg.connect(database_url) for _ in range(2)]
        transaction = first.transaction()
        await transaction.start()
        one = await first.fetchval(ask, key)
        pid = await second.fetchval("SELECT pg_backend_pid()")
        asking = asyncio.ensure_future(second.fetchval(ask, key))
        while not await first.fetchval("SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted", pid):
            await asyncio.sleep(0)
        await getattr(transaction, ends)()
        other = await asking
        assert (other == one) is (ends == "commit")
        assert len(await office.sql("SELECT FROM calls WHERE idempotency_key = $1", key)) == 1
        await first.close()
        await second.close()


# -- nobody held up ------------------------------------------------------------------------------------------------------------


async def test_an_open_transaction_that_has_queued_calls_delays_nobody(office: Office, database_url: str):
    """Neither claim, dial, end, staging, cancel, other enqueuers nor an operator: whatever waits for a lock here fails."""
    claimed = await office.claimed()
    dialing = await office.dialing(to="+12125550103")
    ready, waiting = await office.enqueue(to="+12125550101"), await office.enqueue(to="+12125550102")
    user = await asyncpg.connect(database_url)
    transaction = user.transaction()
    await transaction.start()
    await user.execute(
        "SELECT enqueue_call('acme', '+12125550100', idempotency_key => 'open-' || g) FROM generate_series(1, 50) g"
    )

    await office.sql(f"ALTER DATABASE {urlsplit(database_url).path[1:]} SET lock_timeout = '10ms'")
    await office.database.close()
    await office.database.open()
    assert await office.sql("SHOW lock_timeout") == [("10ms",)]
    assert await office.calls.enqueue([call(idempotency_key="other")])
    await office.calls.request_cancel(waiting[0])
    assert await office.stage() == 2
    assert ready[0] in {got.call_id for got in await office.queue.claim_calls(20)}
    assert isinstance(await office.begin(claimed), DialGranted)
    assert (await office.ends.finish(dialing, BUSY)).ours
    await office.change_account("acme", max_concurrent=20, max_attempts=2)
    await DoNotCallStore(database=office.database).add([NewListing(number=TO)], source="operator")

    await transaction.rollback()
    await user.close()
    assert (await office.drift()).total == 0


async def test_the_doors_read_no_table_whole_however_small_it_is_believed_to_be(office: Office):
    """Plans are kept, while lists and queues grow by millions within the same session."""
    await office.sql("ANALYZE")
    await office.enqueue(idempotency_key="taken")
    connection = await office.database.connect()
    transaction = connection.transaction()
    await transaction.start()
    calls = [{"account": "acme", "to_number": TO, "idempotency_key": key, "trunk": "main"} for key in ("taken", "new")]
    for _ in range(8):  # the first plans are made for their arguments
        await connection.fetch("SELECT * FROM enqueue_calls($1)", json.dumps(calls))
        await connection.fetch("SELECT is_listed(1, $1)", TO)
    read = await connection.fetch("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0 AND relname <> 'deployment'")
    await transaction.rollback()
    await connection.close()
    assert read == []
