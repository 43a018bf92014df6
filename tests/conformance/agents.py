"""Agents for a real livekit-server without livekit-agents: a worker of a few lines that speaks the server's protocol.

So rooms get their agents by dispatch and by name, as in production, and cost a connection each rather than a process. What
agents do is up to the test. The example agent of deploy/examples is tried in the end-to-end tests.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Mapping

import aiohttp
from livekit import api, rtc
from livekit.protocol import agent as proto
from livekit.protocol import models as proto_models

from sip.livekit.endsignal import END_ATTRIBUTE, report_opt_out
from tests.fixtures.livekit import RealServer

_STEP_S = 60.0


class Agents:
    """All agents of one name."""

    def __init__(self, *, url: str, socket: aiohttp.ClientWebSocketResponse, name: str) -> None:
        self._url = url
        self._socket = socket
        self._name = name
        self._rooms: dict[str, rtc.Room] = {}
        self._there: dict[str, asyncio.Event] = collections.defaultdict(asyncio.Event)
        """By room: the server tells others of a participant before the participant itself has finished connecting."""
        self._joining: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def waiting(cls, server: RealServer, *, name: str) -> AsyncIterator[Agents]:
        """Registered under this name, and going wherever they are asked to."""
        grant = api.AccessToken(server.api_key, server.api_secret).with_grants(api.VideoGrants(agent=True))
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{server.ws_url}/agent", headers={"Authorization": f"Bearer {grant.to_jwt()}"}) as socket,
        ):
            agents = cls(url=server.ws_url, socket=socket, name=name)
            await agents._register()
            working = asyncio.create_task(agents._work())
            try:
                yield agents
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
                await asyncio.gather(*agents._joining, return_exceptions=True)  # a join must not be cancelled
                await asyncio.gather(*(room.disconnect() for room in agents._rooms.values()))

    async def signal(self, room: str, reason: str) -> None:
        """Give the end signal, and stay."""
        async with asyncio.timeout(_STEP_S):
            await self._there[room].wait()
            await self._rooms[room].local_participant.set_attributes({END_ATTRIBUTE: reason})

    async def opt_out(self, room: str, reason: str) -> None:
        """Report that the callee wants no more calls, and stay."""
        async with asyncio.timeout(_STEP_S):
            await self._there[room].wait()
            await report_opt_out(self._rooms[room], reason)

    async def told(self, room: str) -> Mapping[str, str]:
        """What it sees of the callee's attributes that the orchestrator has set."""
        async with asyncio.timeout(_STEP_S):
            await self._there[room].wait()
        return {
            name: value
            for participant in self._rooms[room].remote_participants.values()
            for name, value in participant.attributes.items()
            if name.startswith("orchestrator.")
        }

    async def leave(self, room: str) -> None:
        """Leave politely, as a crashed agent does too."""
        async with asyncio.timeout(_STEP_S):
            await self._there[room].wait()
            await self._rooms.pop(room).disconnect()

    async def _register(self) -> None:
        register = proto.RegisterWorkerRequest(type=proto.JobType.JT_ROOM, agent_name=self._name, version="1.0")
        register.allowed_permissions.CopyFrom(
            proto_models.ParticipantPermission(
                can_publish=True, can_subscribe=True, can_publish_data=True, can_update_metadata=True, agent=True
            )
        )
        await self._send(proto.WorkerMessage(register=register))
        async with asyncio.timeout(_STEP_S):
            answer = proto.ServerMessage.FromString(await self._socket.receive_bytes())
        assert answer.WhichOneof("message") == "register", answer

    async def _work(self) -> None:
        async for received in self._socket:
            message = proto.ServerMessage.FromString(received.data)
            match message.WhichOneof("message"):
                case "availability":
                    job = message.availability.job
                    yes = proto.AvailabilityResponse(job_id=job.id, available=True, participant_identity=f"agent-{job.id}")
                    await self._send(proto.WorkerMessage(availability=yes))
                case "assignment":
                    task = asyncio.create_task(self._join(message.assignment))
                    self._joining.add(task)
                    task.add_done_callback(self._joining.discard)

    async def _join(self, assignment: proto.JobAssignment) -> None:
        running = proto.UpdateJobStatus(job_id=assignment.job.id, status=proto.JobStatus.JS_RUNNING)
        await self._send(proto.WorkerMessage(update_job=running))
        room = rtc.Room()
        self._rooms[assignment.job.room.name] = room
        with contextlib.suppress(rtc.ConnectError):  # the room may be gone already
            await room.connect(self._url, assignment.token, rtc.RoomOptions(auto_subscribe=False))
            self._there[assignment.job.room.name].set()

    async def _send(self, message: proto.WorkerMessage) -> None:
        await self._socket.send_bytes(message.SerializeToString())
