"""The door: the SIP part of LiveKit's API; everything else is passed through to the real server.

Checks tokens as the server does, knows who may dial, and hands each dial to a leg of its own, which outlives the request: a
client that goes away ends nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import structlog
from aiohttp import web
from google.protobuf.message import DecodeError, Message
from livekit import api
from livekit.api.room_service import RoomService
from livekit.protocol import models as proto_models
from livekit.protocol import sip as proto_sip

from sip.causes import HangupCause
from sip.simulated.scripts import SCRIPTS
from sip.simulated.steps import Promise, Refuse, Script
from tests.standin.callee import CALL_STATUS, Callee
from tests.standin.ledger import LedgerWriter, Request
from tests.standin.leg import Leg, Limits, new_call_id
from tests.standin.refusals import ROOM_GONE
from tests.standin.trunks import TrunkBook
from tests.standin.twirp import TwirpError

M = TypeVar("M", bound=Message)

_PROTOBUF = "application/protobuf"
_HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"})
_RINGING_S, _DURATION_S, _MEDIA_S = 180.0, 24 * 3600.0, 30.0
"""The SIP service's defaults."""
_WAIT_LIMIT_S = 80.0
"""The server's limit on a request that waits for the answer; it travels to the SIP service and ends the dial."""
_LOOK_TIMEOUT_S = 5.0
_NOBODY = Script(
    name="",
    sentence="Nobody has this number (604).",
    steps=(Refuse(0.0, 604, "Does Not Exist Anywhere"),),
    promise=Promise(cause=HangupCause.UNALLOCATED_NUMBER, end_reason="SIP_FAILED_WRONG_NUMBER", sip_code=604),
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """The real server, and the key by which everybody knows it."""

    url: str
    api_key: str
    api_secret: str

    @property
    def http_url(self) -> str:
        """For its API."""
        return self.url.replace("ws", "http", 1) if self.url.startswith("ws") else self.url

    @property
    def ws_url(self) -> str:
        """For participants."""
        return self.url.replace("http", "ws", 1) if self.url.startswith("http") else self.url


class StandIn:
    """The stand-in as a web application."""

    def __init__(
        self, *, server: Server, trunks: TrunkBook, ledger: LedgerWriter, time_scale: float, has_media: bool = True
    ) -> None:
        """`time_scale`: how much faster than their scripts callees are. What requests ask for stays in real seconds.

        `has_media`: False is for load: callees make no sound and hear none.
        """
        self._has_media = has_media
        self._server = server
        self._trunks = trunks
        self._ledger = ledger
        self._time_scale = time_scale
        self._tokens = api.TokenVerifier(server.api_key, server.api_secret)
        self._legs: dict[Leg, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._rooms: RoomService | None = None

    def application(self) -> web.Application:
        """To be served."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.cleanup_ctx.append(self._live)
        methods: Mapping[str, Callable[[web.Request], Awaitable[web.Response]]] = {
            "CreateSIPParticipant": self._method(proto_sip.CreateSIPParticipantRequest, self._create_participant, grant="call"),
            "CreateSIPOutboundTrunk": self._method(proto_sip.CreateSIPOutboundTrunkRequest, _now(self._trunks.create)),
            "ListSIPOutboundTrunk": self._method(proto_sip.ListSIPOutboundTrunkRequest, _now(self._trunks.list)),
            "DeleteSIPTrunk": self._method(proto_sip.DeleteSIPTrunkRequest, _now(self._trunks.delete)),
        }
        for name, method in methods.items():
            app.router.add_post(f"/twirp/livekit.SIP/{name}", method)
        app.router.add_route("*", "/twirp/livekit.SIP/{rest:.*}", _bad_route)
        app.router.add_route("*", "/{rest:.*}", self._pass_through)
        return app

    async def _live(self, _app: web.Application):  # type: ignore[no-untyped-def]  # aiohttp's own type is hidden
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            self._session = session
            self._rooms = RoomService(
                session, self._server.http_url, self._server.api_key, self._server.api_secret, failover=False
            )
            yield
            for leg in self._legs:
                leg.shut_down()
            if self._legs:
                await asyncio.wait(self._legs.values(), timeout=5.0)
        self._ledger.close()

    def _method(
        self, request_type: type[M], call: Callable[[M], Awaitable[Message]], *, grant: str = "admin"
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def serve(http: web.Request) -> web.Response:
            try:
                self._authorise(http, grant)
                request = request_type()
                try:
                    request.ParseFromString(await http.read())
                except DecodeError:
                    raise TwirpError("malformed", "the protobuf request could not be decoded") from None
                answer = await call(request)
            except _TokenError as refused:
                return web.Response(status=401, text=str(refused))
            except TwirpError as error:
                return error.response()
            return web.Response(body=answer.SerializeToString(), content_type=_PROTOBUF)

        return serve

    def _authorise(self, http: web.Request, grant: str) -> None:
        header = http.headers.get("Authorization", "")
        if header and not header.startswith("Bearer "):
            raise _TokenError("invalid authorization header. Must start with Bearer ")
        token = header.removeprefix("Bearer ")
        if not token:
            raise TwirpError("unauthenticated", "permissions denied")
        try:
            claims = self._tokens.verify(token)
        except Exception as error:
            raise _TokenError("invalid authorization token") from error
        if claims.sip is None or not getattr(claims.sip, grant):
            raise TwirpError("unauthenticated", "permissions denied")

    async def _create_participant(self, request: proto_sip.CreateSIPParticipantRequest) -> Message:
        if not request.sip_call_to:
            raise TwirpError("invalid_argument", "missing sip callee number")
        if "@" in request.sip_call_to:
            raise TwirpError("invalid_argument", "SipCallTo should be a phone number or SIP user, not a full SIP URI")
        if not request.room_name:
            raise TwirpError("invalid_argument", "missing room name")
        if not request.sip_trunk_id:
            raise TwirpError("invalid_argument", "missing sip trunk id and sip number")
        trunk = self._trunks.find(request.sip_trunk_id)
        script = script_of(request.sip_call_to)
        received = Request(
            room=request.room_name,
            identity=request.participant_identity,
            to=request.sip_call_to,
            trunk_id=request.sip_trunk_id,
            caller_id=request.sip_number,
            display_name=request.display_name if request.HasField("display_name") else None,
            headers=dict(request.headers),
            attributes=dict(request.participant_attributes),
            dtmf=request.dtmf,
            ringing_timeout_s=_seconds(request.ringing_timeout),
            max_duration_s=_seconds(request.max_call_duration),
            media_timeout_s=_seconds(request.media.media_timeout),
            wait_until_answered=request.wait_until_answered,
            script=script.name,
        )
        number = self._ledger.dial(received)
        leg = await self._start(number, request, received, trunk, script)
        return await asyncio.shield(leg.answered if request.wait_until_answered else leg.joined)

    async def _start(
        self,
        number: int,
        request: proto_sip.CreateSIPParticipantRequest,
        received: Request,
        trunk: proto_sip.SIPOutboundTrunkInfo,
        script: Script,
    ) -> Leg:
        if not await self._room_exists(request.room_name):
            self._ledger.note(number, "end", how="not dialled: no such room")
            raise ROOM_GONE
        call_id = new_call_id()
        identity = request.participant_identity or f"sip_{request.sip_call_to}"
        attributes = dict(request.participant_attributes) | {
            CALL_STATUS: "dialing",
            "sip.callID": call_id,
            "sip.trunkID": trunk.sip_trunk_id,
        }
        if not request.hide_phone_number:
            attributes |= {
                "sip.phoneNumber": request.sip_call_to,
                "sip.hostname": trunk.address,
                "sip.trunkPhoneNumber": request.sip_number or random.choice(trunk.numbers),
            }

        def info(participant_id: str) -> proto_sip.SIPParticipantInfo:
            return proto_sip.SIPParticipantInfo(
                participant_id=participant_id, participant_identity=identity, room_name=request.room_name, sip_call_id=call_id
            )

        leg = Leg(
            number=number,
            script=script.faster(self._time_scale),
            dtmf=request.dtmf,
            limits=Limits(
                ringing_s=min(
                    received.ringing_timeout_s or _RINGING_S, _WAIT_LIMIT_S if request.wait_until_answered else _RINGING_S
                ),
                duration_s=received.max_duration_s or _DURATION_S,
                media_s=received.media_timeout_s or _MEDIA_S,
            ),
            callee=Callee(
                url=self._server.ws_url,
                api_key=self._server.api_key,
                api_secret=self._server.api_secret,
                room=request.room_name,
                identity=identity,
                name=request.participant_name,
                metadata=request.participant_metadata,
                attributes=attributes,
                has_media=self._has_media,
            ),
            ledger=self._ledger,
            is_shown=lambda: self._is_shown(request.room_name, identity),
            info=info,
        )
        task = asyncio.create_task(leg.run(), name=f"dial {number}")
        self._legs[leg] = task
        task.add_done_callback(lambda done: self._forget(leg, done))
        return leg

    def _forget(self, leg: Leg, done: asyncio.Task[None]) -> None:
        del self._legs[leg]
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("leg_failed", task=done.get_name(), exc_info=error)

    async def _room_exists(self, name: str) -> bool:
        assert self._rooms is not None
        async with asyncio.timeout(_LOOK_TIMEOUT_S):
            found = await self._rooms.list_rooms(api.ListRoomsRequest(names=[name]))
        return bool(found.rooms)

    async def _is_shown(self, room: str, identity: str) -> bool:
        """Others are told of a participant at once only when it publishes; before that every 3 s (server, room.go)."""
        assert self._rooms is not None
        async with asyncio.timeout(_LOOK_TIMEOUT_S):
            found = await self._rooms.list_participants(api.ListParticipantsRequest(room=room))
        return any(
            participant.identity == identity
            and participant.is_publisher
            and participant.state == proto_models.ParticipantInfo.State.ACTIVE
            for participant in found.participants
        )

    async def _pass_through(self, http: web.Request) -> web.StreamResponse:
        assert self._session is not None
        if http.headers.get("Upgrade", "").lower() == "websocket":
            return await self._pass_socket_through(http)
        headers = {name: value for name, value in http.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            async with self._session.request(
                http.method,
                self._server.http_url + http.raw_path,
                headers=headers,
                data=await http.read(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=60),
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
        except aiohttp.ClientConnectionError as error:
            return web.Response(status=502, text=f"the real server cannot be reached: {error}")

    async def _pass_socket_through(self, http: web.Request) -> web.StreamResponse:
        """Participants' signalling: so whoever knows only our URL can join rooms too."""
        assert self._session is not None
        headers = {name: http.headers[name] for name in ("Authorization",) if name in http.headers}
        ours = web.WebSocketResponse(autoping=False, max_msg_size=0)
        try:
            async with self._session.ws_connect(
                self._server.ws_url + http.raw_path, headers=headers, autoping=False, max_msg_size=0
            ) as theirs:
                await ours.prepare(http)
                ways = [asyncio.create_task(_pass_on(ours, theirs)), asyncio.create_task(_pass_on(theirs, ours))]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
        except aiohttp.WSServerHandshakeError as error:
            return web.Response(status=error.status, text=error.message)
        except aiohttp.ClientConnectionError as error:
            return web.Response(status=502, text=f"the real server cannot be reached: {error}")
        await ours.close()
        return ours


async def _pass_on(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        match message.type:
            case aiohttp.WSMsgType.BINARY:
                await sink.send_bytes(message.data)
            case aiohttp.WSMsgType.TEXT:
                await sink.send_str(message.data)
            case aiohttp.WSMsgType.PING:
                await sink.ping(message.data)
            case aiohttp.WSMsgType.PONG:
                await sink.pong(message.data)


class _TokenError(Exception):
    """Refused before twirp, as plain text."""


def script_of(number: str) -> Script:
    """The script that the last two digits select; 604 for those that have none."""
    return SCRIPTS.get(int(number[-2:]), _NOBODY) if number[-2:].isdigit() else _NOBODY


def _now(call: Callable[[M], Message]) -> Callable[[M], Awaitable[Message]]:
    async def called(request: M) -> Message:
        return call(request)

    return called


def _seconds(duration: object) -> float:
    return float(duration.ToTimedelta().total_seconds())  # type: ignore[attr-defined]  # protobuf adds the method at run time


async def _bad_route(http: web.Request) -> web.Response:
    return TwirpError(
        "bad_route", f'no handler for path "{http.path}"', {"twirp_invalid_route": f"{http.method} {http.path}"}
    ).response()
