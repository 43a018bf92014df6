"""Calls that end by our limits, by our agent, by request, or by the loss of their audio: what the far end gets to see of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from livekit import api

from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallView
from tests.fixtures.livekit import RealServer
from tests.sip.daemon import Daemon, Desk, new_number
from tests.sip.exchange import CALLER_ID, LOSES_AUDIO, Exchange, livekit
from tests.sip.farend import FarCall

pytestmark = [pytest.mark.sip, pytest.mark.xdist_group("sip")]

TALKS_ON, RINGS_ON = "talks_on", "rings_on"
WORKING_S = 0.25


@dataclass(frozen=True)
class Scene:
    """A call, and what is done to it meanwhile."""

    far_end: str
    reason: EndReason
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    meanwhile: Callable[[Desk, CallId], Awaitable[None]] | None = None


async def cancel_while_it_rings(desk: Desk, call_id: CallId) -> None:
    await desk.until(call_id, State.RINGING)
    await desk.cancel(call_id)


async def cancel_while_they_talk(desk: Desk, call_id: CallId) -> None:
    await desk.until(call_id, State.ACTIVE)
    await desk.cancel(call_id)


OUR_HANG_UPS = {
    "it lasts too long": Scene(TALKS_ON, EndReason.MAX_DURATION_REACHED, fields={"max_duration_s": 5.0}),
    "the agent ends it": Scene(TALKS_ON, EndReason.AGENT_HUNG_UP, {"end_after_s": 1.5, "reason": "sold"}),
    "the agent crashes while they talk": Scene(TALKS_ON, EndReason.AGENT_LOST, {"crash_after_s": 5}),
    "an operator ends it": Scene(TALKS_ON, EndReason.OPERATOR_HUNG_UP, meanwhile=cancel_while_they_talk),
    "digits and headers": Scene(
        TALKS_ON,
        EndReason.MAX_DURATION_REACHED,
        fields={"max_duration_s": 5.0, "headers": {"X-Case": "7"}, "display_name": "Acme", "dtmf": "1w2#"},
    ),
}
OUR_CANCELS = {
    "our ring time is over": Scene(RINGS_ON, EndReason.USER_DID_NOT_PICK_UP, fields={"ring_timeout_s": 5.0}),
    "it is canceled while it rings": Scene(RINGS_ON, EndReason.CANCELED_BY_REQUEST, meanwhile=cancel_while_it_rings),
    "the agent crashes while it rings": Scene(RINGS_ON, EndReason.AGENT_LOST, {"crash_after_s": 1.5}),
}
AUDIO_LOST = "the callee's audio is lost"
SCENES = {**OUR_HANG_UPS, **OUR_CANCELS, AUDIO_LOST: Scene(LOSES_AUDIO, EndReason.LEG_LOST)}


@pytest.fixture(scope="module")
def post_dial_allowance_s() -> float:
    """Enough that our own ring timer, which starts with the first 18x, is over before the SIP service's."""
    return 4.0


@pytest.fixture(scope="module")
def played(daemon: Daemon) -> Mapping[str, CallView]:
    """All scenes, played at once, each as it ended."""

    async def play(scene: Scene, desk: Desk) -> CallView:
        call_id = await desk.enqueue(scene.far_end, metadata=scene.metadata, **scene.fields)
        if scene.meanwhile is not None:
            await scene.meanwhile(desk, call_id)
        return await desk.until_ended(call_id)

    async def play_all() -> Mapping[str, CallView]:
        async with daemon.desk() as desk:
            views = await asyncio.gather(*(play(scene, desk) for scene in SCENES.values()))
            return dict(zip(SCENES, views, strict=True))

    return asyncio.run(play_all())


def far_call(exchange: Exchange, view: CallView) -> FarCall:
    """What of this call reached a far end."""
    (call,) = exchange.calls(to=view.call.to)
    return call


@pytest.mark.parametrize("name", SCENES)
def test_each_scene_ends_in_its_reason(played: Mapping[str, CallView], name: str) -> None:
    outcome = played[name].call.outcome
    assert outcome is not None
    assert outcome.reason is SCENES[name].reason, played[name]


@pytest.mark.parametrize("name", SCENES)
def test_each_scene_is_one_dial_and_one_invite(exchange: Exchange, played: Mapping[str, CallView], name: str) -> None:
    assert len([dial for dial in played[name].dials if dial.spent is not False]) == 1  # others missed their time, unsent
    assert len(far_call(exchange, played[name]).invites) == 1


