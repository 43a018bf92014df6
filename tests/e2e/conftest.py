from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import Daemon, start_daemon
from tests.fixtures.database import EMBEDDED, PostgresServers
from tests.fixtures.livekit import RealServer, StandIn, example_agent, real_livekit, stand_in
from tests.fixtures.processes import RunningProcess

__all__ = ["example_agent", "real_livekit", "stand_in"]


@pytest.fixture(scope="module")
def daemon(
    real_livekit: RealServer,
    stand_in: StandIn,
    example_agent: RunningProcess,
    postgres_servers: PostgresServers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemon]:
    """A daemon that dials through the stand-in, with a database of its own and the example agent at hand."""
    url = asyncio.run(postgres_servers.create_database(EMBEDDED))
    running = start_daemon(url, server=real_livekit, stand_in=stand_in, directory=tmp_path_factory.mktemp("daemon"))
    try:
        yield running
    finally:
        running.stop()
        asyncio.run(postgres_servers.drop_database(url))
