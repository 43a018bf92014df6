"""A daemon that is killed with calls under way, and the one that is started right after it: whoever talks goes on talking, what
rings goes on ringing, nobody is called twice, and each call has the end that it really had."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallView
from sip.events import Dialled
from tests.e2e.daemon import Daemon, number, start_daemon
from tests.fixtures.database import EMBEDDED, PostgresServers
from tests.fixtures.livekit import RealServer, StandIn, start_stand_in
from tests.fixtures.processes import RunningProcess
from tests.standin.ledger import Dial

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit"), pytest.mark.timeout(600)]

RINGS_2_S_AND_TALKS_8_S, RINGS_OUT, TALKS_ON, SERIES = 0, 3, 30, 4
LEASE_S, RING_TIMEOUT_S, MAX_DURATION_S = 2.0, 25.0, 15.0
SLOWNESS = 3.0
"""How much longer callees take than their scripts say: long enough for a daemon to start meanwhile."""


@dataclass(frozen=True)
class Scene:
    """A call, how far it is when its daemon is killed, and what must come of it."""

    line: int
    killed_while: State
    reason: EndReason
    how: str
    """How the far end saw it end."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    series: int = SERIES

    @property
    def to(self) -> str:
        return number(self.line, series=self.series)


SCENES = {
    "the callee hangs up in the end": Scene(
        RINGS_2_S_AND_TALKS_8_S,
        State.ACTIVE,
        EndReason.USER_HUNG_UP_IN_CALL,
        "hung up by callee",
        fields={"ring_timeout_s": RING_TIMEOUT_S},
    ),
    "the agent ends it in the end": Scene(
        TALKS_ON, State.ACTIVE, EndReason.AGENT_HUNG_UP, "removed", metadata={"end_after_s": 25, "reason": "sold"}
    ),
    "nobody answers": Scene(
        RINGS_OUT, State.RINGING, EndReason.USER_DID_NOT_PICK_UP, "removed", fields={"ring_timeout_s": RING_TIMEOUT_S}
    ),
    "it is answered while nobody watches": Scene(
        RINGS_2_S_AND_TALKS_8_S,
        State.RINGING,
        EndReason.MAX_DURATION_REACHED,
        "removed",
        fields={"max_duration_s": MAX_DURATION_S, "ring_timeout_s": RING_TIMEOUT_S},
        series=SERIES + 1,
    ),
}


@dataclass(frozen=True)
class Ending:
    """How a call ended, here and at the far end."""

    view: CallView
    dials: list[Dial]


@pytest.fixture(scope="module")
def slow_stand_in(real_livekit: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    stand_in = start_stand_in(real_livekit, directory=tmp_path_factory.mktemp("standin"), time_scale=1 / SLOWNESS)
    try:
        yield stand_in
    finally:
        stand_in.process.stop()


@pytest.fixture(scope="module")
def endings(
    postgres_servers: PostgresServers,
    real_livekit: RealServer,
    slow_stand_in: StandIn,
    example_agent: RunningProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, Ending]]:
    """All scenes, played at once over the death of one daemon."""
    url = asyncio.run(postgres_servers.create_database(EMBEDDED))

    @contextmanager
    def daemon(name: str, *, furnish: bool) -> Iterator[Daemon]:
        directory: Path = tmp_path_factory.mktemp(name)
        # With an allowance for post-dial delay it is our own timer that ends the ringing.
        running = start_daemon(
            url,
            server=real_livekit,
            stand_in=slow_stand_in,
            directory=directory,
            furnish=furnish,
            allowance_s=10.0,
            lease_s=LEASE_S,
        )
        try:
            yield running
        finally:
            running.stop()

    try:
        with daemon("killed", furnish=True) as killed:
            calls = asyncio.run(_until_so_far(killed))
            killed.process.signal(signal.SIGKILL)
            killed.process.wait(timeout_s=60)
        with daemon("successor", furnish=False) as successor:
            yield asyncio.run(_until_ended(successor, calls))
    finally:
        asyncio.run(postgres_servers.drop_database(url))


