"""A daemon outlives its database: down at the start, gone in the middle, back again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.outcomes import EndReason
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrations import migrate
from orchestrator.store.pool import Database
from sip.simulated import callees
from tests.daemon.conftest import PATIENCE_S, Plant

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server of this test's own, not running yet."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def plant(server: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Plant]:
    plant = Plant(url=await server.start(), directory=tmp_path)
    await migrate(Database(plant.url))
    await plant.furnish()
    try:
        yield plant
    finally:
        await server.start()
        await asyncio.to_thread(plant.stop)


async def test_a_daemon_waits_for_a_database_that_is_down_at_its_start_and_says_so(plant: Plant, server: EmbeddedPostgres):
    await server.stop()
    worker = plant.start_worker()
    await asyncio.to_thread(
        worker.process.wait_until, lambda: worker.process.says("database_unavailable"), what="told", timeout_s=PATIENCE_S
    )
    assert await asyncio.to_thread(worker.status, "/readyz") == 503
    assert await asyncio.to_thread(worker.status, "/healthz") == 200
    await server.start()
    await asyncio.to_thread(worker.wait_until_ready)
    (call,) = await plant.enqueue(callees.TALKS_6_S)
    assert (await plant.until_ended(call)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL


async def test_conversations_outlive_the_database_and_are_written_when_it_is_back(plant: Plant, server: EmbeddedPostgres):
    worker = plant.start_worker()
    await asyncio.to_thread(worker.wait_until_ready)
    talking, ringing = await plant.enqueue(callees.TALKS_8_S, callees.RINGS_OUT)
    await plant.until_state(talking, "active")
    await plant.until_state(ringing, "ringing")
    await server.stop()
    await asyncio.to_thread(
        worker.process.wait_until, lambda: worker.process.says("write_postponed"), what="waiting to write", timeout_s=PATIENCE_S
    )
    assert await asyncio.to_thread(worker.status, "/healthz") == 200, "a restart would end live conversations"
    await server.start()
    talked = await plant.until_ended(talking)
    assert talked.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert talked.call.outcome is not None
    assert talked.call.outcome.talk_ms is not None
    assert 7_000 <= talked.call.outcome.talk_ms <= 10_000, "as long as it was, not as long as it took to write"
    assert (await plant.until_ended(ringing)).call.end_reason is EndReason.USER_DID_NOT_PICK_UP
    (new,) = await plant.enqueue(callees.TALKS_6_S)
    assert (await plant.until_ended(new)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
