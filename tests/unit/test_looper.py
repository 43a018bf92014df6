"""Loops run for ever: woken, failing or cut off, they go on; stopped or cancelled, they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.errors import DatabaseUnavailable
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics


async def steps(*what: Callable[[], Awaitable[None]]) -> int:
    """Run a loop until it has taken all these steps; how many it took."""
    taken = 0
    looper: Looper

    async def step() -> None:
        nonlocal taken
        taken += 1
        if taken >= len(what):
            looper.stop()
        await what[taken - 1]()

    looper = Looper(name="test", interval_s=0.001, step=step, watch=Metrics())
    async with asyncio.timeout(60):
        await looper.run()
    return taken


async def fine() -> None:
    pass


async def without_a_database() -> None:
    raise DatabaseUnavailable("away")


async def with_a_defect() -> None:
    raise ZeroDivisionError


async def cut_off() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("bad", [without_a_database, with_a_defect, cut_off])
async def test_a_loop_outlives_a_step_that_fails(bad: Callable[[], Awaitable[None]]):
    assert await steps(fine, bad, bad, fine) == 4


async def test_a_loop_that_is_cancelled_ends():
    looper = Looper(name="test", interval_s=60.0, step=fine, watch=Metrics())
    task = asyncio.create_task(looper.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_is_woken_does_not_wait_for_its_interval():
    taken = asyncio.Semaphore(0)

    async def step() -> None:
        taken.release()

    looper = Looper(name="test", interval_s=3600.0, step=step, watch=Metrics())
    task = asyncio.create_task(looper.run())
    async with asyncio.timeout(60):
        await taken.acquire()
        looper.wake()
        await taken.acquire()
    looper.stop()
    async with asyncio.timeout(60):
        await task
