"""A daemon that is told to stop lets calls finish, and hangs up when told again."""

from __future__ import annotations

import asyncio
import signal

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from tests.e2e.daemon import Daemon, number

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit"), pytest.mark.timeout(600)]

TALKS_6_S, TALKS_ON, SERIES = 21, 30, 2


async def test_the_first_signal_drains_and_the_second_hangs_up(daemon: Daemon) -> None:
    async with daemon.desk() as desk:
        finishes = await desk.enqueue(number(TALKS_6_S, series=SERIES))
        goes_on = await desk.enqueue(number(TALKS_ON, series=SERIES))
        await asyncio.gather(*(desk.until(call_id, State.ACTIVE) for call_id in (finishes, goes_on)))

        daemon.process.signal(signal.SIGTERM)
        async with asyncio.timeout(90):
            while not daemon.process.says("worker_stopping"):
                await asyncio.sleep(0.05)
        too_late = await desk.enqueue(number(TALKS_6_S, series=SERIES + 1))
        finished = await desk.until_ended(finishes)
        assert finished.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
        assert (await desk.show(goes_on)).call.state is State.ACTIVE
        assert daemon.process.exit_code is None

        daemon.process.signal(signal.SIGTERM)
        hung_up = await desk.until_ended(goes_on)
        assert hung_up.call.end_reason is EndReason.WORKER_SHUT_DOWN
        assert await asyncio.to_thread(daemon.process.wait, timeout_s=90) == 0
        assert (await desk.show(too_late)).call.state in (State.SCHEDULED, State.READY)
        assert daemon.stand_in.ledger.dials(to=number(TALKS_6_S, series=SERIES + 1)) == []
