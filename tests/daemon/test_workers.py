"""Several starts of a worker on one database: each is its own instance, and none repeats what another did."""

from __future__ import annotations

import asyncio
import signal

from orchestrator.outcomes import EndReason
from sip.leg import Dialled
from sip.simulated import callees
from tests.daemon.conftest import Plant


async def test_two_daemons_with_one_name_both_run_and_dial_each_call_once(plant: Plant):
    first, second = plant.start_worker(), plant.start_worker()
    for worker in (first, second):
        await asyncio.to_thread(worker.wait_until_ready)
    calls = await plant.enqueue(*[callees.TALKS_6_S] * 40)
    views = [await plant.until_ended(call) for call in calls]
    assert {view.call.end_reason for view in views} == {EndReason.USER_HUNG_UP_IN_CALL}
    assert [len(view.dials) for view in views] == [1] * 40
    assert [len(view.attempts) for view in views] == [1] * 40
    assert first.process.exit_code is None
    assert second.process.exit_code is None


async def test_a_restart_right_after_a_kill_just_works_and_redials_nobody(plant: Plant):
    killed = plant.start_worker()
    await asyncio.to_thread(killed.wait_until_ready)
    talking, waiting = await plant.enqueue(callees.TALKS_ON, callees.RINGS_OUT)
    await plant.until_state(talking, "active")
    await plant.until_state(waiting, "ringing")
    killed.process.signal(signal.SIGKILL)
    await asyncio.to_thread(killed.process.wait, timeout_s=10)

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
    await asyncio.to_thread(killed.process.wait, timeout_s=10)
    view = await plant.until(call, lambda _view: True)
    again = plant.start_worker()
    await asyncio.to_thread(again.wait_until_ready)
    if view.call.state.value == "claimed":
        ended = await plant.until_ended(call)
        assert ended.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
        assert len(ended.dials) == 1
