"""A trunk or an agent pool that fails whole calls is left alone for a while, and no call is lost by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.policy import Circuit, CircuitStatus
from orchestrator.store.pool import Database
from orchestrator.store.records import WaitingFor
from orchestrator.store.trunks import TrunkStore
from sip.simulated import callees
from sip.simulated.scripts import CREDENTIALS_REFUSED, WRONG_NUMBER, number_of
from tests.fixtures.orchestra import PATIENCE_S, Orchestra

AREA_CODES = (201, 202, 203, 205, 206, 207, 208, 209)


async def sql(database: Database, query: str) -> list[Any]:
    connection = await database.connect()
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


@pytest.fixture
def trunk(database: Database) -> Callable[[], Awaitable[CircuitStatus]]:
    async def circuit() -> CircuitStatus:
        return (await TrunkStore(database=database).get("main")).circuit

    return circuit


@pytest.fixture
async def pool(orchestra: Orchestra, database: Database) -> Callable[[], Awaitable[CircuitStatus]]:
    agents = AgentPoolStore(database=database)
    await agents.set_capacity("nobody", None)

    async def circuit() -> CircuitStatus:
        return (await agents.get("nobody")).circuit

    return circuit


async def until(circuit: Callable[[], Awaitable[CircuitStatus]], *states: Circuit) -> CircuitStatus:
    """The patience only bounds a failing test."""
    async with asyncio.timeout(PATIENCE_S):
        while (status := await circuit()).state not in states:
            await asyncio.sleep(0.01)
    return status


async def test_a_trunk_that_knows_no_number_is_paused_and_condemns_none(orchestra: Orchestra, database: Database, trunk):
    good = await orchestra.enqueue(to=callees.TALKS_6_S)
    await orchestra.wait_until_ended(good)
    calls = [await orchestra.enqueue(to=number_of(WRONG_NUMBER, area_code=code)) for code in AREA_CODES]
    for call in calls:
        assert (await orchestra.wait_until_ended(call)).call.end_reason is EndReason.SIP_FAILED_WRONG_NUMBER
    status = await until(trunk, Circuit.OPEN)
    assert status.why == "8 numbers in a row ended with 404"
    assert await sql(database, "SELECT * FROM do_not_call") == []
    await orchestra.nothing_is_held()


async def test_a_trunk_that_refuses_everybody_is_paused_while_calls_wait_and_then_tried_by_one(
    orchestra: Orchestra, database: Database, carrier, trunk
):
    calls = [await orchestra.enqueue(to=number_of(CREDENTIALS_REFUSED, area_code=code)) for code in AREA_CODES[:5]]
    await until(trunk, Circuit.OPEN)
    waiting = await orchestra.enqueue(to=callees.TALKS_6_S)
    await orchestra.wait_until(waiting, State.READY.value)
    await orchestra.switchboard.wait_until_empty()
    dials = len(carrier.ledger)
    await asyncio.sleep(0.3)
    assert len(carrier.ledger) == dials
    for call in calls:
        await orchestra.calls.request_cancel(call)
    await sql(database, "UPDATE trunk_channels SET circuit_until = clock_timestamp()")
    ended = await orchestra.wait_until_ended(waiting)
    assert ended.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert (await trunk()).state is Circuit.CLOSED
    for call in calls:
        assert (await orchestra.row(call)).state is State.CANCELED


async def test_without_agents_no_room_is_made_again_and_again_and_the_calls_wait_for_one(orchestra: Orchestra, carrier, pool):
    calls = [await orchestra.enqueue(to=callees.TALKS_6_S, agent_name="nobody") for _ in range(4)]
    assert "times in a row" in (await until(pool, Circuit.OPEN)).why
    await orchestra.switchboard.wait_until_empty()
    rows = [await orchestra.row(call) for call in calls]
    assert {row.state for row in rows} <= {State.READY, State.SCHEDULED}
    assert {row.waiting_for for row in rows} == {WaitingFor.AGENT}
    assert {row.attempts for row in rows} == {0}
    deferrals = sum(row.deferrals for row in rows)
    await asyncio.sleep(0.5)
    assert sum([(await orchestra.row(call)).deferrals for call in calls]) == deferrals
    assert carrier.ledger == []
    await orchestra.nothing_is_held()
