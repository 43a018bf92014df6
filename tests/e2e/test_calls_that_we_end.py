"""Calls that end by our agent, by its absence, by request, by our limits or by accident; again through the whole product."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallView
from tests.e2e.daemon import CALLER_ID, Daemon, Desk, number

pytestmark = [pytest.mark.livekit, pytest.mark.xdist_group("livekit"), pytest.mark.timeout(600)]

RINGS_OUT, TALKS_ON, HANGS_UP_AT_ONCE, MEDIA_LOST = 3, 30, 16, 15
SERIES = 20
"""Of the first scene; each has a number of its own, since nobody is called by two calls at once."""


@dataclass(frozen=True)
class Scene:
    """A call, and what is done to it meanwhile."""

    line: int
    reason: EndReason
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    expires_in_s: float | None = None
    meanwhile: Callable[[Desk, CallId], Awaitable[None]] | None = None


async def cancel_while_it_rings(desk: Desk, call_id: CallId) -> None:
    await desk.until(call_id, State.RINGING)
    await desk.cancel(call_id)


async def cancel_while_they_talk(desk: Desk, call_id: CallId) -> None:
    await desk.until(call_id, State.ACTIVE)
    await desk.cancel(call_id)


SCENES = {
    "the agent ends it on purpose": Scene(TALKS_ON, EndReason.AGENT_HUNG_UP, {"end_after_s": 1.5, "reason": "sold"}),
    "the agent crashes in the conversation": Scene(TALKS_ON, EndReason.AGENT_LOST, {"crash_after_s": 4}),
    "the agent crashes while it rings": Scene(
        RINGS_OUT, EndReason.AGENT_LOST, {"crash_after_s": 1.5}, fields={"ring_timeout_s": 20.0}
    ),
    "the agent leaves without a word": Scene(TALKS_ON, EndReason.AGENT_LOST, {"leave_after_s": 4}),
    "the agent never comes": Scene(
        TALKS_ON, EndReason.AGENT_NEVER_JOINED, fields={"agent_name": "nobody-has-this-name"}, expires_in_s=9
    ),
    "it is canceled while it rings": Scene(
        RINGS_OUT, EndReason.CANCELED_BY_REQUEST, fields={"ring_timeout_s": 20.0}, meanwhile=cancel_while_it_rings
    ),
    "an operator ends it": Scene(TALKS_ON, EndReason.OPERATOR_HUNG_UP, meanwhile=cancel_while_they_talk),
    "the callee hangs up at once": Scene(
        HANGS_UP_AT_ONCE,
        EndReason.USER_HUNG_UP_IN_CALL,
        fields={"headers": {"X-Case": "7"}, "display_name": "Acme", "dtmf": "1w2", "ring_timeout_s": 9.0},
    ),
    # The SIP service leaves then as it does after a hang-up, but for the status: nothing says what it was.
    "the callee's audio stops": Scene(MEDIA_LOST, EndReason.LEG_LOST),
    "it lasts too long": Scene(TALKS_ON, EndReason.MAX_DURATION_REACHED, fields={"max_duration_s": 5.0}),
}


@pytest.fixture(scope="module")
def played(daemon: Daemon) -> Mapping[str, CallView]:
    """All scenes, played at once, each as it ended."""

    async def play(scene: Scene, desk: Desk, series: int) -> CallView:
        expires_at = datetime.now().astimezone() + timedelta(seconds=scene.expires_in_s) if scene.expires_in_s else None
        call_id = await desk.enqueue(
            number(scene.line, series=series), metadata=scene.metadata, expires_at=expires_at, **scene.fields
        )
        if scene.meanwhile is not None:
            await scene.meanwhile(desk, call_id)
        return await desk.until_ended(call_id)

    async def play_all() -> Mapping[str, CallView]:
        async with daemon.desk() as desk:
            views = await asyncio.gather(*(play(scene, desk, SERIES + index) for index, scene in enumerate(SCENES.values())))
            return dict(zip(SCENES, views, strict=True))

    return asyncio.run(play_all())


@pytest.mark.parametrize("name", SCENES)
def test_each_scene_ends_in_its_reason(played: Mapping[str, CallView], name: str) -> None:
    outcome = played[name].call.outcome
    assert outcome is not None
    assert outcome.reason is SCENES[name].reason, played[name]


@pytest.mark.parametrize("name", [name for name in SCENES if name != "the agent never comes"])
def test_each_scene_is_dialled_once_and_its_leg_is_gone(daemon: Daemon, played: Mapping[str, CallView], name: str) -> None:
    rooms = [dial.room for dial in played[name].dials]
    (dial,) = [dial for room in rooms for dial in daemon.stand_in.ledger.dials(room=room)]
    assert dial.invited_at_s is not None
    assert dial.ended_at_s is not None


def test_nobody_is_dialled_without_an_agent(daemon: Daemon, played: Mapping[str, CallView]) -> None:
    assert played["the agent never comes"].dials == ()


def test_the_agents_reason_is_kept(played: Mapping[str, CallView]) -> None:
    outcome = played["the agent ends it on purpose"].call.outcome
    assert outcome is not None
    assert "sold" in outcome.evidence.values()


def test_what_was_asked_for_reaches_the_request(daemon: Daemon, played: Mapping[str, CallView]) -> None:
    rooms = [dial.room for dial in played["the callee hangs up at once"].dials]  # some may have missed their dial time, unsent
    (dial,) = [dial for room in rooms for dial in daemon.stand_in.ledger.dials(room=room)]
    asked = dial.request
    assert (asked.headers, asked.display_name, asked.dtmf) == ({"X-Case": "7"}, "Acme", "1w2")
    assert (asked.caller_id, asked.trunk_id) == (CALLER_ID, daemon.stand_in.trunk_id)
    assert asked.ringing_timeout_s == 9
    assert asked.identity.startswith("callee-")


def test_check_finds_everything_as_it_must_be(daemon: Daemon) -> None:
    found = json.loads(daemon.command("check", "--json").stdout)
    # The tests' database server is made fast, not durable, and that is found.
    wrong = [finding for finding in found if not finding["ok"] and finding["fatal"] and finding["subject"] != "database"]
    assert wrong == []
    assert {"LiveKit", "room fence", "SIP", f"trunk {daemon.stand_in.trunk_id}"} <= {finding["subject"] for finding in found}
