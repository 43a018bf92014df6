"""The stand-in tells what LiveKit told (LIVEKIT.md, section 0): errors, statuses, reasons of the leave, and when."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import pytest
from google.protobuf.duration_pb2 import Duration
from livekit import api, rtc
from livekit.api.sip_service import SipService
from livekit.protocol import sip as proto_sip

from tests.fixtures.livekit import RealServer, StandIn
from tests.fixtures.webhooks import WebhookEar

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit")]

NUMBER = "+44770090010"  # two digits more select the script
RINGING_S = 7


class Caller:
    """Dials through the stand-in as livekit-api does, and watches the room as somebody in it."""

    def __init__(
        self, *, lk: api.LiveKitAPI, sip: SipService, server: RealServer, standing_in: StandIn, ear: WebhookEar | None
    ) -> None:
        self.lk = lk
        self.server = server
        self.standing_in = standing_in
        self.ear = ear
        self._sip = sip

    async def room(self) -> str:
        name = f"room-{secrets.token_hex(6)}"
        await self.lk.room.create_room(api.CreateRoomRequest(name=name))
        return name

    async def dial(
        self, line: int, *, room: str | None = None, identity: str = "callee-1", **more: object
    ) -> proto_sip.SIPParticipantInfo:
        request = proto_sip.CreateSIPParticipantRequest(
            sip_trunk_id=more.pop("sip_trunk_id", self.standing_in.trunk_id),
            sip_call_to=f"{NUMBER}{line:02d}",
            room_name=room or await self.room(),
            participant_identity=identity,
            wait_until_answered=True,
            ringing_timeout=more.pop("ringing_timeout", Duration(seconds=RINGING_S)),
            **more,
        )
        return await self._sip.create_sip_participant(request, timeout=60)

    @contextlib.asynccontextmanager
    async def watching(self, room: str) -> AsyncIterator[list[str]]:
        """The callee's statuses, in the order in which somebody in the room saw them; all of them once the block is left."""
        seen: list[str] = []
        gone = asyncio.Event()
        watcher = rtc.Room()

        def look(*_: object) -> None:
            for participant in watcher.remote_participants.values():
                status = participant.attributes.get("sip.callStatus", "")
                if status and seen[-1:] != [status]:
                    seen.append(status)

        for event in ("participant_connected", "participant_attributes_changed"):
            watcher.on(event, look)
        token = api.AccessToken(self.server.api_key, self.server.api_secret).with_identity("watcher").with_kind("agent")
        await watcher.connect(
            self.server.ws_url,
            token.with_grants(api.VideoGrants(room_join=True, room=room, hidden=True)).to_jwt(),
            rtc.RoomOptions(),
        )
        watcher.on("participant_disconnected", lambda _participant: gone.set())
        try:
            yield seen
            async with asyncio.timeout(5):
                await gone.wait()
        finally:
            await watcher.disconnect()


@pytest.fixture
async def caller(real_livekit: RealServer, stand_in: StandIn) -> AsyncIterator[Caller]:
    lk = api.LiveKitAPI(stand_in.http_url, real_livekit.api_key, real_livekit.api_secret, failover=False)
    async with contextlib.AsyncExitStack() as stack:
        ear = None
        if real_livekit.webhook_port is not None:
            ear = await stack.enter_async_context(WebhookEar.listening(port=real_livekit.webhook_port))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        stack.push_async_callback(lk.aclose)
        sip = SipService(session, stand_in.http_url, real_livekit.api_key, real_livekit.api_secret, failover=False)
        yield Caller(lk=lk, sip=sip, server=real_livekit, standing_in=stand_in, ear=ear)


@dataclass(frozen=True)
class Row:
    """One row of the table of what a real server and SIP service did."""

    line: int
    seen: tuple[str, ...]
    reason: str
    code: str
    http_status: int
    message_ends: str
    meta: Mapping[str, str] = field(default_factory=dict)


def refused(line: int, seen: str, reason: str, code: str, http_status: int, sip_code: int, sip_status: str) -> Row:
    return Row(
        line, tuple(seen.split()), reason, code, http_status, f"sip status: {sip_code}: {sip_status}",
        {"sip_status_code": str(sip_code), "sip_status": sip_status},
    )  # fmt: skip


