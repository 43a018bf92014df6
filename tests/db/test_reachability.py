"""A database that is away is said to be away, without secrets, and is used again when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from orchestrator.errors import BadInput, DatabaseUnavailable
from orchestrator.ids import CallId
from orchestrator.store.calls import CallStore
from orchestrator.store.listener import Listener
from orchestrator.store.pool import Contended, Database, own_errors
from orchestrator.store.queue import QueueStore
from orchestrator.store.switches import SwitchStore
from orchestrator.store.views import CallFilter
from orchestrator.store.workers import WorkerStore
from tests.db.office import Office
from tests.fixtures.database import with_database


async def hang_up_all(url: str) -> None:
    """What a restart of the server does to everybody who is connected."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


async def test_a_database_that_is_away_at_the_start_is_unavailable_and_can_be_opened_later(database_url: str):
    for url in ("postgresql://someone:hunter2@127.0.0.1:1/none", with_database(database_url, "no_such_database")):
        away = Database(url)
        with pytest.raises(DatabaseUnavailable) as refusal:
            await away.open()
        assert "hunter2" not in f"{refusal.value} {refusal.value!r} {away!r}"
        with pytest.raises(DatabaseUnavailable):
            await CallStore(database=away).list_calls(CallFilter())
        await away.close()
    database = Database(database_url)
    await database.open()
    await database.open()
    assert await WorkerStore(database=database).deployment_id()
    await database.close()


async def test_an_operation_in_flight_when_the_database_goes_away_is_unavailable_and_the_next_one_works(
    office: Office, database_url: str
):
    (call_id,) = await office.enqueue()
    locker = await asyncpg.connect(database_url)
    transaction = locker.transaction()
    await transaction.start()
    await locker.execute("LOCK TABLE calls")
    waiting = asyncio.create_task(office.calls.show(call_id))
    while not await locker.fetch(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ):
        await asyncio.sleep(0)
    await hang_up_all(database_url)
    with pytest.raises(DatabaseUnavailable):
        await waiting
    locker.terminate()
    assert (await office.calls.show(call_id)).call.call_id == call_id


async def test_idle_connections_that_were_cut_are_replaced(office: Office, database_url: str):
    for _ in range(3):
        await hang_up_all(database_url)
        for _ in range(12):
            try:
                await office.queue.occupancy()
            except DatabaseUnavailable:
                continue
        assert await office.queue.occupancy()


async def test_a_statement_that_takes_too_long_is_unavailable(database_url: str):
    database = Database(database_url, min_size=1, max_size=1, command_timeout_s=1.0)
    await database.open()
    locker = await asyncpg.connect(database_url)
    transaction = locker.transaction()
    await transaction.start()
    await locker.execute("LOCK TABLE calls")
    with pytest.raises(DatabaseUnavailable):
        await CallStore(database=database).list_calls(CallFilter())
    await transaction.rollback()
    await locker.close()
    assert await CallStore(database=database).list_calls(CallFilter()) == []
    await database.close()


async def test_no_free_connection_in_time_is_unavailable(database_url: str):
    database = Database(database_url, min_size=1, max_size=1, command_timeout_s=1.0)
    await database.open()
    async with database.session():
        with pytest.raises(DatabaseUnavailable):
            await CallStore(database=database).list_calls(CallFilter())
    await database.close()


async def test_a_transaction_that_raises_leaves_nothing(office: Office):
    async def half() -> None:
        async with office.database.transaction() as session:
            await session.fetch("register_worker", "three", "1", 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await half()
    assert [worker.name for worker in await office.workers.list()] == ["one"]


async def test_a_call_id_that_no_database_holds_is_bad_input(office: Office):
    with pytest.raises(BadInput):
        await office.calls.show(CallId(2**63))


# -- the listener -------------------------------------------------------------------------------------------------------------


class Ear:
    """A running listener, and what it called."""

    def __init__(self, url: str) -> None:
        self.queue = asyncio.Event()
        self.cancels: asyncio.Queue[CallId | None] = asyncio.Queue()
        self.stopped = asyncio.Event()
        self.listener = Listener(url, on_queue=self.queue.set, on_cancel=self.cancels.put_nowait, on_stop=self.stopped.set)


@pytest.fixture
async def ear(database_url: str) -> AsyncIterator[Ear]:
    ear = Ear(database_url)
    task = asyncio.create_task(ear.listener.run())
    async with asyncio.timeout(60):
        await ear.listener.wait_until_connected()
        assert await ear.cancels.get() is None
    yield ear
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ear.listener.connected


async def test_new_calls_and_cancels_are_heard(office: Office, ear: Ear):
    async with asyncio.timeout(60):
        await ear.queue.wait()
        ear.queue.clear()
        await office.enqueue(3)
        await ear.queue.wait()
        call = await office.claimed()
        await office.calls.request_cancel(call.call_id)
        assert await ear.cancels.get() == call.call_id


async def test_the_kill_switch_and_a_hold_are_heard(office: Office, ear: Ear):
    switches = SwitchStore(database=office.database)
    for throw in (switches.stop, switches.hold):
        ear.stopped.clear()
        await throw("fire")
        async with asyncio.timeout(60):
            await ear.stopped.wait()


async def test_a_listener_that_was_cut_off_says_so_and_comes_back_and_makes_everybody_look(
    office: Office, ear: Ear, database_url: str
):
    async with asyncio.timeout(60):
        await ear.queue.wait()
        ear.queue.clear()
        await hang_up_all(database_url)
        assert await ear.cancels.get() is None
        await ear.queue.wait()
        assert ear.listener.connected
        ear.queue.clear()
        await office.sql("NOTIFY orchestrator_queue")
        await ear.queue.wait()


async def test_a_listener_without_a_database_goes_on_trying():
    ear = Ear("postgresql://someone:hunter2@127.0.0.1:1/none")
    task = asyncio.create_task(ear.listener.run())
    done, _ = await asyncio.wait([task], timeout=0.5)
    assert not done
    assert not ear.listener.connected
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- what others hold


@pytest.mark.parametrize(
    "error",
    [asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError],
    ids=lambda e: e.sqlstate,
)
def test_what_was_rolled_back_for_another_s_sake_is_to_be_asked_again(error: type[asyncpg.PostgresError]):
    with pytest.raises(DatabaseUnavailable, match="ask again"), own_errors():
        raise error("in the way")


async def test_a_write_that_waits_too_long_for_a_row_raises_what_callers_ask_again_for(office: Office, database_url: str):
    call = await office.dialing()
    ((name,),) = await office.sql("SELECT current_database()")
    await office.sql(f"ALTER DATABASE \"{name}\" SET lock_timeout = '100ms'")
    impatient = Database(database_url, min_size=1, max_size=1)
    await impatient.open()
    queue = QueueStore(database=impatient, worker_id=office.queue._worker_id)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM calls WHERE id = $1 FOR UPDATE", call.call_id)
            with pytest.raises(Contended):
                await queue.record_ringing(call, pdd_ms=800, detail={})
        assert await queue.record_ringing(call, pdd_ms=800, detail={})
    finally:
        await other.close()
        await impatient.close()
