"""A LiveKit full of somebody else's rooms, and a daemon with an empty database: nothing of theirs is touched, only ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import pytest
from livekit import api

from tests.e2e.daemon import Daemon, start_daemon
from tests.fixtures.database import EMBEDDED, PostgresServers
from tests.fixtures.livekit import RealServer, StandIn

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit"), pytest.mark.timeout(600)]

SWEEPS = 4


@pytest.fixture
def url(postgres_servers: PostgresServers) -> Iterator[str]:
    made = asyncio.run(postgres_servers.create_database(EMBEDDED))
    yield made
    asyncio.run(postgres_servers.drop_database(made))


def test_only_rooms_that_carry_our_marks_are_ended(
    url: str, real_livekit: RealServer, stand_in: StandIn, tmp_path: Path
) -> None:
    daemon = start_daemon(url, server=real_livekit, stand_in=stand_in, directory=tmp_path)
    try:
        theirs, left = asyncio.run(_sweep_among_others(daemon, url, real_livekit))
    finally:
        daemon.stop()
    assert left == theirs


async def _sweep_among_others(daemon: Daemon, url: str, server: RealServer) -> tuple[set[str], set[str]]:
    connection = await asyncpg.connect(url)
    deployment = await connection.fetchval("SELECT id FROM deployment")
    await connection.close()
    prefix = f"oc-{deployment.hex[:8]}"
    ours = {f"{prefix}-4711-1": json.dumps({"orchestrator_deployment": str(deployment), "call_id": "4711", "epoch": 1})}
    theirs = {
        **{f"somebody-elses-{n}": "" for n in range(25)},
        "oc-00000000-4711-1": json.dumps({"orchestrator_deployment": "00000000-0000-0000-0000-000000000000"}),
        f"{prefix}-4712-1": json.dumps({"orchestrator_deployment": f"{deployment.hex[:8]}-0000-0000-0000-000000000000"}),
        f"{prefix}-4713-1": "not ours",
    }
    lk = api.LiveKitAPI(server.http_url, server.api_key, server.api_secret, failover=False)
    try:
        for name, metadata in (ours | theirs).items():
            await lk.room.create_room(api.CreateRoomRequest(name=name, metadata=metadata, empty_timeout=600))
        before = _sweeps(daemon)
        async with asyncio.timeout(60):
            while _sweeps(daemon) < before + SWEEPS:
                await asyncio.sleep(0.1)
        listed = await lk.room.list_rooms(api.ListRoomsRequest(names=list(ours | theirs)))
        for name in theirs:
            await lk.room.delete_room(api.DeleteRoomRequest(room=name))
        return set(theirs), {room.name for room in listed.rooms}
    finally:
        await lk.aclose()


def _sweeps(daemon: Daemon) -> float:
    with urlopen(f"http://127.0.0.1:{daemon.http_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    wanted = 'orchestrator_loop_steps_total{loop="sweeper",result="succeeded"}'
    return next((float(line.split()[-1]) for line in lines if line.startswith(wanted)), 0.0)
