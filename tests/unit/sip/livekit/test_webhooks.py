"""A webhook is believed only if it is signed with our key, whole, fresh, new and about a room of ours."""

from __future__ import annotations

import json

import pytest
from livekit.api import AccessToken
from livekit.protocol.models import ParticipantInfo

from sip.events import AgentJoined
from sip.livekit import webhooks
from sip.livekit.webhooks import Receipt, Refusal, WebhookRefused
from tests.unit.sip.livekit.conftest import next_event
from tests.unit.sip.livekit.fake_livekit import KEY, SECRET


def left(line, **changes):
    return line.livekit.webhook("participant_left", **{"room": line.room_plan().name, "identity": "callee-1", **changes})


async def test_a_webhook_in_order_is_accepted_once(line):
    webhook = left(line)
    assert line.carrier.webhooks.receive(*webhook) is Receipt.ACCEPTED
    assert line.carrier.webhooks.receive(*webhook) is Receipt.DUPLICATE
    assert line.tally.webhooks == {"accepted": 1, "duplicate": 1}


async def test_a_bearer_prefix_is_understood(line):
    body, token = left(line)
    assert line.carrier.webhooks.receive(body, f"Bearer {token}") is Receipt.ACCEPTED


@pytest.mark.parametrize("authorization", ["", "nonsense", "Bearer ", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
async def test_a_webhook_without_a_signature_is_refused(line, authorization):
    body, _ = left(line)
    with pytest.raises(WebhookRefused) as raised:
        line.carrier.webhooks.receive(body, authorization)
    assert raised.value.refusal is Refusal.SIGNATURE
    assert not line.carrier.webhooks.work


async def test_a_webhook_signed_with_another_secret_is_refused(line):
    with pytest.raises(WebhookRefused) as raised:
        line.receives(left(line, secret="another-secret-0123456789-0123456789"))
    assert raised.value.refusal is Refusal.SIGNATURE
    assert line.tally.webhooks == {"signature": 1}


async def test_a_body_that_was_changed_is_refused(line):
    body, token = left(line)
    with pytest.raises(WebhookRefused) as raised:
        line.carrier.webhooks.receive(body.replace(b"callee-1", b"callee-2"), token)
    assert raised.value.refusal is Refusal.BODY


async def test_a_token_that_signs_no_body_is_refused(line):
    body, _ = left(line)
    with pytest.raises(WebhookRefused) as raised:
        line.carrier.webhooks.receive(body, AccessToken(KEY, SECRET).to_jwt())
    assert raised.value.refusal is Refusal.BODY


@pytest.mark.parametrize("age_s", [400.0, -400.0])
async def test_a_webhook_from_long_ago_or_from_the_future_is_refused(line, age_s):
    with pytest.raises(WebhookRefused) as raised:
        line.receives(left(line, age_s=age_s))
    assert raised.value.refusal is Refusal.STALE


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"{}", b'{"event": 7}', b"\xff\xfe"])
async def test_signed_garbage_is_refused_as_garbage(line, body):
    with pytest.raises(WebhookRefused) as raised:
        line.receives(line.livekit.sign(body))
    assert raised.value.refusal is Refusal.GARBAGE


async def test_fields_that_this_version_does_not_know_are_ignored(line):
    body, _ = left(line)
    message = {**json.loads(body), "fieldOfTomorrow": 1}
    line.receives(line.livekit.sign(json.dumps(message).encode()))


async def test_a_webhook_about_a_room_of_others_is_nothing_to_us(line):
    assert line.carrier.webhooks.receive(*left(line, room="oc-ffffffff-7-1")) is Receipt.FOREIGN
    assert line.carrier.webhooks.receive(*left(line, room="lobby")) is Receipt.FOREIGN


async def test_a_room_of_ours_that_another_worker_watches_is_accepted(line):
    assert line.carrier.webhooks.receive(*left(line)) is Receipt.ACCEPTED


async def test_the_memory_of_ids_is_bounded(line, monkeypatch):
    monkeypatch.setattr(webhooks, "REMEMBERED_IDS", 3)
    first = left(line, event_id="EV_0")
    line.receives(first)
    for number in range(1, 4):
        line.receives(left(line, event_id=f"EV_{number}"))
    assert line.carrier.webhooks.receive(*first) is Receipt.ACCEPTED
    assert line.carrier.webhooks.receive(*left(line, event_id="EV_3")) is Receipt.DUPLICATE


async def test_webhooks_work_for_a_while_after_the_last_one(make_line):
    line = await make_line(webhook_recent_s=0.0)
    line.receives(left(line))
    assert not line.carrier.webhooks.work
    line = await make_line()
    assert not line.carrier.webhooks.work
    line.receives(left(line))
    assert line.carrier.webhooks.work


async def test_an_agent_that_joins_is_looked_for_at_once(make_line):
    line = await make_line(sweep_s=60.0, active_look_s=60.0)
    room = await line.open()
    line.livekit.puts_agent(room.name, "agent-1")
    await next_event(room)
    line.livekit.puts_agent(room.name, "agent-2")
    line.receives(
        line.livekit.webhook("participant_joined", room=room.name, identity="agent-2", kind=ParticipantInfo.Kind.AGENT)
    )
    joined = await next_event(room)
    assert isinstance(joined, AgentJoined)
    assert joined.identity == "agent-2"
