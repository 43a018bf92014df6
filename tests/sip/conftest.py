from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import pytest

from tests.fixtures.database import EMBEDDED, PostgresServers
from tests.fixtures.livekit import RealServer, example_agent
from tests.fixtures.processes import RunningProcess
from tests.sip.daemon import Daemon
from tests.sip.environment import NotNamedError, SipEnvironment, read_environment
from tests.sip.exchange import Exchange, create_trunks, delete_trunks

__all__ = ["example_agent"]


@pytest.fixture(scope="session")
def sip_environment() -> SipEnvironment:
    """What the environment names; skips where it names nothing."""
    try:
        return read_environment()
    except NotNamedError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def real_livekit(sip_environment: SipEnvironment) -> RealServer:
    """The LiveKit that has the SIP service."""
    return sip_environment.server


@pytest.fixture(scope="session")
def exchange(sip_environment: SipEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """All far ends."""
    exchange = Exchange(environment=sip_environment, directory=tmp_path_factory.mktemp("exchange"))
    try:
        exchange.open()
        yield exchange
    finally:
        exchange.close()


@pytest.fixture(scope="module")
def trunk_ids(real_livekit: RealServer, exchange: Exchange) -> Iterator[Mapping[str, str]]:
    """LiveKit's id of the trunk to each far end."""
    created = create_trunks(real_livekit, exchange.addresses)
    yield created
    delete_trunks(real_livekit, created)


@pytest.fixture(scope="module")
def post_dial_allowance_s() -> float:
    """None: the SIP service's ring time, which starts with the request, is over before our own wherever the 180 comes late."""
    return 0.0


@pytest.fixture(scope="module")
def listens() -> bool:
    """Whether the daemon has listeners."""
    return False


@pytest.fixture(scope="module")
def daemon(
    real_livekit: RealServer,
    trunk_ids: Mapping[str, str],
    example_agent: RunningProcess,
    post_dial_allowance_s: float,
    listens: bool,
    postgres_servers: PostgresServers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemon]:
    """A daemon with a database of its own, a trunk to each far end, and the example agent at hand."""
    url = asyncio.run(postgres_servers.create_database(EMBEDDED))
    running = Daemon(
        server=real_livekit,
        database_url=url,
        directory=tmp_path_factory.mktemp("daemon"),
        allowance_s=post_dial_allowance_s,
        listens=listens,
    )

    async def furnish() -> None:
        async with running.desk() as desk:
            await desk.furnish(trunk_ids)

    try:
        asyncio.run(furnish())
        running.wait_until_ready()
        if listens:
            running.process.wait_until(lambda: running.process.says("listener_ready"), what="listening", timeout_s=120)
        yield running
    finally:
        running.stop()
        asyncio.run(postgres_servers.drop_database(url))
