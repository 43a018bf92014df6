"""A daemon that is killed with calls under way, and the one that is started right after it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from tests.e2e.daemon import Daemon, number, start_daemon
from tests.fixtures.database import EMBEDDED, PostgresServers
from tests.fixtures.livekit import RealServer, StandIn
from tests.fixtures.processes import RunningProcess

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit")]

RINGS_OUT, TALKS_6_S, SERIES = 3, 21, 4


@pytest.fixture
def url(postgres_servers: PostgresServers) -> Iterator[str]:
    made = asyncio.run(postgres_servers.create_database(EMBEDDED))
    yield made
    asyncio.run(postgres_servers.drop_database(made))


def test_a_restart_after_a_kill_cuts_nobody_off_and_calls_nobody_twice(
    url: str, real_livekit: RealServer, stand_in: StandIn, example_agent: RunningProcess, tmp_path: Path
) -> None:
    killed = start_daemon(url, server=real_livekit, stand_in=stand_in, directory=tmp_path)
    try:
        talking = asyncio.run(_until_they_talk(killed))
    finally:
        killed.process.signal(signal.SIGKILL)
        killed.process.wait(timeout_s=5)
    successor = start_daemon(url, server=real_livekit, stand_in=stand_in, directory=tmp_path, furnish=False, allowance_s=4.0)
    try:
        asyncio.run(_carry_on(successor, talking))
    finally:
        successor.stop()


async def _until_they_talk(daemon: Daemon) -> CallId:
    async with daemon.desk() as desk:
        call_id = await desk.enqueue(number(TALKS_6_S, series=SERIES))
        await desk.until(call_id, State.ACTIVE)
        return call_id


async def _carry_on(daemon: Daemon, talking: CallId) -> None:
    async with daemon.desk() as desk:
        rings_out = await desk.enqueue(number(RINGS_OUT, series=SERIES), ring_timeout_s=5.0)
        lost, rang_out = await asyncio.gather(desk.until_ended(talking), desk.until_ended(rings_out))
    (first,) = daemon.stand_in.ledger.dials(to=number(TALKS_6_S, series=SERIES))
    assert first.how == "hung up by callee", "nobody cut it off"
    assert lost.call.end_reason is EndReason.LEG_LOST

    # The successor dials what is queued; with an allowance for post-dial delay it is our own timer that ends the ringing.
    (second,) = daemon.stand_in.ledger.dials(to=number(RINGS_OUT, series=SERIES))
    assert second.how == "removed"
    assert rang_out.call.end_reason is EndReason.USER_DID_NOT_PICK_UP
    assert rang_out.call.outcome is not None
    assert rang_out.call.outcome.evidence["order"] == "ring_timeout"
