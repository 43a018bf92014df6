"""Who answered, over SIP and RTP: what callees say in G.711 is heard by the listeners, told, acted on, and left a message."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.views import CallView
from tests.sip.daemon import Daemon, Desk
from tests.sip.exchange import FAX, MAILBOX, PERSON, Exchange

pytestmark = [pytest.mark.sip, pytest.mark.xdist_group("sip")]

MESSAGE_S = 2.0


@dataclass(frozen=True)
class Scene:
    """Who answers, a policy, and what is to become of the call."""

    far_end: str
    policy: Mapping[str, Any]
    reason: EndReason
    answered_by: AnsweredBy
    evidence: Mapping[str, object]
    metadata: Mapping[str, Any] = field(default_factory=dict)


MESSAGE_AFTER_THE_BEEP = "a mailbox gets a message after its beep"
SCENES = {
    "a person is left alone": Scene(
        PERSON,
        {"on_voicemail": "hang_up", "on_machine": "hang_up"},
        EndReason.AGENT_HUNG_UP,
        AnsweredBy.HUMAN,
        {"verdict": "person"},
        {"end_after_s": 10},
    ),
    "a mailbox is hung up on": Scene(
        MAILBOX,
        {"on_voicemail": "hang_up"},
        EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED,
        AnsweredBy.MACHINE,
        {},
    ),
    MESSAGE_AFTER_THE_BEEP: Scene(
        MAILBOX,
        {"on_voicemail": "leave_message", "no_beep_wait_s": 20.0},
        EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE,
        AnsweredBy.MACHINE,
        {"message_by": "file", "message_after": "beep"},
    ),
    "a fax is known": Scene(FAX, {}, EndReason.FAX_DETECTED, AnsweredBy.FAX, {"verdict": "fax"}),
}


@pytest.fixture(scope="module")
def listens() -> bool:
    """They are what is tried here."""
    return True


@pytest.fixture(scope="module")
def played(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, CallView]:
    """All scenes, played at once, each as it ended."""
    message = tmp_path_factory.mktemp("message") / "message.wav"
    with wave.open(str(message), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        loud = (8000 if n // 8 % 2 else -8000 for n in range(round(8000 * MESSAGE_S)))
        file.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in loud))

    async def play(scene: Scene, desk: Desk) -> CallView:
        own = {"message": str(message)} if scene.policy.get("on_voicemail") == "leave_message" else {}
        call_id = await desk.enqueue(
            scene.far_end, metadata=scene.metadata, detection={"on": True, **scene.policy, **own}, max_duration_s=40.0
        )
        return await desk.until_ended(call_id)

    async def play_all() -> Mapping[str, CallView]:
        async with daemon.desk() as desk:
            views = await asyncio.gather(*(play(scene, desk) for scene in SCENES.values()))
            return dict(zip(SCENES, views, strict=True))

    return asyncio.run(play_all())


@pytest.mark.parametrize("name", SCENES)
def test_each_callee_is_told_apart_and_gets_what_the_policy_says(played: Mapping[str, CallView], name: str) -> None:
    outcome, scene = played[name].call.outcome, SCENES[name]
    assert outcome is not None
    assert (outcome.reason, outcome.answered_by) == (scene.reason, scene.answered_by), played[name]
    assert {fact: outcome.evidence.get(fact) for fact in scene.evidence} == scene.evidence, played[name]


def test_the_message_is_heard_at_the_far_end_and_only_after_the_beep(
    exchange: Exchange, played: Mapping[str, CallView]
) -> None:
    (call,) = exchange.calls(to=played[MESSAGE_AFTER_THE_BEEP].call.to)
    talk = exchange.far_end(MAILBOX).talk(call)
    greeting_s = 0.4 + 2.6 + 0.3 + 2.4 + 0.4 + 3.0 + 0.5 + 0.5
    after = [at_s for at_s in talk.loud_s if at_s >= talk.began_s + greeting_s]
    assert len(after) * 0.02 >= MESSAGE_S * 0.8
    assert after[-1] - after[0] <= MESSAGE_S * 1.5
