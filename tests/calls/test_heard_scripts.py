"""Callees of the simulated carrier as the real detectors hear them, met as a policy says: from the sound to the end reason."""

from __future__ import annotations

import json
import wave
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.calls.plans import ListeningTimes
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.pool import Database
from orchestrator.store.views import CallView
from sip.clock import Clock
from sip.simulated import callees
from sip.simulated.carrier import SimulatedCarrier
from sip.simulated.hearing import hear
from sip.simulated.scripts import script_for
from sip.voicemail.events import DetectorSettings
from tests.fixtures.orchestra import TIMES, Orchestra, a_queue, furnish, playing

HANGS_UP = {
    f"on_{kind}": "hang_up"
    for kind in ("voicemail", "mailbox_full", "menu", "screening", "announcement", "fax", "call_progress")
}


@pytest.fixture
def clock() -> Clock:
    """Slow enough that what is heard is acted on before a script's next step."""
    return Clock(scale=10.0)


@pytest.fixture
async def listening(database: Database, carrier: SimulatedCarrier, clock: Clock) -> AsyncIterator[Orchestra]:
    await furnish(database)
    times = replace(TIMES, listening=ListeningTimes(), agent_return_grace_s=60.0)
    orchestra = Orchestra(database=database, carrier=carrier, clock=clock, queue=await a_queue(database), times=times)
    async with playing(orchestra):
        yield orchestra


async def call(orchestra: Orchestra, to: str, *, behaviour: str = "stays", **policy: object) -> CallView:
    """How a call to this callee ends."""
    script = script_for(to)
    assert script is not None
    hear(script, DetectorSettings())  # found out before, so that no dial is late
    metadata = json.dumps({"simulated_agent": behaviour})
    call_id = await orchestra.enqueue(to=to, metadata=metadata, detection={"on": True, **policy}, max_duration_s=120.0)
    return await orchestra.wait_until_ended(call_id, patience_s=60.0)


@pytest.mark.parametrize(
    ("to", "reason", "answered_by"),
    [
        (callees.VOICEMAIL_WITH_BEEP, EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED, AnsweredBy.MACHINE),
        (callees.MAILBOX_FULL, EndReason.AGENT_HUNG_UP_BY_POLICY, AnsweredBy.MACHINE),
        (callees.BUSY_AFTER_ANSWER, EndReason.AGENT_HUNG_UP_BY_POLICY, AnsweredBy.MACHINE),
        (callees.FAX, EndReason.FAX_DETECTED, AnsweredBy.FAX),
        (callees.TALKS_6_S, EndReason.USER_HUNG_UP_IN_CALL, None),
    ],
)
async def test_what_answers_is_met_as_the_policy_says_and_people_are_talked_to(
    listening: Orchestra, to: str, reason: EndReason, answered_by: AnsweredBy | None
):
    outcome = (await call(listening, to, **HANGS_UP)).call.outcome
    assert outcome is not None
    assert outcome.reason is reason, outcome.evidence
    assert answered_by in (None, outcome.answered_by)


@pytest.mark.parametrize(
    ("to", "reason", "rule"),
    [
        (callees.EARLY_ANNOUNCEMENT, EndReason.SIP_FAILED_UNREACHABLE, "early_media_sit"),
        (callees.EARLY_BUSY, EndReason.USER_BUSY, "early_media_busy"),
    ],
)
async def test_what_is_heard_before_the_answer_decides_the_end_reason(
    listening: Orchestra, to: str, reason: EndReason, rule: str
):
    outcome = (await call(listening, to)).call.outcome
    assert outcome is not None
    assert (outcome.reason, outcome.evidence["inferred"]) == (reason, rule)
    assert outcome.answered_by is None


async def test_a_recorded_message_is_left_on_a_mailbox_after_its_beep(listening: Orchestra, tmp_path: Path):
    path = tmp_path / "bye.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 8000))
    # An agent that ended the call would race with the message on a slow machine; this one is gone, and not missed.
    policy = {"on_voicemail": "leave_message", "message": str(path)}
    view = await call(listening, callees.VOICEMAIL_WITH_BEEP, behaviour="crashes", **policy)
    outcome = view.call.outcome
    assert outcome is not None
    assert outcome.reason is EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE, outcome.evidence
    assert (outcome.evidence["message_after"], outcome.evidence["message_s"]) == ("beep", 1.0)


async def test_an_agent_leaves_its_message_when_it_is_told_to(listening: Orchestra):
    view = await call(listening, callees.VOICEMAIL_WITH_BEEP, behaviour="speaks_after_beep", on_voicemail="leave_message")
    outcome = view.call.outcome
    assert outcome is not None
    assert outcome.reason is EndReason.AGENT_LEFT_VOICEMAIL_MESSAGE, outcome.evidence
    assert outcome.evidence["message_by"] == "agent"


async def test_a_callee_who_falls_silent_is_left_after_the_agent_was_warned(listening: Orchestra):
    view = await call(listening, callees.FALLS_SILENT, silence_warning_s=6, silence_s=12)
    outcome = view.call.outcome
    assert outcome is not None
    assert outcome.reason is EndReason.AGENT_HUNG_UP_SILENCE_DETECTED, outcome.evidence
    kinds = [event.kind for event in view.events]
    assert kinds.index("silence_warning") < kinds.index("order")