async def _until_so_far(daemon: Daemon) -> dict[str, int]:
    calls = {}
    async with daemon.desk() as desk:
        # What is answered soon comes last, so that it still rings when the daemon is killed.
        for late in (False, True):
            scenes = {name: scene for name, scene in SCENES.items() if (scene.series != SERIES) is late}
            for name, scene in scenes.items():
                calls[name] = await desk.enqueue(scene.to, metadata=scene.metadata, **scene.fields)
            await asyncio.gather(*(desk.until(calls[name], scene.killed_while) for name, scene in scenes.items()))
    return calls


async def _until_ended(daemon: Daemon, calls: Mapping[str, int]) -> dict[str, Ending]:
    async with daemon.desk() as desk:
        views = await asyncio.gather(*(desk.until_ended(call_id) for call_id in calls.values()))
    ledger = daemon.stand_in.ledger
    rooms = [{dial.room for dial in view.dials} for view in views]
    return {
        name: Ending(view=view, dials=[dial for room in mine for dial in ledger.dials(room=room)])
        for name, view, mine in zip(calls, views, rooms, strict=True)
    }


@pytest.mark.parametrize("name", SCENES)
def test_each_call_ends_in_its_true_reason_and_by_whom_it_would_have(endings: Mapping[str, Ending], name: str) -> None:
    ending, scene = endings[name], SCENES[name]
    outcome = ending.view.call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.sip_code) == (scene.reason, None), ending
    assert outcome.evidence["adopted"] is True
    assert outcome.dialled is Dialled.YES
    (dial,) = ending.dials
    assert dial.how == scene.how, "nobody was cut off, and nothing rings on"


@pytest.mark.parametrize("name", SCENES)
def test_each_call_was_one_invite(endings: Mapping[str, Ending], slow_stand_in: StandIn, name: str) -> None:
    (dial,) = endings[name].dials
    assert dial.invited_at_s is not None
    assert len(endings[name].view.dials) == 1
    rooms = {dial.room for dial in endings[name].view.dials}
    assert [dial for dial in slow_stand_in.ledger.dials(to=SCENES[name].to) if dial.request.room not in rooms] == []


def test_a_conversation_is_as_long_as_the_far_end_says(endings: Mapping[str, Ending]) -> None:
    ending = endings["the callee hangs up in the end"]
    outcome, (dial,) = ending.view.call.outcome, ending.dials
    assert outcome is not None
    assert outcome.talk_ms is not None
    assert dial.answered_at_s is not None
    assert dial.ended_at_s is not None
    assert abs(outcome.talk_ms / 1000 - (dial.ended_at_s - dial.answered_at_s)) < 1.5


def test_the_ring_timer_goes_on_from_the_first_ring(endings: Mapping[str, Ending]) -> None:
    (dial,) = endings["nobody answers"].dials
    assert dial.ringing_at_s is not None
    assert dial.ended_at_s is not None
    assert abs(dial.ended_at_s - dial.ringing_at_s - RING_TIMEOUT_S) < 2.0


def test_an_answer_that_nobody_watched_lies_within_what_is_said_of_it(endings: Mapping[str, Ending]) -> None:
    ending = endings["it is answered while nobody watches"]
    outcome, (dial,) = ending.view.call.outcome, ending.dials
    assert outcome is not None
    assert outcome.ring_ms is not None
    assert outcome.ring_error_ms is not None
    assert dial.ringing_at_s is not None
    assert dial.answered_at_s is not None
    assert dial.ended_at_s is not None
    off_s = abs(outcome.ring_ms / 1000 - (dial.answered_at_s - dial.ringing_at_s))
    assert off_s <= outcome.ring_error_ms / 1000 + 0.5
    assert dial.ended_at_s - dial.answered_at_s <= MAX_DURATION_S + 0.5, (
        "the timer runs from the earliest moment at which it may have been"
    )
