"""`orchestrator check` for LiveKit: what works, what does not, and what to do. Rings no phone and leaves nothing behind.

The fence (`room.auto_create: false`) is probed by asking for an agent that does not exist in a room that does not exist. A
server that makes rooms by itself makes this one too, and it is deleted again; the other kind finds nobody who has the room.
Both follow from the setting that also decides what becomes of a late dial (server 1.13.5, tried both ways). To dial into a
room that does not exist would be the sharper test, and is never done.

Whether a SIP service runs behind the server cannot be seen without dialling; what can be seen is that the server knows trunks.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sip.clock import Clock
from sip.errors import CarrierUnavailable
from sip.leg import Finding
from sip.livekit.api import LiveKitRefusal, LiveKitServer
from sip.livekit.rooms import Deployment
from sip.livekit.webhooks import WebhookInbox

FENCE = "room fence"
FENCE_REMEDY = (
    "set `room: {auto_create: false}` in the LiveKit server's configuration and restart it. Without it a late dial request "
    "can make its room anew, so that recovery after a crash has to wait for the ring time before it ends a call"
)
SIP_REMEDY = "give the LiveKit server Redis, and run LiveKit's SIP service beside it"
WEBHOOK_REMEDY = (
    "in the LiveKit server's configuration: `webhook: {api_key: <livekit.api_key>, urls: [http://<this host>:<http.port>"
    "/livekit/webhook]}`, with one URL for each worker"
)


class LiveKitChecks:
    """Looks a LiveKit over."""

    def __init__(self, *, server: LiveKitServer, deployment: Deployment, inbox: WebhookInbox, clock: Clock) -> None:
        self._server = server
        self._deployment = deployment
        self._inbox = inbox
        self._clock = clock

    async def findings(self, *, trunk_ids: Sequence[str]) -> Sequence[Finding]:
        """All findings, the most basic first; takes some 3 s. Never raises."""
        connection = await self._connection()
        if not connection.ok:
            return [connection]
        return [connection, await self.fence(), *await self._trunks(trunk_ids), self._webhooks()]

    async def _connection(self) -> Finding:
        began_s = self._clock.now_s()
        try:
            await self._server.list_rooms([self._deployment.probe_name("connection")])
        except (CarrierUnavailable, LiveKitRefusal) as error:
            text, _, remedy = str(error).partition("; ")
            return Finding(subject="LiveKit", ok=False, text=text, remedy=remedy)
        took_ms = (self._clock.now_s() - began_s) * 1000
        text = f"{self._server.shown_url} takes the key and answers in {took_ms:.0f} ms"
        return Finding(subject="LiveKit", ok=True, text=text)

    async def fence(self) -> Finding:
        """Whether a late request into a deleted room dials nobody. Never raises."""
        name = self._deployment.probe_name(secrets.token_hex(8))
        try:
            await self._server.create_dispatch(room=name, agent_name=name)
        except (CarrierUnavailable, LiveKitRefusal) as error:
            nobody_has_it = isinstance(error, LiveKitRefusal) and error.code == "not_found"
            if nobody_has_it or "no response from servers" in str(error):
                return Finding(subject=FENCE, ok=True, text="rooms are made only on request (room.auto_create is off)")
            text = f"cannot tell whether room.auto_create is off: {error}"
        else:
            text = "LiveKit makes rooms by itself (room.auto_create is on)"
        finally:
            await self._forget(name)
        return Finding(subject=FENCE, ok=False, fatal=False, text=text, remedy=FENCE_REMEDY)

    async def _forget(self, name: str) -> None:
        try:
            await self._server.delete_room(name)
        except (CarrierUnavailable, LiveKitRefusal):
            return  # an empty room, which LiveKit closes by itself; the finding is not about it

    async def _trunks(self, trunk_ids: Sequence[str]) -> Sequence[Finding]:
        try:
            trunks = {trunk.sip_trunk_id: trunk for trunk in await self._server.list_outbound_trunks()}
        except (CarrierUnavailable, LiveKitRefusal) as error:
            without = "redis required" in str(error)
            text = "this LiveKit server has no SIP, since it runs without Redis" if without else str(error)
            return [Finding(subject="SIP", ok=False, text=text, remedy=SIP_REMEDY)]
        count = f"the server knows {len(trunks)} outbound trunks; only a call shows whether its SIP service runs"
        findings = [Finding(subject="SIP", ok=True, text=count)]
        for trunk_id in trunk_ids:
            trunk = trunks.get(trunk_id)
            if trunk is None:
                text = f"LiveKit knows no such outbound trunk; it knows {', '.join(sorted(trunks)) or 'none'}"
                remedy = "make it in LiveKit, or correct the trunk's id with `orchestrator trunks`"
                findings.append(Finding(subject=f"trunk {trunk_id}", ok=False, text=text, remedy=remedy))
            else:
                text = f"{trunk.name or 'unnamed'} at {trunk.address}, {len(trunk.numbers)} numbers of its own"
                findings.append(Finding(subject=f"trunk {trunk_id}", ok=True, text=text))
        return findings

    def _webhooks(self) -> Finding:
        last_s = self._inbox.last_s
        if last_s is not None:
            return Finding(subject="webhooks", ok=True, text=f"the last came {self._clock.now_s() - last_s:.0f} s ago")
        text = (
            "none has come to this process yet; without them a call that the callee ends is noticed seconds later, and ends as "
            "LEG_LOST, since nothing else tells why"
        )
        return Finding(subject="webhooks", ok=False, fatal=False, text=text, remedy=WEBHOOK_REMEDY)
