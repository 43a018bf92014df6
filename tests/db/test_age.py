"""What is over leaves, what counts stays; a number can be erased; and nobody can hold our transactions open."""

# ruff: noqa: S608  statements made of constants and numbers

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import BadInput, DatabaseUnavailable
from orchestrator.ids import E164, CallId
from orchestrator.lifecycle import State
from orchestrator.metrics import Metrics
from orchestrator.outcomes import EndReason
from orchestrator.retention import Retention
from orchestrator.settings import Retention as RetentionSettings
from orchestrator.store import pool
from orchestrator.store.age import AgeStore
from orchestrator.store.ends import EndsStore
from orchestrator.store.erasure import ErasureStore
from orchestrator.store.records import Outcome, WaitingFor
from orchestrator.store.views import NewCall
from sip.events import Dialled
from tests.db.office import HUNG_UP, NEVER_DIALLED, TO, Office

OTHER = "+12125550111"
NOBODY = "+9990000000"


async def end_call(office: Office, **fields) -> CallId:
    call = await office.active(**fields)
    assert await finish(office, call, HUNG_UP)
    return call.call_id


async def finish(office: Office, call, outcome) -> bool:
    return (await EndsStore(database=office.database).finish(call, outcome)).ours


async def grow_old(office: Office, *, days: float, calls: list[CallId] | None = None) -> None:
    """Everything that has happened happened so many days earlier."""
    only = "" if calls is None else f" AND id IN ({','.join(map(str, calls))})"
    shift = f"interval '{days} days'"
    await office.sql(
        f"UPDATE calls SET created_at = created_at - {shift}, run_at = run_at - {shift}, expires_at = expires_at - {shift},"
        f" ended_at = ended_at - {shift} WHERE ended_at IS NOT NULL{only}"
    )
    await office.sql(
        f"UPDATE dials SET intent_at = intent_at - {shift}"
        + ("" if calls is None else f" WHERE call_id IN ({','.join(map(str, calls))})")
    )


async def prune(office: Office, **days: int) -> dict[str, int]:
    settings = RetentionSettings(**days)
    before = await counts(office)

    async def no_rest(_duration_s: float) -> None:
        return

    await Retention(store=AgeStore(database=office.database), settings=settings, metrics=Metrics(), sleep=no_rest).prune()
    after = await counts(office)
    return {table: before[table] - after[table] for table in before}


async def counts(office: Office) -> dict[str, int]:
    tables = (
        "calls",
        "attempts",
        "dials",
        "call_events",
        "system_events",
        "workers",
        "caller_id_days",
        "trunk_failures",
        "do_not_call",
        "lanes",
        "routes",
        "agent_pools",
    )
    return {table: (await office.sql(f"SELECT count(*) FROM {table}"))[0][0] for table in tables}


# -- retention


async def test_an_old_call_leaves_with_all_that_belongs_to_it_and_a_younger_one_stays(office):
    old = [await end_call(office), await end_call(office)]
    await grow_old(office, days=91)
    young = await end_call(office)
    waiting = (await office.ready())[0]
    gone = await prune(office)
    assert (gone["calls"], gone["attempts"], gone["dials"]) == (2, 2, 2)
    assert gone["call_events"] > 4
    left = {row[0] for row in await office.sql("SELECT id FROM calls")}
    assert left == {young, waiting}
    assert not left & set(old)
    assert await prune(office) == dict.fromkeys(gone, 0)
    assert not (await office.drift()).total


async def test_a_call_that_waits_since_long_ago_stays_and_does_not_keep_younger_ones_from_leaving(office):
    await office.enqueue(1, run_at=datetime.now(UTC) + timedelta(days=300))
    await office.sql("UPDATE calls SET created_at = created_at - interval '200 days'")
    await end_call(office)
    await grow_old(office, days=100)
    assert (await prune(office, batch=10))["calls"] == 1


async def test_zero_days_keeps_everything(office):
    await end_call(office)
    await grow_old(office, days=4000)
    assert (await prune(office, calls_days=0))["calls"] == 0


