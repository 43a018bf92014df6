"""Who is claimed next, and who is not: shares, weights, limits, trunks, pace."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from orchestrator.lifecycle import State
from orchestrator.store.policy import NewTrunk, TrunkChange
from orchestrator.store.pool import Statements
from orchestrator.store.records import ClaimedCall, WaitingFor
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.views import NewCall
from tests.db.office import BUSY, Office


def by_account(calls: list[ClaimedCall]) -> dict[str, int]:
    return dict(sorted(Counter(call.account for call in calls).items()))


def by_trunk(calls: list[ClaimedCall]) -> dict[str, int]:
    return dict(sorted(Counter(call.trunk.name for call in calls).items()))


async def test_a_claimed_call_carries_all_that_is_needed_to_conduct_it(office: Office):
    await office.trunks.update("main", TrunkChange(patterns=(("no credit", "trunk_auth"),), busy_means_declined=True))
    await office.change_account("acme", allowed_countries=("US", "CA"), caller_ids=("+12125550177",), trust_agent_leave=True)
    await office.ready(
        1,
        to="+12125550123",
        metadata='{"order": 7}',
        headers={"X-Order": "7"},
        dtmf="w1",
        display_name="Acme",
        ring_timeout_s=20.0,
        caller_id="+12125550199",
    )
    (call,) = await office.queue.claim_calls(20)
    assert (call.account, call.to, call.agent_name, call.epoch) == ("acme", "+12125550123", "agent", 1)
    assert (call.metadata, dict(call.headers), call.dtmf, call.display_name) == ('{"order": 7}', {"X-Order": "7"}, "w1", "Acme")
    assert (call.ring_timeout_s, call.max_duration_s) == (20.0, 3600.0), "the call's, else the account's"
    assert (call.caller_id, call.account_caller_ids) == ("+12125550199", ("+12125550177",))
    assert (call.country, call.allowed_countries, call.trust_agent_leave) == ("US", ("US", "CA"), True)
    assert (call.trunk.name, call.trunk.sip_trunk_id, call.trunk.caller_ids) == ("main", "ST_main", ("+12125550199",))
    assert (call.trunk.patterns, call.trunk.busy_means_declined) == ((("no credit", "trunk_auth"),), True)
    assert call.waiting_for is WaitingFor.SLOT
    assert 0 <= call.enqueued_to_claim_s < 60


async def test_queued_calls_wait_for_staging_and_for_their_time(office: Office):
    await office.enqueue(2)
    await office.enqueue(1, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert await office.queue.claim_calls(20) == []
    assert await office.queue.next_due_in_s() == 0
    assert await office.stage(10) == 2
    assert await office.stage(10) == 0
    due_in_s = await office.queue.next_due_in_s()
    assert due_in_s is not None
    assert 3500 < due_in_s <= 3600
    assert len(await office.queue.claim_calls(20)) == 2
    assert await office.queue.claim_calls(20) == []


async def test_the_account_of_lowest_share_goes_first(office: Office):
    for name in ("b", "c"):
        await office.open_account(name, max_concurrent=100)
    await office.change_account("acme", max_concurrent=100)
    await office.ready(30)
    assert by_account(await office.queue.claim_calls(6)) == {"acme": 6}
    await office.ready(30, account="b")
    await office.ready(30, account="c")
    assert by_account(await office.queue.claim_calls(10)) == {"b": 5, "c": 5}
    assert by_account(await office.queue.claim_calls(5)) == {"acme": 1, "b": 2, "c": 2}


async def test_weights_divide_the_slots(office: Office):
    await office.open_account("heavy", max_concurrent=100, weight=3.0)
    await office.change_account("acme", max_concurrent=100)
    await office.ready(60)
    await office.ready(60, account="heavy")
    assert by_account(await office.queue.claim_calls(20)) == {"acme": 5, "heavy": 15}


async def test_an_account_at_its_limit_holds_nobody_up(office: Office):
    await office.open_account("b", max_concurrent=100)
    await office.change_account("acme", max_concurrent=3)
    await office.ready(50)
    await office.ready(5, account="b")
    assert by_account(await office.queue.claim_calls(20)) == {"acme": 3, "b": 5}
    assert await office.queue.claim_calls(20) == []


async def test_reserved_slots_stay_free_and_a_paused_account_waits(office: Office):
    await office.open_account("b")
    await office.change_account("acme", reserved=7)
    await office.change_account("b", paused=True)
    await office.ready(20)
    await office.ready(20, account="b")
    assert by_account(await office.queue.claim_calls(20)) == {"acme": 3}
    await office.change_account("b", paused=False)
    assert by_account(await office.queue.claim_calls(20)) == {"b": 10}


async def test_a_limit_lowered_later_takes_effect_as_calls_end_and_a_raised_one_at_once(office: Office):
    await office.ready(30)
    claimed = await office.queue.claim_calls(10)
    await office.change_account("acme", max_concurrent=2)
    for call in claimed[:8]:
        assert await office.finish(call, BUSY)
        assert await office.queue.claim_calls(20) == []
    assert await office.finish(claimed[8], BUSY)
    assert len(await office.queue.claim_calls(20)) == 1
    await office.change_account("acme", max_concurrent=5)
    assert len(await office.queue.claim_calls(20)) == 3


async def test_within_an_account_priority_goes_first_and_then_the_longer_due(office: Office):
    now = datetime.now(UTC)
    (late,) = await office.enqueue(1, run_at=now - timedelta(seconds=10))
    (early,) = await office.enqueue(1, run_at=now - timedelta(seconds=20))
    (urgent,) = await office.enqueue(1, priority=5)
    assert await office.stage(10) == 3
    ids = []
    for _ in range(3):
        (call,) = await office.queue.claim_calls(1)
        ids.append(call.call_id)
    assert ids == [urgent, early, late]


async def test_calls_of_one_moment_go_in_the_order_in_which_they_were_queued(office: Office):
    calls = [NewCall(account="acme", to="+12125550100", idempotency_key=f"line-{number}") for number in range(12)]
    queued = [result.call_id for result in await office.calls.enqueue(calls)]
    await office.stage(100)
    claimed = [(await office.queue.claim_calls(1))[0].call_id for _ in range(10)]
    assert claimed == queued[:10]


async def test_a_full_trunk_holds_up_its_own_lanes_only(office: Office):
    await office.trunks.create(NewTrunk(name="small", sip_trunk_id="ST_2", max_channels=2, max_cps=1000.0))
    await office.ready(5, trunk="small")
    await office.ready(5)
    taken = await office.queue.claim_calls(20) + await office.queue.claim_calls(20)
    assert by_trunk(taken) == {"main": 5, "small": 2}
    assert await office.queue.claim_calls(20) == []
    assert await office.finish(next(call for call in taken if call.trunk.name == "small"), BUSY)
    assert by_trunk(await office.queue.claim_calls(20)) == {"small": 1}


async def test_trunks_of_a_group_fill_by_position_and_overflow(office: Office):
    for name in ("first", "second"):
        await office.trunks.create(NewTrunk(name=name, sip_trunk_id=f"ST_{name}", max_channels=3, max_cps=1000.0))
    await office.sql("""
        WITH g AS (INSERT INTO trunk_groups (name) VALUES ('both') RETURNING id)
        INSERT INTO trunk_group_members SELECT g.id, t.id, CASE t.name WHEN 'first' THEN 1 ELSE 2 END
          FROM g, trunks t WHERE t.name IN ('first', 'second')""")
    await office.ready(5, trunk="both")
    assert by_trunk(await office.queue.claim_calls(20)) == {"first": 3, "second": 2}


async def test_a_trunk_gives_no_more_dials_than_its_pace_within_the_horizon(office: Office):
    await office.trunks.create(NewTrunk(name="slow", sip_trunk_id="ST_s", max_channels=100, max_cps=3.0, dial_slack_ms=0))
    await office.ready(10, trunk="slow")
    assert len(await office.queue.claim_calls(20)) == 3


async def test_a_disabled_trunk_gives_nothing(office: Office):
    await office.ready(3)
    await office.trunks.update("main", TrunkChange(enabled=False))
    assert await office.queue.claim_calls(20) == []
    await office.trunks.update("main", TrunkChange(enabled=True))
    assert len(await office.queue.claim_calls(20)) == 3


async def test_a_locked_account_is_passed_over_and_nothing_waits(office: Office, database_url: str):
    await office.open_account("b")
    await office.ready(5)
    await office.ready(5, account="b")
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM account_slots WHERE account_id = 1 FOR UPDATE")
    async with asyncio.timeout(60):
        assert by_account(await office.queue.claim_calls(20)) == {"b": 5}
        assert await office.queue.claim_calls(20) == []
        await office.enqueue(1)
        assert await office.stage(10) == 0
    await transaction.rollback()
    await other.close()
    assert await office.stage(10) == 1
    assert by_account(await office.queue.claim_calls(20)) == {"acme": 6}


async def test_queueing_does_not_wait_for_the_rows_that_the_claim_locks(office: Office, database_url: str):
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM account_slots, trunk_channels FOR UPDATE")
    async with asyncio.timeout(60):
        await office.enqueue(3)
    await transaction.rollback()
    await other.close()


async def test_a_lane_that_fills_while_a_call_of_its_account_ends_does_not_sleep(office: Office, database_url: str):
    """Why finish is a function: staging holds the account, finish waits for it, and must then see the new lane."""
    await office.trunks.create(NewTrunk(name="other", sip_trunk_id="ST_o", max_channels=5, max_cps=1000.0))
    await office.change_account("acme", max_concurrent=1)
    call = await office.claimed()
    (other_id,) = await office.enqueue(1, trunk="other")
    await office.sql("SELECT make_routes(ARRAY[$1::bigint])", other_id)
    staging = await asyncpg.connect(database_url)
    transaction = staging.transaction()
    await transaction.start()
    stage = Statements().text("stage_calls")
    now = datetime.now(UTC)
    always = [[now - timedelta(days=1)], [now + timedelta(days=1)], [1], ["UTC"], [""]]
    assert await staging.fetchval(stage, [other_id], *always) == 1
    ending = asyncio.create_task(office.finish(call, BUSY))
    while not await office.sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"):
        await asyncio.sleep(0)
    await transaction.commit()
    assert await ending
    await staging.close()
    assert len(await office.queue.claim_calls(20)) == 1
    assert (await office.drift()).total == 0


async def test_a_requeued_call_frees_everything_and_comes_back(office: Office):
    call = await office.claimed()
    assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.AGENT, detail={"why": "no agent"})
    assert await office.held() == (0, 0)
    (again,) = await office.queue.claim_calls(20)
    assert (again.call_id, again.epoch, again.deferrals, again.waiting_for) == (call.call_id, 2, 1, WaitingFor.AGENT)
    assert await office.ends.requeue(again, delay_s=3600, waiting_for=WaitingFor.MEDIA_SERVER, detail={})
    assert await office.state(call.call_id) is State.SCHEDULED
    assert await office.stage(10) == 0
    assert await office.held() == (0, 0)
    assert await office.states(call.call_id) == ["scheduled", "ready", "claimed", "ready", "claimed", "scheduled"]
    assert (await office.drift()).total == 0


@pytest.mark.parametrize("stage", ["ringing", "active"])
async def test_a_call_that_rang_is_never_put_back(office: Office, stage: str):
    call = await getattr(office, stage)()
    assert not await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.SLOT, detail={})
    assert (await office.state(call.call_id)).value == stage
    assert await office.held() == (1, 1)


async def test_stranded_calls_are_those_of_dead_workers_and_ones_own(office: Office):
    (worker,) = await office.workers.list()
    recovery = RecoveryStore(database=office.database, worker_id=worker.id)
    mine = await office.claimed()
    other = await office.another_worker()
    await office.ready(1)
    (theirs,) = await other.claim_calls(1)
    assert await office.begin(theirs) is not None
    assert [call.call_id for call in await recovery.stranded_calls(lease_s=60, held=[])] == [mine.call_id]
    await office.sql("UPDATE workers SET heartbeat_at = now() - interval '61 s' WHERE name = 'two'")
    stranded = {call.call_id: call for call in await recovery.stranded_calls(lease_s=60, held=[])}
    assert stranded.keys() == {mine.call_id, theirs.call_id}
    assert stranded[mine.call_id].state is State.CLAIMED
    assert stranded[theirs.call_id].state is State.DIALING
    assert await office.finish(stranded[theirs.call_id], BUSY)
    assert (await office.drift()).total == 0


async def test_a_call_that_is_queued_while_the_claim_waits_is_claimed_and_returned(office: Office):
    await office.ready(1)
    holder = await office.database.connect()
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT pg_advisory_xact_lock(7300, id) FROM trunk_groups")
    claiming = asyncio.create_task(office.queue.claim_calls(1))
    async with asyncio.timeout(60):
        while not await office.sql(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            await asyncio.sleep(0.01)
    (urgent,) = await office.ready(1, priority=10)
    await transaction.rollback()
    await holder.close()
    assert [call.call_id for call in await claiming] == [urgent], "claimed calls that nobody is told of have no conductor"
