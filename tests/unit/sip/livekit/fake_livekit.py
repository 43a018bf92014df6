"""A LiveKit that is all in one hand: serves the server API over real sockets, and misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from livekit.api import AccessToken
from livekit.protocol import agent_dispatch as proto_dispatch
from livekit.protocol import models as proto_models
from livekit.protocol import room as proto_room
from livekit.protocol import sip as proto_sip
from livekit.protocol import webhook as proto_webhook

KEY = "devkey"
SECRET = "a-secret-that-nobody-may-see-0123456789"
REQUESTS: Mapping[str, type[Message]] = {
    "CreateRoom": proto_room.CreateRoomRequest,
    "ListRooms": proto_room.ListRoomsRequest,
    "DeleteRoom": proto_room.DeleteRoomRequest,
    "ListParticipants": proto_room.ListParticipantsRequest,
    "RemoveParticipant": proto_room.RoomParticipantIdentity,
    "UpdateParticipant": proto_room.UpdateParticipantRequest,
    "SendData": proto_room.SendDataRequest,
    "CreateDispatch": proto_dispatch.CreateAgentDispatchRequest,
    "ListSIPOutboundTrunk": proto_sip.ListSIPOutboundTrunkRequest,
    "CreateSIPParticipant": proto_sip.CreateSIPParticipantRequest,
}


@dataclass(frozen=True)
class TwirpError(Exception):
    """An answer that is a LiveKit error."""

    code: str
    msg: str
    status: int
    meta: Mapping[str, str] = field(default_factory=dict)


def sip_error(code: int, reason: str, *, twirp: str = "unknown_in_table", status: int = 429) -> TwirpError:
    """As the server reports a SIP final answer."""
    meta = {"sip_status_code": str(code), "sip_status": reason}
    return TwirpError(twirp, f"twirp error unknown: INVITE failed: sip status: {code}: {reason}", status, meta)


RING_OUT = TwirpError("canceled", "twirp error unknown: sip request timed out", 408)
DROP = "drop"
"""Close the connection after the request was received."""


class FakeDial:
    """One CreateSIPParticipant that was received, waiting to be answered."""

    def __init__(self, request: proto_sip.CreateSIPParticipantRequest) -> None:
        self.request = request
        self.outcome: asyncio.Future[Message | TwirpError | web.Response | str] = asyncio.get_running_loop().create_future()

    def answer(self) -> None:
        """The callee picks up; the request returns."""
        self.outcome.set_result(
            proto_sip.SIPParticipantInfo(
                participant_id="PA_leg",
                participant_identity=self.request.participant_identity,
                room_name=self.request.room_name,
                sip_call_id="SCL_1",
            )
        )

    def fail(self, outcome: TwirpError | web.Response | str) -> None:
        """The request returns with this, or its connection drops."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class FakeLiveKit:
    """Rooms and those in them, as tests say; each method can be made to misbehave."""

    def __init__(self) -> None:
        self.url = ""
        self.rooms: dict[str, proto_models.Room] = {}
        self.people: dict[str, dict[str, proto_models.ParticipantInfo]] = defaultdict(dict)
        self.trunks: list[proto_sip.SIPOutboundTrunkInfo] = []
        self.auto_create = False
        self.undead: set[str] = set()
        """Rooms that came to life again after their deletion, and cannot be deleted."""
        self.received: list[tuple[str, Message]] = []
        self.dials: list[FakeDial] = []
        self.misbehaviour: dict[str, TwirpError | web.Response | str | float] = {}
        """By method: an error, a page, DROP, or seconds to wait before answering."""
        self.changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/twirp/{service}/{method}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        for dial in self.dials:
            dial.fail(DROP)
        if self._runner is not None:
            await self._runner.cleanup()

    # What happens in rooms

    def puts_agent(self, room: str, identity: str = "agent-AJ_1", **attributes: str) -> None:
        self._put(room, identity, proto_models.ParticipantInfo.Kind.AGENT, attributes)

    def puts_leg(self, dial: FakeDial, status: str, **attributes: str) -> None:
        request = dial.request
        kind = proto_models.ParticipantInfo.Kind.SIP
        self._put(request.room_name, request.participant_identity, kind, {"sip.callStatus": status, **attributes})

    def removes(self, room: str, identity: str) -> None:
        del self.people[room][identity]

    def deletes_room(self, room: str) -> None:
        """Somebody but us deletes it."""
        del self.rooms[room]
        self.people.pop(room, None)
        for dial in self.dials:
            if dial.request.room_name == room:
                dial.fail(RING_OUT)

    def restarts(self) -> None:
        """All rooms are gone at once."""
        for room in list(self.rooms):
            self.deletes_room(room)

    def count(self, method: str) -> int:
        return sum(1 for name, _ in self.received if name == method)

    async def until_received(self, method: str, count: int) -> None:
        """Wait until so many requests of that kind have come, in all."""
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(lambda: self.count(method) >= count)

    async def dial(self, number: int = 0) -> FakeDial:
        """The dial of that number, once it was received."""
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(lambda: len(self.dials) > number)
        return self.dials[number]

    def webhook(
        self,
        event: str,
        *,
        room: str,
        identity: str = "",
        kind: proto_models.ParticipantInfo.Kind.ValueType = proto_models.ParticipantInfo.Kind.SIP,
        reason: str = "UNKNOWN_REASON",
        attributes: Mapping[str, str] | None = None,
        age_s: float = 0.0,
        secret: str = SECRET,
        event_id: str = "",
    ) -> tuple[bytes, str]:
        """Body and Authorization header of a webhook."""
        message = proto_webhook.WebhookEvent(
            event=event,
            id=event_id or f"EV_{uuid.uuid4().hex}",
            created_at=int(time.time() - age_s),
            room=proto_models.Room(name=room),
            participant=proto_models.ParticipantInfo(
                identity=identity,
                kind=kind,
                disconnect_reason=proto_models.DisconnectReason.Value(reason),
                attributes=dict(attributes or {}),
            ),
        )
        return self.sign(MessageToJson(message).encode(), secret=secret)

    def sign(self, body: bytes, *, secret: str = SECRET) -> tuple[bytes, str]:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return body, AccessToken(KEY, secret).with_sha256(digest).to_jwt()

    # Serving

    def _put(
        self, room: str, identity: str, kind: proto_models.ParticipantInfo.Kind.ValueType, attributes: Mapping[str, str]
    ) -> None:
        self.people[room][identity] = proto_models.ParticipantInfo(
            sid=f"PA_{identity}" if kind == proto_models.ParticipantInfo.Kind.AGENT else "PA_leg",
            identity=identity,
            kind=kind,
            state=proto_models.ParticipantInfo.State.ACTIVE,
            attributes=attributes,
        )

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        method = http.match_info["method"]
        if "authorization" not in http.headers:
            return web.Response(status=401, text="no permissions")
        request = REQUESTS[method].FromString(await http.read())
        async with self.changed:
            self.received.append((method, request))
            self.changed.notify_all()
        try:
            outcome = self.misbehaviour.get(method)
            if isinstance(outcome, float):
                await asyncio.sleep(outcome)
                outcome = None
            if outcome is None:
                outcome = await self._answer(method, request)
        except TwirpError as error:
            outcome = error
        if isinstance(outcome, TwirpError):
            body = {"code": outcome.code, "msg": outcome.msg, "meta": dict(outcome.meta)}
            return web.Response(status=outcome.status, text=json.dumps(body), content_type="application/json")
        if isinstance(outcome, Message):
            return web.Response(body=outcome.SerializeToString(), content_type="application/protobuf")
        if isinstance(outcome, str):
            assert http.transport is not None
            http.transport.abort()
            return web.Response()
        return web.Response(
            status=outcome.status,
            body=outcome.body,
            content_type=outcome.content_type,
            headers={"Location": str(http.url)},
        )

    async def _answer(self, method: str, request: Message) -> Message | TwirpError | web.Response | str:
        match request:
            case proto_room.CreateRoomRequest():
                room = proto_models.Room(name=request.name, metadata=request.metadata, creation_time=int(time.time()))
                self.rooms[request.name] = room
                return room
            case proto_room.ListRoomsRequest():
                wanted = [room for name, room in self.rooms.items() if not request.names or name in request.names]
                for room in wanted:
                    room.num_participants = len(self.people[room.name])
                return proto_room.ListRoomsResponse(rooms=wanted)
            case proto_room.DeleteRoomRequest():
                if request.room not in self.rooms:
                    raise TwirpError("not_found", "twirp error unknown: requested room does not exist", 404)
                if request.room in self.undead:
                    raise TwirpError("unknown", "twirp error unknown: could not find object", 500)
                self.deletes_room(request.room)
                return proto_room.DeleteRoomResponse()
            case proto_room.ListParticipantsRequest():
                return proto_room.ListParticipantsResponse(participants=self.people.get(request.room, {}).values())
            case proto_room.RoomParticipantIdentity():
                if self.people[request.room].pop(request.identity, None) is None:
                    raise TwirpError("not_found", "twirp error unknown: participant does not exist", 404)
                for dial in self.dials:
                    if (dial.request.room_name, dial.request.participant_identity) == (request.room, request.identity):
                        dial.fail(RING_OUT)
                return proto_room.RemoveParticipantResponse()
            case proto_room.UpdateParticipantRequest():
                found = self.people[request.room].get(request.identity)
                if found is None:
                    raise TwirpError("not_found", "twirp error unknown: participant does not exist", 404)
                found.attributes.update(request.attributes)
                return found
            case proto_room.SendDataRequest():
                return proto_room.SendDataResponse()
            case proto_dispatch.CreateAgentDispatchRequest():
                if not self.auto_create:
                    raise TwirpError("unavailable", "twirp error unknown: no response from servers", 503)
                self.rooms[request.room] = proto_models.Room(name=request.room)
                return proto_dispatch.AgentDispatch(id="AD_1")
            case proto_sip.ListSIPOutboundTrunkRequest():
                return proto_sip.ListSIPOutboundTrunkResponse(items=self.trunks)
            case proto_sip.CreateSIPParticipantRequest():
                dial = FakeDial(request)
                async with self.changed:
                    self.dials.append(dial)
                    self.changed.notify_all()
                return await dial.outcome
        raise AssertionError(method)