ROWS = [
    refused(1, "dialing ringing", "USER_REJECTED", "resource_exhausted", 429, 486, "Busy Here"),
    refused(2, "dialing ringing", "USER_REJECTED", "permission_denied", 403, 603, "Decline"),
    refused(8, "dialing", "USER_REJECTED", "permission_denied", 403, 603, "Decline"),
    refused(7, "dialing", "USER_UNAVAILABLE", "not_found", 404, 404, "Not Found"),
    refused(17, "dialing", "USER_REJECTED", "permission_denied", 403, 403, "Forbidden"),
    refused(25, "dialing ringing", "USER_UNAVAILABLE", "resource_exhausted", 429, 480, "Temporarily Unavailable"),
    refused(19, "dialing ringing", "USER_UNAVAILABLE", "resource_exhausted", 429, 480, "Temporarily Unavailable"),
    refused(18, "dialing", "CLIENT_INITIATED", "failed_precondition", 412, 503, "Service Unavailable"),
    Row(3, ("dialing", "ringing"), "USER_UNAVAILABLE", "canceled", 408, "sip request timed out"),
    Row(10, ("dialing",), "USER_UNAVAILABLE", "canceled", 408, "sip request timed out"),
]


async def test_each_failed_dial_is_told_as_livekit_tells_it(caller: Caller) -> None:
    async def check(row: Row) -> None:
        room = await caller.room()
        async with caller.watching(room) as seen:
            with pytest.raises(api.ServerError) as caught:
                await caller.dial(row.line, room=room)
        error = caught.value
        assert (error.code, error.status) == (row.code, row.http_status), row
        assert error.message.endswith(row.message_ends), row
        assert dict(error.metadata) == row.meta, row
        assert tuple(seen) == row.seen, row
        if caller.ear is not None:
            left = await caller.ear.left(room)
            assert (left["disconnectReason"], left["attributes"]["sip.callStatus"]) == (row.reason, row.seen[-1]), row

    await asyncio.gather(*(check(row) for row in ROWS))


async def test_a_service_over_its_cpu_guard_dials_nobody(caller: Caller) -> None:
    room = await caller.room()
    with pytest.raises(api.ServerError) as caught:
        await caller.dial(20, room=room)
    assert (caught.value.code, caught.value.status) == ("unavailable", 503)
    assert "cpu exhausted" in caught.value.message
    assert [dial.invited_at_s for dial in caller.standing_in.ledger.dials(room=room)] == [None]


async def test_an_answered_call_shows_every_status_and_the_callees_hang_up(caller: Caller) -> None:
    room = await caller.room()
    async with caller.watching(room) as seen:
        sent_s = time.time()
        info = await caller.dial(16, room=room, headers={"X-Case": "7"}, sip_number="+442079460000")
        answered_s = time.time()
        (dial,) = await caller.standing_in.ledger.wait_until(lambda dials: dials[0].ended_at_s is not None, room=room)
    assert seen == ["dialing", "ringing", "active", "hangup"]
    assert info.room_name == room
    assert info.sip_call_id.startswith("SCL_")
    assert dial.how == "hung up by callee"
    assert dial.answered_at_s is not None
    assert sent_s < dial.received_at_s < dial.answered_at_s < answered_s
    assert (dial.request.headers, dial.request.caller_id) == ({"X-Case": "7"}, "+442079460000")
    if caller.ear is not None:
        left = await caller.ear.left(room)
        assert (left["disconnectReason"], left["attributes"]["sip.callStatus"]) == ("CLIENT_INITIATED", "hangup")
        assert left["attributes"]["sip.phoneNumber"] == dial.request.to


async def test_a_dial_into_a_room_that_does_not_exist_is_fenced_off(caller: Caller) -> None:
    with pytest.raises(api.ServerError) as caught:
        await caller.dial(30, room="never-made")
    assert (caught.value.code, caught.value.status) == ("internal", 500)
    assert "update room failed: not found" in caught.value.message
    assert caller.standing_in.ledger.dials(room="never-made")[-1].invited_at_s is None


@pytest.mark.parametrize("by", ["remove_participant", "delete_room"])
async def test_a_dial_that_is_ended_while_it_rings_fails_like_a_ring_out(caller: Caller, by: str) -> None:
    room = await caller.room()
    dialling = asyncio.create_task(caller.dial(3, room=room))
    await caller.standing_in.ledger.wait_until(lambda dials: any(dial.ringing_at_s for dial in dials), room=room)
    if by == "delete_room":
        await caller.lk.room.delete_room(api.DeleteRoomRequest(room=room))
    else:
        await caller.lk.room.remove_participant(api.RoomParticipantIdentity(room=room, identity="callee-1"))
    with pytest.raises(api.ServerError) as caught:
        await asyncio.wait_for(dialling, timeout=3)
    assert (caught.value.code, caught.value.status, dict(caught.value.metadata)) == ("canceled", 408, {})
    (dial,) = await caller.standing_in.ledger.wait_until(lambda dials: dials[0].ended_at_s is not None, room=room)
    assert dial.how == "removed"


