"""LiveKit's server API: every call bounded in time, nothing retried, errors that say what is wrong and what to do.

The library (livekit-api 1.2.2) applies no time limit to most calls, whatever its constructor is told, and on LiveKit Cloud it
repeats calls that time out. So its failover is off, and every call here has an `asyncio.timeout` of its own. Two pools of
connections, neither with a limit on their number, since a waiting dial holds its connection for as long as it rings:

- calls share kept-alive connections;
- each dial gets a new connection, closed afterwards. A kept-alive connection that the other side is closing just then would
  leave a dial whose result is unknown; a new one that cannot be made proves that nothing was sent.

An answer that is not twirp's (a redirect, a proxy's page, an empty 200) is an error, never an empty list.

Knows nothing of rooms being ours, of legs or of looking. Secrets never appear in texts or `repr`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from google.protobuf.message import DecodeError
from livekit.api import LiveKitAPI, ServerError
from livekit.api.sip_service import SipService
from livekit.protocol import agent_dispatch as proto_dispatch
from livekit.protocol import models as proto_models
from livekit.protocol import room as proto_room
from livekit.protocol import sip as proto_sip

from sip.errors import CarrierUnavailable, Error
from sip.livekit.failures import DialFailure, not_sent, read_server_error, result_unknown
from sip.livekit.timings import LiveKitTimings, Observer

T = TypeVar("T")

SERVER_PREFIX = "twirp error unknown: "
"""The server puts it before its own errors; it says nothing."""

ROOM_WITHOUT_NODE = "could not find object"
"""The server's words for a room that came to life again after its deletion; see `LiveKitServer.delete_room`."""

_TOKEN = re.compile(r"\beyJ[\w.-]+")
_PROTOBUF = ("application/protobuf", "application/x-protobuf")
_SERVER_TROUBLE = frozenset(
    {"internal", "unknown", "unavailable", "deadline_exceeded", "dataloss", "resource_exhausted", "aborted"}
)


class LiveKitUnavailable(CarrierUnavailable):
    """A call to LiveKit did not get a proper answer."""

    def __init__(self, text: str, *, kind: str) -> None:
        super().__init__(text)
        self.kind = kind
        """As in `Observer.carrier_error`."""


class LiveKitRefusal(Error):
    """LiveKit answered that it will not; `code` is twirp's. Nothing was dialled. Callers turn it into what it means to them."""

    def __init__(self, *, code: str, message: str) -> None:
        super().__init__(f"LiveKit refused: {message} ({code})")
        self.code = code
        self.message = message


class _Withdrawn(aiohttp.ClientError):
    """A dial whose end was ordered, or whose time was over, before its request left."""


class _NotTwirp(aiohttp.ClientError):
    """Whatever answers is not LiveKit's API."""