async def test_a_call_whose_key_is_younger_than_a_day_stays(office):
    call_id = await end_call(office, idempotency_key="k")
    await office.sql("UPDATE calls SET ended_at = ended_at - interval '2 days', created_at = created_at - interval '23 hours'")
    await office.sql("UPDATE dials SET intent_at = intent_at - interval '2 days'")
    assert (await prune(office, calls_days=1))["calls"] == 0
    (again,) = await office.calls.enqueue([NewCall(account="acme", to=TO, idempotency_key="k")])
    assert (again.call_id, again.created) == (call_id, False)
    await office.sql("UPDATE calls SET created_at = created_at - interval '2 hours'")
    assert (await prune(office, calls_days=1))["calls"] == 1


@pytest.mark.parametrize(
    ("policy", "stays"),
    [
        ("number_gap_s = 864000", True),
        ("number_gap_s = 86400", False),
        ("number_most_dials = 7, number_window_s = 864000", True),
        ("number_most_dials = 7, number_window_s = 86400", False),
        ("number_window_s = 864000", False),
    ],
)
async def test_a_call_stays_while_its_dials_count_in_the_spacing_of_its_account(office, policy, stays):
    await end_call(office)
    await grow_old(office, days=5)
    await office.sql(f"UPDATE accounts SET {policy}")
    assert (await prune(office, calls_days=3))["calls"] == (0 if stays else 1)


async def test_a_call_that_somebody_has_locked_is_passed_by(office):
    first = await end_call(office)
    await end_call(office)
    await grow_old(office, days=100)
    holder = await office.database.connect()
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM calls WHERE id = $1 FOR UPDATE", first)
        assert (await prune(office))["calls"] == 1
        await transaction.rollback()
    finally:
        await holder.close()
    assert (await prune(office))["calls"] == 1


async def test_what_else_is_old_leaves_by_its_own_setting(office):
    await office.sql(
        "INSERT INTO system_events (at, kind) SELECT now() - n * interval '1 day', 'test' FROM generate_series(1, 120) n"
    )
    await office.sql(
        "INSERT INTO caller_id_days (caller_id, day, dials)"
        " SELECT $1, (now() AT TIME ZONE 'UTC')::date - n, 1 FROM generate_series(0, 20) n",
        TO,
    )
    await office.sql(
        "INSERT INTO trunk_failures (trunk_id, at, call_id, to_number, kind, code)"
        " SELECT 1, now() - n * interval '1 hour', n, $1, 'trunk', '503' FROM generate_series(1, 300) n",
        TO,
    )
    await office.sql(
        "INSERT INTO do_not_call (account_id, number_key, to_number, kind, source, expires_at)"
        " SELECT 0, sha256(n::text::bytea), NULL, 'suppression', 't', now() - n * interval '1 d' FROM generate_series(-5, 40) n"
    )
    await office.sql(
        "INSERT INTO do_not_call (account_id, number_key, kind, source) VALUES (0, 'for ever', 'do_not_call', 'test')"
    )
    gone = await prune(office, batch=10)
    assert gone["system_events"] == 31
    assert gone["caller_id_days"] == 12
    assert gone["trunk_failures"] == 300 - 7 * 24 + 1
    assert gone["do_not_call"] == 11


async def test_a_worker_that_is_gone_leaves_unless_a_call_of_it_is_live(office):
    await office.active()
    await office.sql(
        "INSERT INTO workers (name, version, capacity, started_at, heartbeat_at, stopped_at)"
        " SELECT 'old', '1', 1, now() - n * interval '1 day', now() - n * interval '1 day',"
        " CASE WHEN n % 2 = 0 THEN now() - n * interval '1 day' END FROM generate_series(29, 40) n"
    )
    await office.sql("UPDATE workers SET heartbeat_at = now() - interval '50 days' WHERE name = 'one'")
    assert (await prune(office))["workers"] == 11
    assert {row[0] for row in await office.sql("SELECT name FROM workers")} == {"one", "old"}


