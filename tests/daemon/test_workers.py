"""Several starts of a worker on one database: each is its own instance, and none repeats what another did."""

from __future__ import annotations

import asyncio
import signal
from urllib.parse import urlsplit

import pytest

from orchestrator.outcomes import EndReason
from sip.events import Dialled
from sip.simulated import callees, scripts
from sip.simulated.scripts import number_of
from tests.daemon.conftest import PATIENCE_S, Plant

pytestmark = pytest.mark.timeout(600)

AREA_CODES = (
    *(201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228),
    *(229, 231, 234, 239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 272, 276, 281, 301),
)
"""Of the United States: nobody is called twice at once, so that each call needs a number of its own."""


async def test_two_daemons_with_one_name_both_run_and_dial_each_call_once(plant: Plant):
    first, second = plant.start_worker(), plant.start_worker()
    for worker in (first, second):
        await asyncio.to_thread(worker.wait_until_ready)
    calls = await plant.enqueue(*(number_of(scripts.TALKS_6_S, area_code=code) for code in AREA_CODES))
    views = [await plant.until_ended(call) for call in calls]
    assert {view.call.end_reason for view in views} == {EndReason.USER_HUNG_UP_IN_CALL}
    assert [len(view.dials) for view in views] == [1] * len(AREA_CODES)
    assert [len(view.attempts) for view in views] == [1] * len(AREA_CODES)
    assert first.process.exit_code is None
    assert second.process.exit_code is None


async def test_a_restart_right_after_a_kill_just_works_and_redials_nobody(plant: Plant):
    killed = plant.start_worker()
    await asyncio.to_thread(killed.wait_until_ready)
    talking, waiting = await plant.enqueue(callees.TALKS_ON, callees.RINGS_OUT)
    await plant.until_state(talking, "active")
    await plant.until_state(waiting, "ringing")
    killed.process.signal(signal.SIGKILL)
    await asyncio.to_thread(killed.process.wait, timeout_s=PATIENCE_S)

    again = plant.start_worker()
    await asyncio.to_thread(again.wait_until_ready)
    (new,) = await plant.enqueue(callees.TALKS_6_S)
    assert (await plant.until_ended(new)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    lost = await plant.until_ended(talking)
    assert lost.call.end_reason is EndReason.LEG_LOST, "its leg died with the process that simulated it"
    assert lost.call.outcome is not None
    assert lost.call.outcome.dialled is Dialled.YES
    assert len(lost.dials) == 1
    rang = await plant.until(waiting, lambda _view: True)
    assert len(rang.dials) == 1, "what may have rung is never dialled again"


async def test_claimed_calls_of_a_killed_worker_are_dialled_by_the_next_one(plant: Plant):
    killed = plant.start_worker()
    await asyncio.to_thread(killed.wait_until_ready)
    (call,) = await plant.enqueue(callees.TALKS_6_S)
    await plant.until(call, lambda view: view.call.epoch > 0)
    killed.process.signal(signal.SIGKILL)
    await asyncio.to_thread(killed.process.wait, timeout_s=PATIENCE_S)
    view = await plant.until(call, lambda _view: True)
    again = plant.start_worker()
    await asyncio.to_thread(again.wait_until_ready)
    if view.call.state.value == "claimed":
        ended = await plant.until_ended(call)
        assert ended.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
        assert len(ended.dials) == 1


async def test_a_worker_that_stood_still_finds_its_calls_taken_over_and_stops_touching_them(plant: Plant):
    stopped = plant.start_worker()
    await asyncio.to_thread(stopped.wait_until_ready)
    (call,) = await plant.enqueue(callees.TALKS_ON, max_duration_s=3600.0)
    await plant.until_state(call, "active")
    stopped.process.signal(signal.SIGSTOP)
    try:
        plant.start_worker()
        # The legs of simulated carriers are their own process's: for the other worker this one is gone.
        lost = await plant.until_ended(call)
    finally:
        stopped.process.signal(signal.SIGCONT)
    assert lost.call.end_reason is EndReason.LEG_LOST
    await asyncio.to_thread(
        stopped.process.wait_until, lambda: stopped.process.says("claim_lost"), what="told of its loss", timeout_s=PATIENCE_S
    )
    (new,) = await plant.enqueue(callees.TALKS_6_S)
    assert (await plant.until_ended(new)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    view = await plant.until(call, lambda _view: True)
    assert view.events[-1] == lost.events[-1], "nothing was written after the end"
    assert len(view.dials) == 1


async def test_when_the_leader_is_killed_another_leads(plant: Plant):
    workers = [plant.start_worker(), plant.start_worker()]
    for worker in workers:
        await asyncio.to_thread(worker.wait_until_ready)
    leaders = await plant.until_one_leads(workers)
    leaders[0].process.signal(signal.SIGKILL)
    left = [worker for worker in workers if worker not in leaders]
    assert await plant.until_one_leads(left) == left


async def test_nothing_is_dialled_on_a_restored_database_until_an_operator_confirms(plant: Plant):
    worker = plant.start_worker()
    await asyncio.to_thread(worker.wait_until_ready)
    await plant.execute("UPDATE switches SET timeline = '00000007'")
    await asyncio.to_thread(
        worker.process.wait_until, lambda: worker.process.says("dialling_held"), what="told of it", timeout_s=PATIENCE_S
    )
    (call,) = await plant.enqueue(callees.TALKS_6_S)
    await plant.until_state(call, "ready")
    await asyncio.to_thread(
        worker.process.wait_until, lambda: worker.metric("dialling_held") == 1, what="held", timeout_s=PATIENCE_S
    )
    assert (await plant.until(call, lambda _view: True)).dials == ()
    await plant.execute("SELECT confirm_restore()")
    assert (await plant.until_ended(call)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL


async def test_a_daemon_does_not_start_on_a_database_that_forgets_commits(plant: Plant):
    await plant.execute(f"ALTER DATABASE {urlsplit(plant.url).path.lstrip('/')} SET synchronous_commit = off")
    worker = plant.start_worker()
    assert await asyncio.to_thread(worker.process.wait, timeout_s=PATIENCE_S) != 0
    assert worker.process.says("synchronous_commit is off")
