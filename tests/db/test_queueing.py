"""Calls coming in, by Python and by SQL: once, all or none, and nothing impossible."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.calls import CallStore
from orchestrator.store.records import WaitingFor
from orchestrator.store.views import BatchSummary, CallFilter, NewCall
from tests.db.office import BUSY, TO, Office


def call(**fields: Any) -> NewCall:
    return NewCall(**({"account": "acme", "to": TO} | fields))


async def test_a_queued_call_is_stored_as_it_was_asked_for(office: Office):
    run_at = datetime.now(UTC) + timedelta(hours=1)
    (queued,) = await office.calls.enqueue(
        [
            call(
                metadata='{"name": "Zoë", "n": [1, 2]}',
                run_at=run_at,
                expires_at=run_at + timedelta(hours=2),
                batch="spring",
                idempotency_key="line-1",
                priority=-3,
            )
        ]
    )
    assert queued.created
    row = (await office.calls.show(queued.call_id)).call
    assert (row.account, row.to, row.agent_name, row.state) == ("acme", TO, "agent", State.SCHEDULED)
    assert json.loads(row.metadata) == {"name": "Zoë", "n": [1, 2]}
    assert (row.run_at, row.expires_at) == (run_at, run_at + timedelta(hours=2))
    assert (row.batch, row.idempotency_key, row.priority) == ("spring", "line-1", -3)
    assert (row.waiting_for, row.deferrals, row.epoch, row.attempts) == (WaitingFor.SLOT, 0, 0, 0)
    assert (row.trunk, row.caller_id, row.outcome) == (None, None, None)


async def test_a_call_that_says_nothing_of_time_is_due_at_once_and_expires_after_the_stores_patience(office: Office):
    store = CallStore(database=office.database, expires_after_s=120)
    (queued,) = await store.enqueue([call()])
    row = (await office.calls.show(queued.call_id)).call
    assert row.expires_at - row.run_at == timedelta(seconds=120)
    assert row.run_at <= row.created_at


async def test_the_same_key_queues_once(office: Office):
    first = await office.calls.enqueue([call(idempotency_key="a", batch="x"), call(idempotency_key="b")])
    later = datetime.now(UTC) + timedelta(hours=1)
    again = await office.calls.enqueue([call(idempotency_key="b"), call(idempotency_key="a", run_at=later), call()])
    assert [result.created for result in first + again] == [True, True, False, False, True]
    assert [again[1].call_id, again[0].call_id] == [result.call_id for result in first]


async def test_the_same_key_stands_once_in_a_batch_and_for_each_account(office: Office):
    await office.open_account("b")
    results = await office.calls.enqueue(
        [call(idempotency_key="a"), call(idempotency_key="a"), call(account="b", idempotency_key="a")]
    )
    assert [result.created for result in results] == [True, False, True]
    assert results[0].call_id == results[1].call_id != results[2].call_id


OTHERS: list[dict[str, Any]] = [
    {"to": "+12125550101"},
    {"metadata": '{"other": true}'},
    {"agent_name": "another"},
    {"headers": {"X-A": "b"}},
    {"dtmf": "1"},
    {"display_name": "x"},
    {"ring_timeout_s": 20.0},
    {"max_duration_s": 20.0},
    {"caller_id": "+12125550199"},
    {"trunk": "main"},
]


async def test_the_same_key_for_another_call_is_a_conflict_and_queues_nothing(office: Office):
    await office.calls.enqueue([call(idempotency_key="a")])
    for other in OTHERS:
        with pytest.raises(Conflict, match="already stands for call 1"):
            await office.calls.enqueue([call(), call(idempotency_key="a", **other)])
    assert (await office.calls.summary(None)).total == 1


async def test_the_same_batch_twice_at_once_calls_nobody_twice(office: Office, database_url: str):
    """In whatever order: batches that meet wait for each other and do not deadlock."""
    calls = [call(idempotency_key=f"line-{number}") for number in range(1000)]
    orders = (calls, calls[::-1], calls[500:] + calls[:500], calls[499::-1] + calls[:499:-1])
    starter = await asyncpg.connect(database_url)
    transaction = starter.transaction()
    await transaction.start()
    await starter.execute("LOCK TABLE calls IN SHARE MODE")
    batches = [asyncio.create_task(office.calls.enqueue(order)) for order in orders]
    while len(await starter.fetch("SELECT FROM pg_locks WHERE relation = 'calls'::regclass AND NOT granted")) < len(orders):
        await asyncio.sleep(0)
    await transaction.commit()
    await starter.close()
    results = await asyncio.gather(*batches)
    assert sum(result.created for batch in results for result in batch) == 1000
    assert (await office.calls.summary(None)).total == 1000


def refusals() -> list[tuple[dict[str, Any], type[Exception], str]]:
    """What cannot be taken, and what is said of it, from now on: the test may run long after this file was read."""
    return [
        ({"account": "nobody"}, NotFound, "there is no account 'nobody'"),
        ({"trunk": "nowhere"}, NotFound, "there is no trunk 'nowhere'"),
        ({"caller_id": "+12125550142"}, NotFound, "caller id '\\+12125550142' is none of account acme's"),
        ({"to": "2125550100"}, BadInput, "'2125550100' is not an E.164 number"),
        ({"to": "+0125550100"}, BadInput, "not an E.164 number"),
        ({"to": "+1212555010\n"}, BadInput, "not an E.164 number"),
        ({"metadata": "[1]"}, BadInput, "metadata must be a JSON object, not array"),
        ({"metadata": json.dumps({"x": "y" * 65536})}, BadInput, "metadata must be at most 65536 bytes"),
        ({"metadata": "{"}, BadInput, "json"),
        ({"headers": {"X A": "b"}}, BadInput, "headers must have names"),
        ({"headers": {"X-A": "b\r\nVia: evil"}}, BadInput, "headers must not contain line breaks"),
        ({"headers": {"X-A": 1}}, BadInput, "headers must have strings"),
        ({"display_name": "x" * 129}, BadInput, "display_name"),
        ({"dtmf": "12x"}, BadInput, "dtmf"),
        ({"ring_timeout_s": 4.0}, BadInput, "ring_timeout_s must be from 5 to 60, not 4"),
        ({"max_duration_s": 0.0}, BadInput, "max_duration_s"),
        ({"priority": 101}, BadInput, "priority"),
        ({"idempotency_key": ""}, BadInput, "idempotency_key"),
        ({"batch": "x" * 256}, BadInput, "batch"),
        ({"run_at": datetime.now(UTC) - timedelta(hours=1)}, BadInput, "in the past: leave it out"),
        ({"run_at": datetime(2100, 1, 1)}, BadInput, "has no time zone"),  # noqa: DTZ001
        ({"expires_at": datetime.now(UTC) - timedelta(hours=1)}, BadInput, "is not after run_at"),
        (
            {"run_at": datetime.now(UTC) - timedelta(minutes=2), "expires_at": datetime.now(UTC) - timedelta(minutes=1)},
            BadInput,
            "is in the past",
        ),
    ]


async def test_a_call_that_cannot_be_taken_is_refused_with_its_reason_and_queues_nothing(office: Office):
    for fields, kind, says in refusals():
        with pytest.raises(kind, match=says):
            await office.calls.enqueue([call(), call(**fields)])
    assert (await office.calls.summary(None)).total == 0


async def test_the_refusal_in_a_batch_says_which_call_it_is(office: Office):
    with pytest.raises(BadInput, match="call 1002 of 1003: "):
        await office.calls.enqueue([*[call()] * 1001, call(to="x"), call()])
    assert (await office.calls.summary(None)).total == 0


async def test_an_account_without_agent_or_trunk_needs_calls_that_name_them(office: Office):
    await office.open_account("bare", agent_name="", trunk=None)
    with pytest.raises(BadInput, match="names no agent"):
        await office.calls.enqueue([call(account="bare")])
    with pytest.raises(BadInput, match="names no trunk"):
        await office.calls.enqueue([call(account="bare", agent_name="a")])
    await office.calls.enqueue([call(account="bare", agent_name="a", trunk="main")])


async def test_a_run_at_that_is_a_little_past_means_now(office: Office):
    (queued,) = await office.calls.enqueue([call(run_at=datetime.now(UTC) - timedelta(minutes=4))])
    assert await office.stage(10) == 1
    assert await office.state(queued.call_id) is State.READY


# -- the SQL door ------------------------------------------------------------------------------------------------------------


async def test_a_call_is_queued_by_sql(office: Office):
    (row,) = await office.sql(
        "SELECT enqueue_call(account => 'acme', to_number => '+12125550100', metadata => '{\"order\": 7}',"
        " idempotency_key => 'order-7',"
        " batch => 'sql', headers => '{\"X-A\": \"b\"}') AS id"
    )
    stored = (await office.calls.show(row["id"])).call
    assert (stored.to, stored.batch, json.loads(stored.metadata)) == (TO, "sql", {"order": 7})
    assert await office.states(row["id"]) == ["scheduled"]
    await office.stage(10)
    (claimed,) = await office.queue.claim_calls(1)
    assert dict(claimed.headers) == {"X-A": "b"}


async def test_both_doors_share_their_keys(office: Office):
    (queued,) = await office.calls.enqueue([call(idempotency_key="order-7", metadata='{"order":7}')])
    again = "SELECT enqueue_call('acme', '+12125550100', metadata => '{\"order\": %d}', idempotency_key => 'order-7') AS id"
    assert [row["id"] for row in await office.sql(again % 7)] == [queued.call_id]
    with pytest.raises(asyncpg.UniqueViolationError, match="already stands for call"):
        await office.sql(again % 8)


SQL_REFUSALS = [
    ("'nobody', '+12125550100'", "there is no account"),
    ("'acme', '0212 555'", "is not an E.164 number"),
    ("'acme', NULL", "is not an E.164 number"),
    ("NULL, '+12125550100'", "there is no account"),
    ("'acme', '+12125550100', metadata => '[]'", "metadata must be a JSON object"),
    ("'acme', '+12125550100', run_at => now() - interval '1 h'", "in the past"),
    ("'acme', '+12125550100', run_at => 'infinity'", "must be points in time"),
]


async def test_the_sql_door_refuses_what_cannot_be_and_says_why(office: Office):
    for arguments, says in SQL_REFUSALS:
        with pytest.raises(asyncpg.InvalidParameterValueError, match=says):
            await office.sql(f"SELECT enqueue_call({arguments})")
    assert (await office.calls.summary(None)).total == 0


async def test_the_sql_door_is_documented_with_every_parameter(office: Office):
    (row,) = await office.sql(
        "SELECT obj_description(oid) AS text, proargnames AS names FROM pg_proc WHERE proname = 'enqueue_call'"
    )
    for name in row["names"]:
        assert f"\n{name} " in row["text"], name


async def test_the_documented_example_works(office: Office):
    (row,) = await office.sql("SELECT obj_description('enqueue_call'::regproc) AS text")
    (example,) = [line.strip() for line in row["text"].splitlines() if line.strip().startswith("SELECT")]
    assert len(await office.sql(example)) == 1


async def test_queueing_notifies_once_for_a_batch_and_only_when_something_is_new(office: Office, database_url: str):
    heard: list[str] = []
    done = asyncio.Event()
    connection = await asyncpg.connect(database_url)
    await connection.add_listener("orchestrator_queue", lambda *details: heard.append(details[3]))
    await connection.add_listener("done", lambda *_: done.set())
    await office.calls.enqueue([call(idempotency_key=str(number)) for number in range(1500)])
    await office.calls.enqueue([call(idempotency_key=str(number)) for number in range(3)])
    await office.sql("SELECT enqueue_call('acme', '+12125550100') FROM generate_series(1, 20)")
    await office.sql("NOTIFY done")
    await asyncio.wait_for(done.wait(), 10)
    await connection.close()
    assert heard == ["", ""]


# -- looking at calls ---------------------------------------------------------------------------------------------------------


async def test_an_unknown_call_is_not_found(office: Office):
    with pytest.raises(NotFound, match="there is no call 4711"):
        await office.calls.show(4711)
    with pytest.raises(BadInput):
        await office.calls.show(10**30)


async def test_calls_are_listed_newest_first_page_by_page_and_by_every_filter(office: Office):
    await office.open_account("b")
    first = await office.enqueue(3, batch="x")
    second = await office.enqueue(2, account="b", to="+12125550111")
    ended = await office.dialing(batch="x", priority=9)
    assert await office.ends.finish(ended, BUSY)

    async def listed(**wanted: Any) -> list[int]:
        return [row.call_id for row in await office.calls.list_calls(CallFilter(**wanted))]

    everything = [*first, *second, ended.call_id][::-1]
    assert await listed() == everything
    assert await listed(limit=2) == everything[:2]
    assert await listed(limit=2, before=everything[1]) == everything[2:4]
    assert await listed(account="b") == second[::-1]
    assert await listed(batch="x") == [ended.call_id, *first[::-1]]
    assert await listed(to="+12125550111") == second[::-1]
    assert await listed(states=frozenset({State.NOT_CONNECTED})) == [ended.call_id]
    assert await listed(end_reason=EndReason.USER_BUSY) == [ended.call_id]
    assert await listed(account="nobody") == []
    with pytest.raises(BadInput):
        await listed(limit=0)


async def test_a_batch_is_summed_up_by_end_reason(office: Office):
    await office.enqueue(2, batch="x", run_at=datetime.now(UTC) + timedelta(hours=1))
    call = await office.dialing(batch="x")
    assert await office.ends.finish(call, BUSY)
    await office.enqueue(1, batch="y")
    assert await office.calls.summary("x") == BatchSummary(
        total=3, unfinished={State.SCHEDULED: 2}, ended={EndReason.USER_BUSY: 1}
    )
    assert (await office.calls.summary(None)).total == 4