async def test_a_client_that_goes_away_does_not_end_the_dial(caller: Caller) -> None:
    room = await caller.room()
    dialling = asyncio.create_task(caller.dial(30, room=room))
    await caller.standing_in.ledger.wait_until(lambda dials: any(dial.ringing_at_s for dial in dials), room=room)
    dialling.cancel()
    (dial,) = await caller.standing_in.ledger.wait_until(lambda dials: dials[0].answered_at_s is not None, room=room)
    assert dial.ended_at_s is None
    await caller.lk.room.delete_room(api.DeleteRoomRequest(room=room))


async def test_nothing_deduplicates_a_second_dial_to_the_same_identity_rings_again(caller: Caller) -> None:
    room = await caller.room()
    first = asyncio.create_task(caller.dial(3, room=room))
    await caller.standing_in.ledger.wait_until(lambda dials: any(dial.ringing_at_s for dial in dials), room=room)
    second = asyncio.create_task(caller.dial(3, room=room))
    with pytest.raises(api.ServerError) as caught:
        await first
    assert caught.value.message.endswith("sip request timed out")
    dials = await caller.standing_in.ledger.wait_until(
        lambda dials: len(dials) == 2 and dials[1].ringing_at_s is not None, room=room
    )
    assert [dial.how for dial in dials] == ["removed", ""]
    await caller.lk.room.delete_room(api.DeleteRoomRequest(room=room))
    with pytest.raises(api.ServerError):
        await second


async def test_the_requests_own_maximum_duration_ends_an_answered_call(caller: Caller) -> None:
    room = await caller.room()
    await caller.dial(30, room=room, max_call_duration=Duration(seconds=3))
    (dial,) = await caller.standing_in.ledger.wait_until(lambda dials: dials[0].ended_at_s is not None, room=room)
    assert (dial.how, dial.leave) == ("maximum duration", "hangup")


async def test_callee_and_room_hear_each_others_digits(caller: Caller) -> None:
    room, heard = await caller.room(), []
    somebody = rtc.Room()
    somebody.on("sip_dtmf_received", lambda received: heard.append(received.digit))
    token = api.AccessToken(caller.server.api_key, caller.server.api_secret).with_identity("agent")
    await somebody.connect(caller.server.ws_url, token.with_grants(api.VideoGrants(room_join=True, room=room)).to_jwt())
    await caller.dial(27, room=room)
    await somebody.local_participant.publish_dtmf(code=5, digit="5")
    (dial,) = await caller.standing_in.ledger.wait_until(lambda dials: dials[0].ended_at_s is not None, room=room)
    await somebody.disconnect()
    assert heard == ["1", "2", "#"]
    assert dial.digits == "5"


async def test_tokens_and_trunks_are_checked_as_the_server_does(
    caller: Caller, real_livekit: RealServer, stand_in: StandIn
) -> None:
    async with aiohttp.ClientSession() as session:
        stranger = SipService(session, stand_in.http_url, real_livekit.api_key, "wrong" * 10, failover=False)
        with pytest.raises(api.ServerError) as caught:
            await stranger.list_outbound_trunk(api.ListSIPOutboundTrunkRequest())
        assert caught.value.status == 401
        url = f"{stand_in.http_url}/twirp/livekit.SIP/CreateSIPParticipant"
        token = (
            api.AccessToken(real_livekit.api_key, real_livekit.api_secret)
            .with_grants(api.VideoGrants(room_create=True))
            .to_jwt()
        )
        async with session.post(url, data=b"", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (401, "unauthenticated")
    with pytest.raises(api.ServerError) as caught:
        await caller.dial(30, room=await caller.room(), sip_trunk_id="ST_unknown")
    assert (caught.value.code, caught.value.message) == ("not_found", "requested sip trunk does not exist")
    listed = await caller.lk.sip.list_outbound_trunk(api.ListSIPOutboundTrunkRequest())
    assert stand_in.trunk_id in [trunk.sip_trunk_id for trunk in listed.items]
