"""`check` finds what is wrong and says what to do, and rings no phone."""

from __future__ import annotations

import socket

from aiohttp import web
from livekit.protocol.sip import SIPOutboundTrunkInfo

from tests.unit.sip.livekit.fake_livekit import SECRET, TwirpError


async def findings(line, *trunk_ids: str):
    found = {finding.subject: finding for finding in await line.carrier.check(trunk_ids=trunk_ids)}
    assert line.livekit.count("CreateSIPParticipant") == 0
    return found


async def test_a_livekit_in_order_is_found_in_order(line):
    line.livekit.trunks = [SIPOutboundTrunkInfo(sip_trunk_id="ST_main", name="main", address="sip.example", numbers=["+1"])]
    line.receives(line.livekit.webhook("room_started", room=line.room_plan().name))
    found = await findings(line, "ST_main")
    assert set(found) == {"LiveKit", "room fence", "SIP", "trunk ST_main", "webhooks"}
    assert all(finding.ok for finding in found.values())


async def test_a_livekit_that_is_down_is_the_only_finding(make_line):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        line = await make_line(url=f"http://127.0.0.1:{probe.getsockname()[1]}")
        found = await findings(line, "ST_main")
    assert set(found) == {"LiveKit"}
    assert not found["LiveKit"].ok
    assert "livekit.url" in found["LiveKit"].remedy


async def test_a_refused_key_is_told_apart_and_no_secret_shown(line):
    line.livekit.misbehaviour["ListRooms"] = web.Response(status=401, text="invalid API key")
    found = await findings(line)
    assert "refused the API key" in found["LiveKit"].text
    assert "livekit.api_secret" in found["LiveKit"].remedy
    assert SECRET not in repr(found)


async def test_a_server_that_makes_rooms_by_itself_is_a_warning_and_left_clean(line):
    line.livekit.auto_create = True
    found = await findings(line)
    assert not found["room fence"].ok
    assert not found["room fence"].fatal
    assert "auto_create: false" in found["room fence"].remedy
    assert line.livekit.rooms == {}


async def test_a_fence_that_cannot_be_told_is_a_warning_that_says_so(line):
    line.livekit.misbehaviour["CreateDispatch"] = TwirpError("unimplemented", "no agents here", 501)
    found = await findings(line)
    assert not found["room fence"].ok
    assert not found["room fence"].fatal
    assert "cannot tell" in found["room fence"].text


async def test_a_trunk_that_livekit_does_not_know_is_named_with_those_that_it_knows(line):
    line.livekit.trunks = [SIPOutboundTrunkInfo(sip_trunk_id="ST_other", address="sip.example")]
    found = await findings(line, "ST_main")
    assert not found["trunk ST_main"].ok
    assert found["trunk ST_main"].fatal
    assert "ST_other" in found["trunk ST_main"].text


async def test_a_server_without_sip_is_found(line):
    line.livekit.misbehaviour["ListSIPOutboundTrunk"] = TwirpError("internal", "sip not connected (redis required)", 500)
    found = await findings(line, "ST_main")
    assert not found["SIP"].ok
    assert "Redis" in found["SIP"].remedy


async def test_webhooks_that_never_came_are_a_warning(line):
    found = await findings(line)
    assert not found["webhooks"].ok
    assert not found["webhooks"].fatal
    assert "LEG_LOST" in found["webhooks"].text
