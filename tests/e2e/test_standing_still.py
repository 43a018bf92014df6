"""A daemon that stands still for longer than its lease and goes on as if nothing had happened: another has taken its calls over
meanwhile, and it keeps its hands off them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallView
from tests.e2e.daemon import Daemon, number, start_daemon
from tests.fixtures.database import EMBEDDED, PostgresServers
from tests.fixtures.livekit import RealServer, StandIn
from tests.fixtures.processes import RunningProcess

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit"), pytest.mark.timeout(600)]

RINGS_OUT, TALKS_ON, SERIES = 3, 30, 7
LEASE_S, RING_TIMEOUT_S, TALK_S = 2.0, 16.0, 14


@dataclass(frozen=True)
class Outcome:
    """What became of the two calls."""

    talking: CallView
    ringing: CallView
    log: str
    """Of the daemon that stood still."""


@pytest.fixture(scope="module")
def played(
    postgres_servers: PostgresServers,
    real_livekit: RealServer,
    stand_in: StandIn,
    example_agent: RunningProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Outcome]:
    url = asyncio.run(postgres_servers.create_database(EMBEDDED))

    def daemon(name: str, *, first: bool) -> Daemon:
        directory: Path = tmp_path_factory.mktemp(name)
        return start_daemon(
            url,
            server=real_livekit,
            stand_in=stand_in,
            directory=directory,
            furnish=first,
            hears_webhooks=first,
            allowance_s=10.0,
            lease_s=LEASE_S,
        )

    daemons = [daemon("stopped", first=True)]
    try:
        calls = asyncio.run(_until_so_far(daemons[0]))
        daemons[0].process.signal(signal.SIGSTOP)
        daemons.append(daemon("other", first=False))
        asyncio.run(_until_adopted(daemons[1], calls))
        daemons[0].process.signal(signal.SIGCONT)
        talking, ringing = asyncio.run(_until_ended(daemons[1], calls))
        stopped = daemons[0].process
        stopped.wait_until(lambda: stopped.says("claim_lost"), what="told of its loss", timeout_s=90)
        yield Outcome(talking=talking, ringing=ringing, log=daemons[0].process.log.read_text())
    finally:
        daemons[0].process.signal(signal.SIGCONT)
        for running in daemons:
            running.stop()
        asyncio.run(postgres_servers.drop_database(url))


async def _until_so_far(daemon: Daemon) -> list[int]:
    async with daemon.desk() as desk:
        talking = await desk.enqueue(number(TALKS_ON, series=SERIES), metadata={"end_after_s": TALK_S, "reason": "sold"})
        await desk.until(talking, State.ACTIVE)
        ringing = await desk.enqueue(number(RINGS_OUT, series=SERIES), ring_timeout_s=RING_TIMEOUT_S)
        await desk.until(ringing, State.RINGING)
        return [talking, ringing]


async def _until_adopted(daemon: Daemon, calls: list[int]) -> None:
    async with daemon.desk() as desk, asyncio.timeout(90):
        for call_id in calls:
            while (await desk.show(call_id)).call.epoch < 2:
                await asyncio.sleep(0.05)


async def _until_ended(daemon: Daemon, calls: list[int]) -> list[CallView]:
    async with daemon.desk() as desk:
        return await asyncio.gather(*(desk.until_ended(call_id) for call_id in calls))


def test_the_conversation_goes_on_under_the_other_daemon(played: Outcome, stand_in: StandIn) -> None:
    assert played.talking.call.end_reason is EndReason.AGENT_HUNG_UP
    (dial,) = stand_in.ledger.dials(room=played.talking.dials[0].room)
    assert dial.answered_at_s is not None
    assert dial.ended_at_s is not None
    assert dial.ended_at_s - dial.answered_at_s > TALK_S - 1.0, "nobody cut it off"


def test_the_phone_rings_on_until_its_ring_time_is_over(played: Outcome, stand_in: StandIn) -> None:
    assert played.ringing.call.end_reason is EndReason.USER_DID_NOT_PICK_UP
    (dial,) = stand_in.ledger.dials(room=played.ringing.dials[0].room)
    assert dial.ringing_at_s is not None
    assert dial.ended_at_s is not None
    assert dial.ended_at_s - dial.ringing_at_s > RING_TIMEOUT_S - 2.0


def test_nobody_is_called_twice(played: Outcome, stand_in: StandIn) -> None:
    for view in (played.talking, played.ringing):
        assert len(view.dials) == 1
        assert len(stand_in.ledger.dials(to=view.call.to)) == 1


def test_after_the_adoption_nothing_is_written_under_the_old_epoch(played: Outcome) -> None:
    for view in (played.talking, played.ringing):
        kinds = [event.kind for event in view.events]
        after = view.events[kinds.index("adopted") :]
        assert {event.epoch for event in after} == {2}


def test_the_daemon_that_stood_still_says_that_it_lost_its_claims(played: Outcome) -> None:
    assert "claim_lost" in played.log
    assert "stood_still" in played.log
