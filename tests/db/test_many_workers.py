"""Many workers on one database: one leads, one takes over what a dead one leaves, and nobody dials on a restored one."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from orchestrator.errors import DatabaseError
from orchestrator.lifecycle import State
from orchestrator.metrics import Metrics
from orchestrator.scheduling.bookkeeping import Bookkeeper
from orchestrator.scheduling.leadership import Leadership
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import Claim, DialForbidden, DialGranted, Gate, WaitingFor
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.upkeep import UpkeepStore
from sip.leg import RoomName
from tests.db.office import HUNG_UP, Office


@pytest.fixture
async def raw(database_url: str):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def successor(office: Office) -> RecoveryStore:
    """A second worker, which may take over what the first one leaves."""
    queue = await office.another_worker()
    return recovery_of(office, queue)


def recovery_of(office: Office, queue: QueueStore) -> RecoveryStore:
    return RecoveryStore(database=office.database, worker_id=queue._worker_id)


async def age_heart(raw: asyncpg.Connection, queue: QueueStore, *, by_s: float) -> None:
    """The worker has not given a sign of life for so long."""
    await raw.execute(
        "UPDATE workers SET heartbeat_at = clock_timestamp() - $2 * interval '1 s' WHERE id = $1", queue._worker_id, by_s
    )


# -- taking over


async def test_only_calls_of_dead_workers_are_stranded(office: Office, successor: RecoveryStore, raw: asyncpg.Connection):
    call = await office.claimed()
    assert await successor.stranded_calls(lease_s=30.0, held=[]) == []
    await age_heart(raw, office.queue, by_s=31.0)
    (found,) = await successor.stranded_calls(lease_s=30.0, held=[])
    assert (found.call_id, found.epoch, found.state) == (call.call_id, call.epoch, State.CLAIMED)


async def test_a_worker_without_a_row_is_dead(office: Office, successor: RecoveryStore, raw: asyncpg.Connection):
    claimed, active = await office.claimed(to="+12125550101"), await office.active(to="+12125550102")
    await raw.execute("DELETE FROM workers WHERE id = $1", office.queue._worker_id)
    found = {call.call_id: call for call in await successor.stranded_calls(lease_s=30.0, held=[])}
    assert set(found) == {claimed.call_id, active.call_id}
    assert await successor.requeue(found[claimed.call_id], lease_s=30.0)
    assert await successor.adopt(found[active.call_id], lease_s=30.0) is not None
    assert await successor.stranded_calls(lease_s=30.0, held=[(active.call_id, active.epoch + 1)]) == []
    assert not (await office.drift()).total


async def test_a_worker_finds_its_own_calls_that_it_does_not_hold(office: Office):
    call = await office.claimed()
    own = recovery_of(office, office.queue)
    assert await own.stranded_calls(lease_s=30.0, held=[(call.call_id, call.epoch)]) == []
    assert [found.call_id for found in await own.stranded_calls(lease_s=30.0, held=[])] == [call.call_id]


async def test_a_call_that_its_worker_dials_at_the_last_moment_is_not_given_back(
    office: Office, successor: RecoveryStore, raw: asyncpg.Connection
):
    call = await office.claimed()
    await age_heart(raw, office.queue, by_s=31.0)
    (found,) = await successor.stranded_calls(lease_s=30.0, held=[])
    assert isinstance(await office.begin(call), DialGranted)
    assert not await successor.requeue(found, lease_s=30.0)
    assert (await office.calls.show(call.call_id)).call.state is State.DIALING


async def test_a_worker_whose_call_was_given_back_does_not_pass_the_gate(
    office: Office, successor: RecoveryStore, raw: asyncpg.Connection
):
    call = await office.claimed()
    await age_heart(raw, office.queue, by_s=31.0)
    assert await successor.requeue(call, lease_s=30.0)
    assert await office.begin(call) is None
    row = (await office.calls.show(call.call_id)).call
    assert (row.state, row.waiting_for) == (State.READY, WaitingFor.SLOT)


@pytest.mark.parametrize("operation", ["requeue", "adopt"])
async def test_a_worker_that_has_come_to_life_again_keeps_its_calls(
    office: Office, successor: RecoveryStore, raw: asyncpg.Connection, operation: str
):
    call = await (office.claimed() if operation == "requeue" else office.active())
    await age_heart(raw, office.queue, by_s=31.0)
    assert await office.workers.heartbeat(office.queue._worker_id, live_calls=1, capacity=100, draining=False)
    assert not await getattr(successor, operation)(call, lease_s=30.0)


async def test_a_sign_of_life_waits_for_who_takes_the_calls_over_and_then_finds_them_lost(
    office: Office, successor: RecoveryStore, raw: asyncpg.Connection
):
    call = await office.active()
    await age_heart(raw, office.queue, by_s=31.0)
    async with raw.transaction():
        assert await raw.fetchval("SELECT adopt_call($1, $2, $3, 30)", call.call_id, call.epoch, successor._worker_id) == 2
        beat = asyncio.create_task(
            office.workers.heartbeat(office.queue._worker_id, live_calls=1, capacity=100, draining=False)
        )
        await asyncio.sleep(0.1)
        assert not beat.done()
    assert await beat
    own = recovery_of(office, office.queue)
    assert await own.lost_claims([(call.call_id, call.epoch)]) == [(call.call_id, call.epoch)]


@pytest.mark.parametrize("state", [State.DIALING, State.RINGING, State.ACTIVE])
async def test_an_adopted_call_has_a_new_epoch_and_all_that_is_known_of_it(
    office: Office, successor: RecoveryStore, raw: asyncpg.Connection, state: State
):
    call = await getattr(office, state.value)()
    await age_heart(raw, office.queue, by_s=31.0)
    adopted = await successor.adopt(call, lease_s=30.0)
    assert adopted is not None
    assert (adopted.call.epoch, adopted.state) == (call.epoch + 1, state)
    assert adopted.room == f"room-{call.call_id}-{call.epoch}"
    assert adopted.granted is not None
    assert adopted.granted.attempt == 1
    assert (adopted.since_ringing_s is not None) == (state is not State.DIALING)
    assert (adopted.since_answer_s is not None) == (state is State.ACTIVE)
    assert adopted.ordered_end is None
    assert await successor.adopt(call, lease_s=0.0) is None, "once"


async def test_after_an_adoption_the_old_workers_writes_fail_and_the_new_ones_end_call_and_dial(
    office: Office, successor: RecoveryStore, raw: asyncpg.Connection
):
    call = await office.active()
    await age_heart(raw, office.queue, by_s=31.0)
    adopted = await successor.adopt(call, lease_s=30.0)
    assert adopted is not None
    assert not (await office.ends.finish(call, HUNG_UP)).ours
    assert not await office.queue.record_order(call, "cancel", {})
    assert (await office.ends.finish(adopted.call, HUNG_UP)).ours
    view = await office.calls.show(call.call_id)
    assert (view.call.state, view.dials[0].spent) == (State.ENDED, True)
    assert (await office.queue.counter_drift()).total == 0
    assert (await office.queue.occupancy()).slots_used == 0


async def test_a_claimed_call_is_not_adopted_and_a_dialled_one_not_given_back(
    office: Office, successor: RecoveryStore, raw: asyncpg.Connection
):
    claimed, dialling = await office.claimed(), await office.dialing(to="+12125550102")
    await age_heart(raw, office.queue, by_s=31.0)
    assert await successor.adopt(claimed, lease_s=30.0) is None
    assert not await successor.requeue(dialling, lease_s=30.0)


async def test_workers_show_capacity_load_and_whether_they_drain(office: Office):
    await office.workers.heartbeat(office.queue._worker_id, live_calls=7, capacity=50, draining=True)
    (worker,) = await office.workers.list()
    assert (worker.live_calls, worker.capacity, worker.draining) == (7, 50, True)


# -- leading


class HandTime:
    """A clock that stands until it is put forward."""

    def __init__(self) -> None:
        self.s = 1000.0

    def now_s(self) -> float:
        return self.s


def leadership(office: Office, queue: QueueStore, time: HandTime, *, ttl_s: float = 30.0) -> Leadership:
    return Leadership(
        store=office.workers,
        worker_id=queue._worker_id,
        name="leadership",
        ttl_s=ttl_s,
        interval_s=1.0,
        metrics=Metrics(),
        now_s=time.now_s,
    )


async def test_one_worker_leads_whatever_the_clocks_of_workers_say(office: Office):
    early, late = HandTime(), HandTime()
    late.s += 3600.0
    first, second = leadership(office, office.queue, early), leadership(office, await office.another_worker(), late)
    for _ in range(3):
        await first._renew()
        await second._renew()
        assert (first.leads, second.leads) == (True, False)


async def test_a_leader_that_cannot_renew_steps_down_before_another_may_lead(office: Office, raw: asyncpg.Connection):
    time = HandTime()
    first, second = leadership(office, office.queue, time), leadership(office, await office.another_worker(), time)
    await first._renew()
    time.s += 24.5
    assert not first.leads
    await second._renew()
    assert not second.leads, "the database's clock has not moved"
    await raw.execute("UPDATE leases SET expires_at = clock_timestamp()")
    await second._renew()
    assert second.leads
    await first._renew()
    assert not first.leads
    assert await raw.fetchval("SELECT term FROM leases") == 2


async def test_a_leader_that_stops_lets_another_lead_at_once(office: Office):
    time = HandTime()
    first, second = leadership(office, office.queue, time), leadership(office, await office.another_worker(), time)
    await first._renew()
    await second._renew()
    await first.resign()
    assert not first.leads
    await second._renew()
    assert second.leads


async def test_a_worker_that_was_deregistered_does_not_lead(office: Office):
    await office.workers.deregister(office.queue._worker_id)
    assert await office.workers.take_lease("leadership", office.queue._worker_id, ttl_s=30.0) is None


async def test_of_many_that_ask_at_once_one_leads(office: Office):
    queues = [office.queue, *[await office.another_worker() for _ in range(7)]]
    terms = await asyncio.gather(*(office.workers.take_lease("sweeping", queue._worker_id, ttl_s=30.0) for queue in queues))
    assert sorted(term is not None for term in terms) == [False] * 7 + [True]


# -- rooms


async def test_rooms_of_live_calls_are_not_lost_and_all_others_of_ours_are(office: Office, raw: asyncpg.Connection):
    upkeep = UpkeepStore(database=office.database)
    claimed = await office.claimed()
    active = await office.active(to="+12125550102")
    ended = await office.active(to="+12125550103")
    await office.ends.finish(ended, HUNG_UP)
    adopted = await office.active(to="+12125550104")
    await age_heart(raw, office.queue, by_s=31.0)
    taken = await recovery_of(office, await office.another_worker()).adopt(adopted, lease_s=30.0)
    assert taken is not None

    def name(call: Claim, *, epoch: int | None = None) -> RoomName:
        return RoomName(f"room-{call.call_id}-{call.epoch if epoch is None else epoch}")

    live = [name(claimed), name(active), name(adopted)]
    lost = [name(ended), name(claimed, epoch=0), RoomName("room-987654321-1"), RoomName("room-probe-0123abcd")]
    assert sorted(await upkeep.lost_rooms([*live, *lost])) == sorted(lost)


# -- counters


async def test_counters_that_are_right_are_left_alone(office: Office, raw: asyncpg.Connection):
    await office.active()
    await office.ready(3, to="+12125550102")
    repairs = await UpkeepStore(database=office.database).repair_counters(lanes=True)
    assert set(repairs.by_kind().values()) == {0}
    assert await raw.fetchval("SELECT count(*) FROM system_events") == 0


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("UPDATE account_slots SET inflight = 7", "inflight"),
        ("UPDATE account_slots SET inbound = 2", "inbound"),
        ("UPDATE trunk_channels SET channels = 0", "channels"),
        ("UPDATE agent_pools SET inflight = 5", "agents"),
        ("UPDATE lanes SET ready = 9", "lanes"),
        ("UPDATE lanes SET has_room = false", "lanes"),
        ("DELETE FROM lanes", "lanes"),
    ],
)
async def test_a_counter_that_is_wrong_is_put_right_and_told(office: Office, raw: asyncpg.Connection, damage: str, kind: str):
    await office.active()
    await office.ready(3, to="+12125550102")
    await raw.execute("UPDATE agent_pools SET capacity = 10, inflight = 1")
    await raw.execute(damage)
    upkeep = UpkeepStore(database=office.database)
    wrong = {name for name, count in (await upkeep.repair_counters(lanes=True)).by_kind().items() if count}
    assert wrong == {kind}
    assert (await office.queue.counter_drift()).total == 0
    assert await raw.fetchval("SELECT inflight FROM agent_pools") == 1
    assert await raw.fetchval("SELECT kind FROM system_events") == "counters_repaired"
    assert set((await upkeep.repair_counters(lanes=True)).by_kind().values()) == {0}


async def test_repairing_under_load_finds_nothing_wrong(office: Office):
    upkeep = UpkeepStore(database=office.database)

    async def work() -> None:
        for _ in range(8):
            for call in await office.queue.claim_calls(2):
                assert isinstance(await office.begin(call), DialGranted)
                await office.queue.record_answer(call, ring_ms=None, ring_error_ms=None, ids={}, detail={})
                await office.ends.finish(call, HUNG_UP)

    for n in range(40):
        await office.enqueue(to=f"+1212555{n:04}")
    await office.stage()
    working = [asyncio.create_task(work()) for _ in range(3)]
    while not all(task.done() for task in working):
        assert set((await upkeep.repair_counters(lanes=True)).by_kind().values()) == {0}
    await asyncio.gather(*working)


async def test_only_the_leader_keeps_the_books(office: Office, raw: asyncpg.Connection):
    time = HandTime()
    leader = leadership(office, office.queue, time)
    books = Bookkeeper(store=UpkeepStore(database=office.database), leadership=leader, metrics=Metrics())
    await raw.execute("UPDATE account_slots SET inflight = 3")
    await books._compare()
    assert await raw.fetchval("SELECT inflight FROM account_slots") == 3
    await leader._renew()
    await books._compare()
    assert await raw.fetchval("SELECT inflight FROM account_slots") == 0


# -- lost commits


async def test_the_first_start_records_the_cluster_and_the_next_ones_find_it(office: Office, raw: asyncpg.Connection):
    cluster = ClusterStore(database=office.database)
    assert (await cluster.describe()).same
    assert await cluster.watch() == ""
    assert await cluster.watch() == ""
    known = await cluster.describe()
    assert known.same
    assert (known.system_identifier, known.timeline) == tuple(
        await raw.fetchrow("SELECT system_identifier, timeline FROM switches")
    )


@pytest.mark.parametrize(
    "other",
    ["UPDATE switches SET system_identifier = '7'", "UPDATE switches SET timeline = '00000007'"],
    ids=["cluster", "timeline"],
)
async def test_on_another_cluster_or_timeline_nothing_is_dialled_until_an_operator_confirms(
    office: Office, raw: asyncpg.Connection, other: str
):
    cluster = ClusterStore(database=office.database)
    await cluster.watch()
    call = await office.claimed()
    await raw.execute(other)
    refused = await office.begin(call)
    assert isinstance(refused, DialForbidden)
    assert refused.gate is Gate.HELD, "the last gate itself notices it, before any heartbeat"
    assert "7" in await cluster.watch()
    await office.ready(to="+12125550102")
    assert await office.queue.claim_calls(1) == []
    assert "7" in await cluster.confirm_restore()
    assert await cluster.confirm_restore() == ""
    assert isinstance(await office.begin(call), DialGranted)
    assert len(await office.queue.claim_calls(1)) == 1
    assert [row["kind"] for row in await raw.fetch("SELECT kind FROM system_events ORDER BY id")] == [
        "restore_noticed",
        "restore_confirmed",
    ]


async def test_a_server_that_keeps_its_identity_secret_is_judged_by_the_rest(office: Office, raw: asyncpg.Connection):
    await raw.execute("DROP ROLE IF EXISTS nosy")
    await raw.execute("CREATE ROLE nosy")
    try:
        await raw.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; GRANT SELECT ON switches TO nosy")
        await raw.execute("SET ROLE nosy")
        identifier, timeline = await raw.fetchrow("SELECT * FROM cluster_identity()")
        assert identifier is None
        assert len(timeline) == 8
        assert await raw.fetchval("SELECT same_cluster()")
    finally:
        await raw.execute("RESET ROLE")
        await raw.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
        await raw.execute("DROP OWNED BY nosy; DROP ROLE nosy")


async def test_a_session_that_forgets_commits_is_refused_and_told_where_it_is_set(office: Office, raw: asyncpg.Connection):
    name = await raw.fetchval("SELECT current_database()")
    await ClusterStore(database=office.database).refuse_lost_commits()
    await raw.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    fresh = Database(office.database._url, min_size=1, max_size=1)
    await fresh.open()
    try:
        with pytest.raises(DatabaseError, match=r"synchronous_commit is off.*ALTER ROLE"):
            await ClusterStore(database=fresh).refuse_lost_commits()
    finally:
        await fresh.close()
