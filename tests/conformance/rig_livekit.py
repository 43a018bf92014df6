"""The LiveKit carrier under test: a real livekit-server with its webhooks, agents that join its rooms, and callees that the
stand-in for the SIP service plays."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from uuid import UUID, uuid4

from aiohttp import web
from livekit import api

from sip.clock import Clock
from sip.leg import E164, Carrier, RoomName
from sip.livekit.carrier import LiveKitCarrier
from sip.livekit.listening.limits import ListenerLimits
from sip.livekit.listening.listeners import Listeners
from sip.livekit.timings import LiveKitTimings
from sip.livekit.webhooks import WebhookInbox
from sip.simulated.scripts import SCRIPTS
from sip.simulated.steps import Script
from tests.conformance.agents import Agents
from tests.conformance.rig import PATIENCE_REAL_S, FarEnd, Received, running
from tests.fixtures.livekit import WEBHOOK_PATH, RealServer, StandIn
from tests.standin.ledger import Dial

SPEED = 1.5
"""Of the stand-in's callees. Not more: even on a busy machine a look must find them ringing."""
TIMINGS = LiveKitTimings(ring_poll_s=0.1, sweep_s=0.5, active_look_s=0.3, looks_per_s=200.0)


class LiveKitRig:
    """Its far end is the stand-in's ledger."""

    missing_agent_name = "nobody-has-this-name"
    speed = SPEED
    tolerance_s = 0.4
    quiet_s = 0.4
    at_once = 7

    def __init__(
        self,
        *,
        server: RealServer,
        stand_in: StandIn,
        agents: Agents,
        agent_name: str,
        lk: api.LiveKitAPI,
        listeners: Listeners | None,
    ) -> None:
        self.clock = Clock()
        self.deployment_id = uuid4()
        self.agent_name = agent_name
        self.trunk_id = stand_in.trunk_id
        self.told_why_legs_leave = server.webhook_port is not None
        self._server = server
        self._stand_in = stand_in
        self._agents = agents
        self._lk = lk
        self._epoch_s = self.clock.now_s() - time.time()
        self.listeners = listeners
        self.carrier = self._carrier(self.deployment_id, listeners)

    def number_for(self, script: Script, *, line: int = 0) -> E164:
        (digits,) = (digits for digits, known in SCRIPTS.items() if known.name == script.name)
        return E164(f"+44770090{line:02d}{digits:02d}")

    async def far_end(self, dial_id: str) -> FarEnd:
        dials = [dial for dial in self._stand_in.ledger.dials() if dial.request.identity == f"callee-{dial_id}"]
        return FarEnd(
            received=[_received(dial) for dial in dials],
            invites=sum(dial.invited_at_s is not None for dial in dials),
            invited_at_s=self._moment(dials[0].invited_at_s) if dials else None,
            ringing_at_s=self._moment(dials[0].ringing_at_s) if dials else None,
            answered_at_s=self._moment(dials[0].answered_at_s) if dials else None,
            heard_s=dials[0].heard_s if dials and dials[0].ended_at_s is not None else None,
            ended_at_s=self._moment(dials[0].ended_at_s) if dials else None,
            over=all(dial.ended_at_s is not None or dial.invited_at_s is None for dial in dials),
        )

    async def agent_signals(self, room: RoomName, reason: str) -> None:
        await self._agents.signal(room, reason)

    async def agent_opts_out(self, room: RoomName, reason: str) -> None:
        await self._agents.opt_out(room, reason)

    async def agent_leaves(self, room: RoomName) -> None:
        await self._agents.leave(room)

    async def until_listening(self) -> None:
        assert self.listeners is not None
        async with asyncio.timeout(PATIENCE_REAL_S):
            while not self.listeners.are_ready:
                await asyncio.sleep(0.05)

    async def agent_was_told(self, room: RoomName) -> Mapping[str, str]:
        return await self._agents.told(room)

    async def delete_room(self, room: RoomName) -> None:
        await self._lk.room.delete_room(api.DeleteRoomRequest(room=room))

    @contextlib.asynccontextmanager
    async def stranger(self, deployment_id: UUID) -> AsyncIterator[Carrier]:
        async with running(self._carrier(deployment_id)) as carrier:
            yield carrier

    def _carrier(self, deployment_id: UUID, listeners: Listeners | None = None) -> LiveKitCarrier:
        return LiveKitCarrier(
            url=self._stand_in.http_url,
            api_key=self._server.api_key,
            api_secret=self._server.api_secret,
            deployment_id=deployment_id,
            clock=self.clock,
            timings=TIMINGS,
            listeners=listeners,
        )

    def _moment(self, since_the_epoch_s: float | None) -> float | None:
        return None if since_the_epoch_s is None else since_the_epoch_s + self._epoch_s


def _received(dial: Dial) -> Received:
    asked = dial.request
    return Received(
        to=asked.to,
        trunk_id=asked.trunk_id,
        caller_id=asked.caller_id,
        display_name=asked.display_name,
        headers=asked.headers,
        dtmf=asked.dtmf,
        ring_s=asked.ringing_timeout_s,
        max_duration_s=asked.max_duration_s,
    )


@contextlib.asynccontextmanager
async def livekit_rig(
    server: RealServer, stand_in: StandIn, *, limits: ListenerLimits | None = None
) -> AsyncIterator[LiveKitRig]:
    """A rig with agents and webhooks of its own, on a server and a stand-in that run. `limits`: None: nobody listens."""
    async with contextlib.AsyncExitStack() as stack:
        agent_name = f"greeter-{secrets.token_hex(4)}"
        agents = await stack.enter_async_context(Agents.waiting(server, name=agent_name))
        lk = api.LiveKitAPI(server.http_url, server.api_key, server.api_secret, failover=False)
        stack.push_async_callback(lk.aclose)
        listeners = None
        if limits is not None:
            listeners = Listeners(url=stand_in.http_url, api_key=server.api_key, api_secret=server.api_secret, limits=limits)
        rig = LiveKitRig(server=server, stand_in=stand_in, agents=agents, agent_name=agent_name, lk=lk, listeners=listeners)
        if server.webhook_port is not None:
            await stack.enter_async_context(_door(rig.carrier.webhooks, port=server.webhook_port))
        await stack.enter_async_context(running(rig.carrier))
        yield rig


@contextlib.asynccontextmanager
async def _door(inbox: WebhookInbox, *, port: int) -> AsyncIterator[None]:
    """Where the server's webhooks come in."""

    async def take(http: web.Request) -> web.Response:
        inbox.receive(await http.read(), http.headers.get("Authorization", ""))
        return web.Response()

    app = web.Application()
    app.router.add_post(WEBHOOK_PATH, take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()