async def test_a_worker_leaves_although_ended_calls_and_dials_name_it(office):
    call_id = await end_call(office)
    await office.sql("UPDATE workers SET heartbeat_at = now() - interval '50 days'")
    gone = await prune(office)
    assert (gone["workers"], gone["calls"]) == (1, 0)
    assert (await office.calls.show(call_id)).call.state is State.ENDED


# -- what names of agents leave behind


async def idle(office: Office) -> None:
    """No lane has had a call for weeks."""
    await office.sql("UPDATE lanes SET last_claim_at = now() - interval '20 days' WHERE ready = 0")


async def pools(office: Office) -> set[str]:
    """The agents that are known."""
    return {row[0] for row in await office.sql("SELECT name FROM agent_pools")}


async def test_agents_that_were_named_once_leave_with_their_routes_and_lanes(office):
    for n in range(25):
        await end_call(office, agent_name=f"once-{n}")
    await prune(office)
    assert len(await pools(office)) == 25, "they may be asked for again soon"
    await idle(office)
    gone = await prune(office, batch=10)
    assert (gone["lanes"], gone["routes"], gone["agent_pools"]) == (25, 25, 25)
    assert (await prune(office))["routes"] == 0
    await end_call(office, agent_name="once-7")
    assert await pools(office) == {"once-7"}
    assert not (await office.drift()).total


@pytest.mark.parametrize("state", ["ready", "claimed", "active"])
async def test_the_route_of_a_ready_or_live_call_stays(office, state):
    call = await getattr(office, state)()
    await idle(office)
    await prune(office)
    assert await pools(office) == {"agent"}
    assert not (await office.drift()).total
    if state == "claimed":
        assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.SLOT, detail={})
    if state != "active":
        (call,) = await office.queue.claim_calls(10)
        assert await finish(office, call, NEVER_DIALLED)
    else:
        assert await finish(office, call, HUNG_UP)
    await idle(office)
    await prune(office)
    assert await pools(office) == set()


async def test_a_call_that_waits_for_its_time_finds_its_route_again(office):
    call = await office.claimed()
    assert await office.ends.requeue(call, delay_s=3600, waiting_for=WaitingFor.AGENT, detail={})
    await idle(office)
    await prune(office)
    assert await pools(office) == set()
    await office.sql("UPDATE calls SET run_at = now()")
    assert await office.stage() == 1
    assert [found.call_id for found in await office.queue.claim_calls(10)] == [call.call_id]


@pytest.mark.parametrize("what", ["capacity = 3", "paused = true", "absences = 1"])
async def test_an_agent_pool_that_says_something_stays(office, what):
    await end_call(office)
    await office.sql(f"UPDATE agent_pools SET {what}")
    await idle(office)
    gone = await prune(office)
    assert (gone["lanes"], gone["routes"], gone["agent_pools"]) == (1, 1, 0)


async def test_pruning_routes_while_calls_come_and_go_breaks_nothing(office):
    done = False

    async def keep_pruning() -> None:
        while not done:
            await office.sql("SELECT prune_routes(0, 1000)")

    async def work(worker: int) -> None:
        for n in range(20):
            (call_id,) = await office.enqueue(1, agent_name=f"agent-{(n + worker) % 3}", to=f"+1212555{worker:02d}{n:02d}")
            await office.stage()
            for call in await office.queue.claim_calls(5):
                if n % 2 and call.call_id == call_id:
                    assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.SLOT, detail={})
                else:
                    assert await finish(office, call, NEVER_DIALLED)

    pruning = asyncio.create_task(keep_pruning())
    try:
        await asyncio.gather(*(work(worker) for worker in range(3)))
    finally:
        done = True
        await pruning
    await office.stage()
    while calls := await office.queue.claim_calls(50):
        for call in calls:
            assert await finish(office, call, NEVER_DIALLED)
    assert await office.sql("SELECT FROM calls WHERE ended_at IS NULL") == []
    assert not (await office.drift()).total