async def _only_twirp(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Let through what LiveKit's API can have said. Redirects must not be followed: they would repeat a dial."""
    response = await send(request)
    if 300 <= response.status < 400:
        response.close()
        raise _NotTwirp(f"it redirects (HTTP {response.status})")
    if response.status == 200 and response.content_type not in _PROTOBUF:
        response.close()
        raise _NotTwirp(f"it answers with {response.content_type}")
    return response


class LiveKitServer:
    """One LiveKit, as far as its server API goes."""

    def __init__(self, *, url: str, api_key: str, api_secret: str, timings: LiveKitTimings, observer: Observer) -> None:
        """`url`: `http(s)://` or `ws(s)://`. No connection is made yet."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
            raise ValueError("the LiveKit URL must look like https://host or wss://host")
        if not api_key or not api_secret:
            raise ValueError("LiveKit needs an API key and a secret")
        host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
        self.shown_url = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
        """The URL without credentials, for texts."""
        self._url = url
        self._api_key = api_key
        self._api_secret = api_secret
        self._timings = timings
        self._observer = observer
        self._api: LiveKitAPI | None = None
        self._calls: aiohttp.ClientSession | None = None
        self._dial_connector: aiohttp.TCPConnector | None = None

    def __repr__(self) -> str:
        return f"LiveKitServer({self.shown_url})"

    async def create_room(self, request: proto_room.CreateRoomRequest) -> None:
        """Make a room; with `agents`, ask them to join it. Raises LiveKitUnavailable or LiveKitRefusal."""
        await self._call("create room", lambda api: api.room.create_room(request), self._timings.request_timeout_s)

    async def delete_room(self, name: str) -> bool:
        """Delete a room with all that is in it; False if there was none. Raises LiveKitUnavailable or LiveKitRefusal.

        A room that somebody was joining while it was deleted comes to life again, and the server (1.13.5 with Redis) cannot
        delete that one, having forgotten on which node it is. It can be emptied, which ends what matters; it closes by itself.
        """
        request = proto_room.DeleteRoomRequest(room=name)
        try:
            await self._call(
                "delete room",
                lambda api: api.room.delete_room(request),
                self._timings.request_timeout_s,
                expected=("not_found", ROOM_WITHOUT_NODE),
            )
        except LiveKitRefusal as refusal:
            if refusal.code == "not_found":
                return False
            raise
        except LiveKitUnavailable as error:
            if ROOM_WITHOUT_NODE not in str(error):
                raise
            for participant in await self.list_participants(name):
                await self.remove_participant(room=name, identity=participant.identity)
        return True

    async def remove_participant(self, *, room: str, identity: str) -> bool:
        """Take somebody out of a room; False if nobody was there. Raises LiveKitUnavailable or LiveKitRefusal."""
        request = proto_room.RoomParticipantIdentity(room=room, identity=identity)
        try:
            await self._call(
                "remove participant",
                lambda api: api.room.remove_participant(request),
                self._timings.request_timeout_s,
                expected=("not_found",),
            )
        except LiveKitRefusal as refusal:
            if refusal.code == "not_found":
                return False
            raise
        return True

    async def set_attributes(self, *, room: str, identity: str, attributes: Mapping[str, str]) -> None:
        """Set attributes of somebody in a room; others of his stay. Raises LiveKitUnavailable or LiveKitRefusal."""
        request = proto_room.UpdateParticipantRequest(room=room, identity=identity, attributes=dict(attributes))
        await self._call("set attributes", lambda api: api.room.update_participant(request), self._timings.request_timeout_s)

    async def send_data(self, *, room: str, topic: str, body: bytes) -> None:
        """Send a data packet to everybody in a room, reliably. Raises LiveKitUnavailable or LiveKitRefusal."""
        request = proto_room.SendDataRequest(
            room=room, data=body, kind=proto_models.DataPacket.Kind.RELIABLE, topic=topic, nonce=secrets.token_bytes(16)
        )
        await self._call("send data", lambda api: api.room.send_data(request), self._timings.request_timeout_s)

    async def list_rooms(self, names: Sequence[str] = ()) -> Sequence[proto_models.Room]:
        """Those of the named rooms that exist; without names, all. Raises LiveKitUnavailable or LiveKitRefusal."""
        request = proto_room.ListRoomsRequest(names=list(names))
        answer = await self._call("list rooms", lambda api: api.room.list_rooms(request), self._timings.look_timeout_s)
        return list(answer.rooms)

    async def list_participants(self, room: str) -> Sequence[proto_models.ParticipantInfo]:
        """Who is in the room; nobody if there is no such room. Raises LiveKitUnavailable or LiveKitRefusal."""
        request = proto_room.ListParticipantsRequest(room=room)
        answer = await self._call("look at room", lambda api: api.room.list_participants(request), self._timings.look_timeout_s)
        return list(answer.participants)

    async def create_dispatch(self, *, room: str, agent_name: str) -> None:
        """Ask an agent to join a room. Raises LiveKitUnavailable or LiveKitRefusal."""
        request = proto_dispatch.CreateAgentDispatchRequest(room=room, agent_name=agent_name)
        await self._call(
            "create dispatch", lambda api: api.agent_dispatch.create_dispatch(request), self._timings.request_timeout_s
        )

    async def list_outbound_trunks(self) -> Sequence[proto_sip.SIPOutboundTrunkInfo]:
        """All outbound trunks that the server knows. Raises LiveKitUnavailable or LiveKitRefusal."""
        request = proto_sip.ListSIPOutboundTrunkRequest()
        answer = await self._call(
            "list trunks", lambda api: api.sip.list_outbound_trunk(request), self._timings.request_timeout_s
        )
        return list(answer.items)

    async def dial(
        self, request: proto_sip.CreateSIPParticipantRequest, *, timeout_s: float, may_leave: Callable[[], bool]
    ) -> proto_sip.SIPParticipantInfo | DialFailure:
        """Send the one request and wait for its answer, for `timeout_s` since it left. Never repeated, never raises.

        `may_leave` is asked in the moment before the request leaves; if it says no, nothing is sent. Cancelling the wait does
        not end the dial at the far end.
        """
        try:
            return await self._dial(request, timeout_s=timeout_s, may_leave=may_leave)
        except ServerError as error:
            return read_server_error(error, text=self._clean(error.message))

    async def _dial(
        self, request: proto_sip.CreateSIPParticipantRequest, *, timeout_s: float, may_leave: Callable[[], bool]
    ) -> proto_sip.SIPParticipantInfo | DialFailure:
        loop = asyncio.get_running_loop()
        sent = False
        limit = asyncio.timeout(self._timings.dial_connect_s)

        async def leaving(*_: object) -> None:
            # Before the first byte of the request is written: from here on nothing proves that it was not received.
            nonlocal sent
            if not may_leave():
                raise _Withdrawn
            sent = True
            # Above the library's own limit, which starts earlier.
            limit.reschedule(loop.time() + timeout_s + 1.0)

        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(leaving)
        session = aiohttp.ClientSession(
            connector=self._dialling(),
            connector_owner=False,
            trace_configs=[trace],
            middlewares=(_only_twirp,),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        try:
            async with limit, session:
                service = SipService(session, self._url, self._api_key, self._api_secret, failover=False)
                return await service.create_sip_participant(request, timeout=timeout_s)
        except _Withdrawn:
            return not_sent("withdrawn before it was sent")
        except TimeoutError:
            if sent:
                return result_unknown(f"no answer to the dial request within {timeout_s:g} s")
            return not_sent(f"cannot connect to host {self.shown_url} within {self._timings.dial_connect_s:g} s")
        except (aiohttp.ClientError, OSError, DecodeError, ValueError) as error:
            text = self._clean(f"{type(error).__name__}: {error}")
            return result_unknown(f"the answer to the dial request was lost: {text}") if sent else not_sent(text)

    async def aclose(self) -> None:
        """Close all connections. Dials under way go on at the far end."""
        if self._calls is not None:
            await self._calls.close()
        if self._dial_connector is not None:
            await self._dial_connector.close()

    async def _call(
        self, what: str, call: Callable[[LiveKitAPI], Awaitable[T]], timeout_s: float, *, expected: Sequence[str] = ()
    ) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                return await call(self._connected())
        except TimeoutError:
            failure: LiveKitUnavailable | LiveKitRefusal = LiveKitUnavailable(
                f"LiveKit at {self.shown_url} did not answer within {timeout_s:g} s ({what}): "
                "it is overloaded, or the way to it is broken; see that livekit.url is right and the server is healthy",
                kind="timeout",
            )
        except _NotTwirp as error:
            failure = self._garbage(str(error), what)
        except DecodeError:
            failure = self._garbage("its answer cannot be read", what)
        except ServerError as error:
            failure = self._read(error, what)
        except (aiohttp.ClientError, OSError) as error:
            failure = LiveKitUnavailable(
                f"LiveKit at {self.shown_url} cannot be reached ({what}): {self._clean(f'{type(error).__name__}: {error}')}; "
                "see that livekit.url is right, the server runs, and this machine may connect to it",
                kind="unreachable",
            )
        kind = failure.kind if isinstance(failure, LiveKitUnavailable) else failure.code
        if not any(word == kind or word in str(failure) for word in expected):
            self._observer.carrier_error(kind if isinstance(failure, LiveKitUnavailable) else "refused")
        raise failure from None

    def _read(self, error: ServerError, what: str) -> LiveKitUnavailable | LiveKitRefusal:
        message = self._clean(error.message)
        if error.status in (401, 403) or error.code in ("unauthenticated", "permission_denied"):
            return LiveKitUnavailable(
                f"LiveKit at {self.shown_url} refused the API key {self._api_key} ({what}, HTTP {error.status}): "
                "it does not know the key, or the secret is another; "
                "see livekit.api_key and livekit.api_secret, and that this machine's clock is right",
                kind="key_refused",
            )
        if not message or error.code == "bad_route":
            return self._garbage(f"HTTP {error.status} without a LiveKit error", what)
        if error.code in _SERVER_TROUBLE:
            return LiveKitUnavailable(
                f"LiveKit at {self.shown_url} could not do it ({what}): {message} ({error.code}); see the server's log",
                kind="server_error",
            )
        return LiveKitRefusal(code=error.code, message=message)

    def _garbage(self, found: str, what: str) -> LiveKitUnavailable:
        return LiveKitUnavailable(
            f"what answers at {self.shown_url} does not speak LiveKit's API ({what}): {found}; "
            "see that livekit.url names LiveKit itself, and what a proxy in front of it says",
            kind="garbage",
        )

    def _clean(self, text: str) -> str:
        """Without what must not be shown, and short enough to store."""
        return (
            _TOKEN.sub("<token>", text.removeprefix(SERVER_PREFIX))
            .replace(self._api_secret, "<secret>")
            .replace(self._url, self.shown_url)[:500]
        )

    def _connected(self) -> LiveKitAPI:
        if self._api is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0)
            self._calls = aiohttp.ClientSession(
                connector=connector, middlewares=(_only_twirp,), cookie_jar=aiohttp.DummyCookieJar()
            )
            self._api = LiveKitAPI(self._url, self._api_key, self._api_secret, session=self._calls, failover=False)
        return self._api

    def _dialling(self) -> aiohttp.TCPConnector:
        if self._dial_connector is None:
            self._dial_connector = aiohttp.TCPConnector(limit=0, force_close=True)
        return self._dial_connector