@pytest.mark.parametrize("name", OUR_HANG_UPS)
def test_our_hang_up_reaches_the_callee_as_a_bye(exchange: Exchange, played: Mapping[str, CallView], name: str) -> None:
    call, outcome = far_call(exchange, played[name]), played[name].call.outcome
    (bye,) = call.requests("BYE", received=True)
    assert [answer.status for answer in call.answers(to="BYE")] == [200]
    assert outcome is not None
    assert outcome.talk_ms is not None
    assert call.final is not None
    assert abs(outcome.talk_ms / 1000 - (bye.at_s - call.final.at_s)) <= 0.5


@pytest.mark.parametrize("name", OUR_CANCELS)
def test_our_end_of_the_ringing_reaches_the_callee_as_a_cancel(
    exchange: Exchange, played: Mapping[str, CallView], name: str
) -> None:
    call = far_call(exchange, played[name])
    assert len(call.requests("CANCEL", received=True)) == 1
    assert call.final is not None
    assert call.final.status == 487
    assert call.requests("ACK", received=True)


@pytest.mark.parametrize("name", OUR_CANCELS)
def test_the_ring_time_says_how_exact_it_is_and_is(exchange: Exchange, played: Mapping[str, CallView], name: str) -> None:
    call, outcome = far_call(exchange, played[name]), played[name].call.outcome
    assert outcome is not None
    assert outcome.ring_ms is not None
    assert outcome.ring_error_ms is not None
    assert call.ringing_at_s is not None
    (cancel,) = call.requests("CANCEL", received=True)
    off_s = abs(outcome.ring_ms / 1000 - (cancel.at_s - call.ringing_at_s))
    assert off_s <= outcome.ring_error_ms / 1000 + WORKING_S, (outcome, call)


def test_a_call_without_audio_is_ended_by_the_sip_service(exchange: Exchange, played: Mapping[str, CallView]) -> None:
    call = far_call(exchange, played[AUDIO_LOST])
    outcome = played[AUDIO_LOST].call.outcome
    assert len(call.requests("BYE", received=True)) == 1
    assert outcome is not None
    assert "unexplained" in outcome.evidence
    assert "order" not in outcome.evidence, "we did not end it"


def test_what_was_asked_for_reaches_the_callee(exchange: Exchange, played: Mapping[str, CallView]) -> None:
    call = far_call(exchange, played["digits and headers"])
    (invite,) = call.invites
    assert invite.header("X-Case") == "7"
    assert "Acme" in invite.header("From")
    assert f"sip:{CALLER_ID}@" in invite.header("From")
    assert exchange.far_end(TALKS_ON).talk(call).digits == "12#"


def test_the_agents_reason_is_kept(played: Mapping[str, CallView]) -> None:
    outcome = played["the agent ends it"].call.outcome
    assert outcome is not None
    assert "sold" in outcome.evidence.values()


def test_check_finds_everything_as_it_must_be(daemon: Daemon, trunk_ids: Mapping[str, str]) -> None:
    found = json.loads(daemon.command("check", "--json").stdout)
    # The tests' database server is made fast, not durable, and that is found.
    wrong = [finding for finding in found if not finding["ok"] and finding["fatal"] and finding["subject"] != "database"]
    assert wrong == []
    expected = {"LiveKit", "room fence", "SIP", *(f"trunk {trunk_id}" for trunk_id in trunk_ids.values())}
    assert expected <= {finding["subject"] for finding in found}


async def test_a_dial_into_a_room_that_is_gone_reaches_nobody(
    real_livekit: RealServer, exchange: Exchange, trunk_ids: Mapping[str, str]
) -> None:
    to = new_number()
    request = api.CreateSIPParticipantRequest(
        sip_trunk_id=trunk_ids[RINGS_ON],
        sip_call_to=to,
        room_name="a-room-that-is-gone",
        participant_identity="callee-late",
        wait_until_answered=True,
        ringing_timeout=Duration(seconds=3),
    )
    async with livekit(real_livekit) as lk:
        with pytest.raises(api.ServerError, match="not found"):
            await lk.sip.create_sip_participant(request, timeout=20)
    assert exchange.calls(to=to) == []