async def test_retention_stops_when_it_is_not_the_leader_any_more(office):
    for _ in range(3):
        await end_call(office)
    await grow_old(office, days=100)
    asked = []

    def may_run() -> bool:
        asked.append(1)
        return len(asked) == 1

    async def no_rest(_duration_s: float) -> None:
        return

    retention = Retention(
        store=AgeStore(database=office.database),
        settings=RetentionSettings(batch=10),
        metrics=Metrics(),
        may_run=may_run,
        sleep=no_rest,
    )
    retention.settings = RetentionSettings(batch=10, calls_days=1)
    await retention.prune()
    assert len(asked) > 1
    assert (await counts(office))["calls"] in {0, 3}


async def test_pruning_reads_a_batch_each_time_and_never_the_whole_table(office):
    await office.sql("SET session_replication_role = replica")
    await office.sql(
        "INSERT INTO calls (account_id, trunk_group_id, request_digest, to_number, agent_name, state, created_at, run_at,"
        " expires_at, ended_at, end_reason, dialled)"
        " SELECT 1, 1, '', $1, 'a', 'not_connected', t, t, t + interval '1 h', t, 'USER_BUSY', 'yes'"
        " FROM (SELECT now() - interval '100 days' + g * interval '1 min' AS t FROM generate_series(1, 5000) g) s",
        TO,
    )
    connection = await office.database.connect()
    try:
        await connection.execute("ANALYZE calls")
        async with connection.transaction():
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            for _ in range(6):
                row = await connection.fetchrow("SELECT * FROM prune_calls(0, 90, 50)")
                assert row["removed"] == 50
            read = await connection.fetch(
                "SELECT relname, seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables"
                " WHERE relname IN ('calls', 'dials', 'attempts', 'call_events')"
            )
    finally:
        await connection.close()
    by_table = {row["relname"]: row for row in read}
    assert by_table["calls"]["seq_scan"] == 0
    assert (
        by_table["calls"]["idx_tup_fetch"] <= 6 * 50 * 12
    )  # each batch also steps over what the last ones left, not vacuumed yet
    assert all(row["seq_scan"] == 0 for row in read), read


# -- erasing


@pytest.fixture
def erasure(office) -> ErasureStore:
    return ErasureStore(database=office.database, batch=2)


async def number_left(office: Office, number: str) -> dict[str, int]:
    """Rows of every table, by name, that still hold the number's digits anywhere."""
    tables = await office.sql(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"
    )
    found = {}
    for (table,) in tables:
        ((n,),) = await office.sql(f"SELECT count(*) FROM {table} t WHERE strpos(t::text, $1) > 0", number[1:])
        if n:
            found[table] = n
    return found


async def test_an_erased_number_is_nowhere_and_what_happened_stays(office, erasure):
    call = await office.active(
        to=OTHER, metadata='{"phone": "+12125550111"}', headers={"X-To": OTHER}, display_name="Ann", batch=f"b-{OTHER[1:]}"
    )
    assert await finish(
        office,
        call,
        Outcome(
            state=State.ENDED,
            reason=EndReason.USER_HUNG_UP_IN_CALL,
            dialled=Dialled.YES,
            ring_ms=2000,
            talk_ms=5000,
            sip_reason=f"who is {OTHER}",
            evidence={"to": OTHER},
        ),
    )
    await office.sql(
        "INSERT INTO trunk_failures (trunk_id, call_id, to_number, kind, code) VALUES (1, $1, $2, 'trunk', '503')",
        call.call_id,
        OTHER,
    )
    await office.sql("INSERT INTO system_events (kind, detail) VALUES ('test', jsonb_build_object('to', $1::text))", OTHER)
    untouched = await end_call(office)
    assert {"calls", "dials", "trunk_failures", "system_events"} <= set(await number_left(office, OTHER))
    erased = await erasure.erase(E164(OTHER), keep_hash=False)
    assert (erased.calls, erased.trunk_failures, erased.events) == (1, 1, 1)
    assert await number_left(office, OTHER) == {}
    view = await office.calls.show(call.call_id)
    assert view.call.to == NOBODY
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert view.call.outcome.talk_ms == 5000
    assert [event.state for event in view.events if event.state][-1] is State.ENDED
    assert (await office.calls.show(untouched)).call.to == TO
    again = await erasure.erase(E164(OTHER), keep_hash=False)
    assert (again.calls, again.trunk_failures, again.events) == (0, 0, 0)


