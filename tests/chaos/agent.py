"""Agents of many calls in one process: each joins its room and stays, and gives the signals that its call's metadata ask for.

It speaks the protocol of LiveKit's agent workers itself. With the agents framework two thousand calls would spend their time on
starting Python; and where a room is deleted while its agent joins, the framework cancels the joining, which ends the whole
process (python-sdks#784). Here nobody cancels it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from typing import Any

import aiohttp
from livekit import api, rtc
from livekit.protocol import agent as protocol
from livekit.protocol import models

from sip.livekit.endsignal import end_call, report_opt_out

REGISTERED = "registered worker"
NEARLY_FULL = "serves few more rooms"
ROOMS = (90, 120)
"""How many rooms one process serves before it ends: the library keeps some megabytes of each."""
LAST_ROOMS = 25
"""So many rooms before its last one it says so (world.py starts another)."""
_JOIN_S = 10.0
_STAY_S = 60.0
"""Longer than any call. The library does not always tell that a room was closed, nor that joining it came to nothing."""
_STATUS_S = 1.0
_AGAIN_S = 0.5


class Agents:
    """One worker for each name, as the server sees it."""

    def __init__(self, *, url: str, api_key: str, api_secret: str) -> None:
        self._url = url
        self._key, self._secret = api_key, api_secret
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up: set[asyncio.Task[None]] = set()
        self._rooms_left = random.randint(*ROOMS)

    async def run(self, name: str) -> None:
        """Serve under a name until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    await self._serve(session, name)
                except (aiohttp.ClientError, OSError) as error:
                    print(f"connection lost: {error!r}", flush=True)
                await asyncio.sleep(_AGAIN_S)

    async def _serve(self, session: aiohttp.ClientSession, name: str) -> None:
        token = api.AccessToken(self._key, self._secret).with_grants(api.VideoGrants(agent=True)).to_jwt()
        headers = {"Authorization": f"Bearer {token}"}
        async with session.ws_connect(f"{self._url}/agent", headers=headers, heartbeat=30) as socket:
            permissions = models.ParticipantPermission(
                can_publish=True, can_subscribe=True, can_publish_data=True, can_update_metadata=True, agent=True
            )
            register = protocol.RegisterWorkerRequest(
                type=protocol.JobType.JT_ROOM, agent_name=name, version="chaos", allowed_permissions=permissions
            )
            await _say(socket, protocol.WorkerMessage(register=register))
            status = asyncio.create_task(self._tell_status(socket))
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        await self._take(socket, protocol.ServerMessage.FromString(message.data))
            finally:
                status.cancel()

    async def _tell_status(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            if self._rooms_left <= 0 and not self._tasks:
                sys.stdout.flush()
                os._exit(0)
            status = protocol.WorkerStatus.WS_AVAILABLE if self._rooms_left > 0 else protocol.WorkerStatus.WS_FULL
            update = protocol.UpdateWorkerStatus(load=0.0, status=status, job_count=len(self._tasks))
            await _say(socket, protocol.WorkerMessage(update_worker=update))
            await asyncio.sleep(_STATUS_S)

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, message: protocol.ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "register":
                print(f"{REGISTERED} {message.register.worker_id}", flush=True)
            case "availability":
                job_id = message.availability.job.id
                here = protocol.AvailabilityResponse(
                    job_id=job_id,
                    available=self._rooms_left > 0,
                    participant_identity=f"agent-{job_id}",
                    participant_name="chaos",
                )
                self._rooms_left -= 1
                if self._rooms_left == LAST_ROOMS:
                    print(NEARLY_FULL, flush=True)
                await _say(socket, protocol.WorkerMessage(availability=here))
            case "assignment":
                task = asyncio.create_task(self._attend(socket, message.assignment))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case _:
                pass  # a job's end is seen in its room

    async def _attend(self, socket: aiohttp.ClientWebSocketResponse, assignment: protocol.JobAssignment) -> None:
        job = assignment.job
        room = rtc.Room()
        closed = asyncio.Event()
        room.on("disconnected", lambda *_: closed.set())
        running = protocol.UpdateJobStatus(job_id=job.id, status=protocol.JobStatus.JS_RUNNING)
        await _say(socket, protocol.WorkerMessage(update_job=running))
        try:
            joining = asyncio.create_task(
                room.connect(assignment.url or self._url, assignment.token, rtc.RoomOptions(auto_subscribe=False))
            )
            await asyncio.wait({joining}, timeout=_JOIN_S)
            if not joining.done():
                self._given_up.add(joining)  # and not cancelled, see above
                return
            joining.result()
            wishes: dict[str, Any] = json.loads(job.metadata or "{}").get("metadata", {})
            if "opt_out_after_s" in wishes and not await _happens(closed, within_s=wishes["opt_out_after_s"]):
                telling = asyncio.ensure_future(report_opt_out(room, "asked on the telephone"))
                telling.add_done_callback(lambda told: told.cancelled() or told.exception())
            if "end_after_s" in wishes and not await _happens(closed, within_s=wishes["end_after_s"]):
                await end_call(room, "done")
            await _happens(closed, within_s=_STAY_S)
        except rtc.ConnectError as error:
            print(f"{job.room.name}: {error}", flush=True)
        finally:
            _free(room)
            over = protocol.UpdateJobStatus(job_id=job.id, status=protocol.JobStatus.JS_SUCCESS)
            if not socket.closed:
                await _say(socket, protocol.WorkerMessage(update_job=over))


async def _say(socket: aiohttp.ClientWebSocketResponse, message: protocol.WorkerMessage) -> None:
    await socket.send_bytes(message.SerializeToString())


def _free(room: rtc.Room) -> None:
    """The library keeps a room that the server has closed, with all its connections, until somebody collects it."""
    handle = getattr(room, "_ffi_handle", None)
    if handle is not None:
        handle.dispose()


async def _happens(event: asyncio.Event, *, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def main() -> int:
    """Serve until ended."""
    environment = os.environ
    agents = Agents(
        url=environment["LIVEKIT_URL"],
        api_key=environment["LIVEKIT_API_KEY"],
        api_secret=environment["LIVEKIT_API_SECRET"],
    )

    async def serve() -> None:
        await asyncio.gather(*(agents.run(name) for name in environment["AGENT_NAMES"].split()))

    asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
