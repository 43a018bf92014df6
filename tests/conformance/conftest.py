from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from sip.livekit.listening.limits import ListenerLimits
from tests.conformance.rig import LIVEKIT, SIMULATED, Rig, RigMaker
from tests.conformance.rig_livekit import SPEED, livekit_rig
from tests.conformance.rig_simulated import simulated_rig
from tests.fixtures.livekit import RealServer, StandIn, real_livekit, start_stand_in

__all__ = ["real_livekit"]


@pytest.fixture(scope="session")
def fast_stand_in(real_livekit: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealServer, StandIn]]:
    """A real server and, before it, a stand-in whose callees do not take their time."""
    stand_in = start_stand_in(real_livekit, directory=tmp_path_factory.mktemp("conformance"), time_scale=SPEED)
    try:
        yield real_livekit, stand_in
    finally:
        stand_in.process.stop()


@pytest.fixture(scope="module", params=[SIMULATED, LIVEKIT])
def new_rig(request: pytest.FixtureRequest) -> RigMaker:
    """Puts up a rig of each carrier in turn."""
    if request.param == "simulated":
        return simulated_rig
    server, stand_in = request.getfixturevalue("fast_stand_in")
    return lambda: livekit_rig(server, stand_in)


@pytest.fixture(scope="module", params=[SIMULATED, LIVEKIT])
def new_listening_rig(request: pytest.FixtureRequest) -> RigMaker:
    """The same with listeners."""
    if request.param == "simulated":
        return simulated_rig
    server, stand_in = request.getfixturevalue("fast_stand_in")
    return lambda: livekit_rig(server, stand_in, limits=ListenerLimits(most_children=2))


@pytest.fixture
async def rig(new_rig: RigMaker) -> AsyncIterator[Rig]:
    """A rig of this test's own."""
    async with new_rig() as made:
        yield made