async def test_calls_that_have_not_ended_are_found_and_left_alone(office, erasure):
    (waiting,) = await office.ready(to=OTHER)
    later = await office.enqueue(2, to=OTHER, run_at=datetime.now(UTC) + timedelta(hours=1))
    await office.enqueue(3)
    assert await erasure.open_calls(E164(OTHER)) == [waiting, *later]
    erased = await erasure.erase(E164(OTHER), keep_hash=False)
    assert (erased.calls, erased.open_calls) == (0, 3)
    assert (await office.calls.show(waiting)).call.to == OTHER


async def test_a_key_that_holds_the_number_outlives_a_day_so_that_a_repeated_request_calls_nobody(office, erasure):
    call_id = await end_call(office, to=OTHER, idempotency_key=f"row 1 {OTHER}")
    erased = await erasure.erase(E164(OTHER), keep_hash=False)
    assert (erased.calls, erased.keys_kept) == (1, 1)
    with pytest.raises(BadInput):
        await office.calls.enqueue([NewCall(account="acme", to=OTHER, idempotency_key=f"row 1 {OTHER}")])
    await office.sql("UPDATE calls SET created_at = created_at - interval '25 hours' WHERE id = $1", call_id)
    assert (await erasure.erase(E164(OTHER), keep_hash=False)).keys_kept == 0
    assert "calls" not in await number_left(office, OTHER)


async def test_the_do_not_call_list_keeps_the_hash_alone_if_asked_and_holds_as_before(office, erasure):
    await office.sql(
        "INSERT INTO do_not_call (account_id, number_key, to_number, kind, reason, source)"
        " SELECT 0, number_key($1), $1, 'do_not_call', 'asked on ' || $1, 'operator'",
        OTHER,
    )
    assert (await erasure.in_use(E164(OTHER))).listed
    await erasure.erase(E164(OTHER), keep_hash=False)
    assert await number_left(office, OTHER) == {"do_not_call": 1}
    assert (await erasure.erase(E164(OTHER), keep_hash=True)).listed_by_hash == 1
    assert await number_left(office, OTHER) == {}
    assert (await erasure.in_use(E164(OTHER))).listed
    assert (await office.sql("SELECT is_listed(1, $1)", OTHER))[0][0]


async def test_numbers_that_we_show_ourselves_are_named_with_their_owners(office, erasure):
    in_use = await erasure.in_use(E164("+12125550199"))
    assert (in_use.accounts, in_use.trunks, in_use.listed) == ((), ("main",), False)


# -- snapshots and open transactions


async def test_the_oldest_snapshot_is_seen_with_its_holder(office):
    age = AgeStore(database=office.database)
    assert (await age.oldest_snapshot()).age_s < 60
    holder = await office.database.connect()
    try:
        await holder.execute("SET application_name = 'report'")
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetchval("SELECT count(*) FROM calls")
            for _ in range(5):
                await office.enqueue()
            seen = await age.oldest_snapshot()
    finally:
        await holder.close()
    assert seen.transactions >= 5
    assert "report" in seen.who
    assert 0 < seen.age_s < 60


async def forget(database: pool.Database) -> None:
    async with database.transaction() as session:
        await session.fetch("deployment")
        await asyncio.sleep(2.5)  # the server's own clock: nothing here can make it run faster
        await session.fetch("deployment")


async def test_a_transaction_of_ours_that_is_left_idle_is_ended_by_the_server(office, monkeypatch):
    connection = await office.database.connect()
    assert await connection.fetchval("SELECT current_setting('idle_in_transaction_session_timeout')") == "30s"
    await connection.close()
    monkeypatch.setattr(pool, "IDLE_IN_TRANSACTION_TIMEOUT_S", 1)
    forgetful = pool.Database(office.database._url, min_size=1, max_size=1)
    await forgetful.open()
    try:
        with pytest.raises(DatabaseUnavailable):
            await forget(forgetful)
        assert await forgetful.fetch("deployment")
    finally:
        await forgetful.close()
