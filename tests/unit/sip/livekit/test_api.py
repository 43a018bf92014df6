"""A LiveKit that is down, slow, answers garbage or refuses the key: each gives a clear error, within its time."""

from __future__ import annotations

import asyncio
import inspect
import socket

import pytest
from aiohttp import web
from livekit.protocol.room import CreateRoomRequest

from sip.errors import CarrierUnavailable, RoomRefused
from sip.livekit.api import LiveKitServer, LiveKitUnavailable
from sip.livekit.timings import LiveKitTimings, Unobserved
from tests.unit.sip.livekit.fake_livekit import DROP, KEY, SECRET, TwirpError

HTML = web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")


def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_livekit_that_is_down_is_named_with_what_to_do(make_line):
    url = unused_url()
    line = await make_line(url=url)
    with pytest.raises(CarrierUnavailable, match="cannot be reached") as raised:
        await line.open()
    assert url in str(raised.value)
    assert "livekit.url" in str(raised.value)
    assert line.tally.errors["unreachable"] >= 1


async def test_a_livekit_that_is_slow_is_given_up_in_time_and_said_to_be_slow(line):
    line.livekit.misbehaviour["CreateRoom"] = 30.0
    with pytest.raises(CarrierUnavailable, match="did not answer within 1 s"):
        await line.open()
    assert line.tally.errors["timeout"] == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (HTML, "HTTP 502 without a LiveKit error"),
        (web.Response(status=200, text="<html>Welcome</html>", content_type="text/html"), "answers with text/html"),
        (web.Response(status=200, body=b"", content_type="application/octet-stream"), "answers with application/octet-stream"),
        (web.Response(status=200, body=b"\xff\xff\xff", content_type="application/protobuf"), "cannot be read"),
        (web.Response(status=307), "redirects"),
        (web.Response(status=404, text="404 page not found"), "HTTP 404 without a LiveKit error"),
    ],
)
async def test_what_answers_but_is_not_livekit_is_said_to_be_something_else(line, answer, says):
    line.livekit.misbehaviour["CreateRoom"] = answer
    with pytest.raises(CarrierUnavailable, match="does not speak LiveKit's API") as raised:
        await line.open()
    assert says in str(raised.value)
    assert line.tally.errors["garbage"] == 1


async def test_an_empty_page_is_never_an_empty_list_of_rooms(line):
    line.livekit.misbehaviour["ListRooms"] = web.Response(status=200, body=b"", content_type="text/plain")
    with pytest.raises(CarrierUnavailable):
        await line.carrier.list_rooms()


async def test_a_refused_key_says_which_settings_to_look_at_and_shows_no_secret(line):
    line.livekit.misbehaviour["CreateRoom"] = web.Response(status=401, text="invalid token: eyJhbGciOi.x.y")
    with pytest.raises(CarrierUnavailable, match="refused the API key") as raised:
        await line.open()
    text = str(raised.value)
    assert "livekit.api_secret" in text
    assert SECRET not in text
    assert "eyJ" not in text
    assert line.tally.errors["key_refused"] == 1


async def test_a_dropped_connection_is_unavailable_not_an_answer(line):
    line.livekit.misbehaviour["DeleteRoom"] = DROP
    with pytest.raises(CarrierUnavailable, match="cannot be reached"):
        await line.carrier.close_room(line.room_plan().name)


async def test_a_room_that_livekit_will_not_make_is_refused_with_its_words(line):
    line.livekit.misbehaviour["CreateRoom"] = TwirpError("invalid_argument", "metadata size exceeds limits", 400)
    with pytest.raises(RoomRefused, match="metadata size exceeds limits"):
        await line.open()


async def test_secrets_in_errors_of_the_server_are_taken_out(line):
    leak = f"twirp error unknown: bad token eyJhbGciOi.abc.def for {SECRET}"
    line.livekit.misbehaviour["CreateRoom"] = TwirpError("internal", leak, 500)
    with pytest.raises(CarrierUnavailable) as raised:
        await line.open()
    assert SECRET not in str(raised.value)
    assert "eyJ" not in str(raised.value)


def test_neither_repr_nor_texts_show_credentials_of_the_url():
    server = LiveKitServer(
        url="https://user:hunter2@livekit.example:7880/base",
        api_key=KEY,
        api_secret=SECRET,
        timings=LiveKitTimings(),
        observer=Unobserved(),
    )
    assert repr(server) == "LiveKitServer(https://livekit.example:7880/base)"


@pytest.mark.parametrize("url", ["", "livekit.example", "ftp://livekit.example", "https://"])
def test_a_url_that_cannot_be_livekits_is_refused(url):
    with pytest.raises(ValueError, match="LiveKit URL"):
        LiveKitServer(url=url, api_key=KEY, api_secret=SECRET, timings=LiveKitTimings(), observer=Unobserved())


CALLS = {
    "create_room": lambda server, line: server.create_room(_room_request(line)),
    "delete_room": lambda server, _: server.delete_room("r"),
    "list_rooms": lambda server, _: server.list_rooms(),
    "list_participants": lambda server, _: server.list_participants("r"),
    "remove_participant": lambda server, _: server.remove_participant(room="r", identity="i"),
    "set_attributes": lambda server, _: server.set_attributes(room="r", identity="i", attributes={"a": "b"}),
    "send_data": lambda server, _: server.send_data(room="r", topic="t", body=b"{}"),
    "create_dispatch": lambda server, _: server.create_dispatch(room="r", agent_name="a"),
    "list_outbound_trunks": lambda server, _: server.list_outbound_trunks(),
}


def _room_request(line):
    return CreateRoomRequest(name=line.room_plan().name)


def test_every_call_to_livekit_is_known_to_the_next_test():
    public = {name for name, call in inspect.getmembers(LiveKitServer, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert public == {*CALLS, "dial", "aclose"}


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_to_livekit_ends_in_time_whatever_the_server_does(line, call):
    for method in (
        "CreateRoom",
        "DeleteRoom",
        "ListRooms",
        "ListParticipants",
        "RemoveParticipant",
        "UpdateParticipant",
        "SendData",
        "CreateDispatch",
        "ListSIPOutboundTrunk",
    ):
        line.livekit.misbehaviour[method] = 60.0
    server = line.carrier._server
    async with asyncio.timeout(60):
        with pytest.raises(LiveKitUnavailable, match="did not answer") as raised:
            await CALLS[call](server, line)
    assert raised.value.kind == "timeout"
