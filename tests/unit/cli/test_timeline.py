"""What `calls show` and `--json` tell of a call."""

from __future__ import annotations

import json
from datetime import timedelta

from orchestrator.cli.documents import call_document, text_of, view_document
from orchestrator.cli.timeline import story
from orchestrator.cli.words import clean
from orchestrator.ids import E164, DialId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.records import Outcome
from orchestrator.store.views import AttemptRow, CallView, DialRow, EventRow
from sip.events import Dialled
from tests.unit.cli.rows import NINE, call_row

REJECTED = Outcome(
    state=State.NOT_CONNECTED,
    reason=EndReason.USER_HUNG_UP_RINGING,
    dialled=Dialled.YES,
    sip_code=603,
    sip_reason="Decline\x1b[31m",
    ring_ms=4000,
    ring_error_ms=250,
    evidence={"rule": "sip_code"},
)


def event(after_s: float, state: State, epoch: int = 1, **detail: object) -> EventRow:
    return EventRow(at=NINE + timedelta(seconds=after_s), epoch=epoch, kind="state", state=state, detail=detail)


VIEW = CallView(
    call=call_row(end_reason=EndReason.USER_HUNG_UP_RINGING, outcome=REJECTED, idempotency_key="b:+12125550100", trunk="t1"),
    attempts=(AttemptRow(number=1, started_at=NINE, ended_at=NINE, end_reason=EndReason.USER_HUNG_UP_RINGING),),
    dials=(
        DialRow(
            dial_id=DialId(1),
            attempt=1,
            number=1,
            epoch=1,
            trunk="t1",
            caller_id=E164("+12125550199"),
            room="oc-1-1-1",
            intent_at=NINE + timedelta(seconds=0.5),
            dial_at=NINE + timedelta(seconds=0.6),
            ended_at=NINE + timedelta(seconds=5),
            spent=True,
            dialled=Dialled.YES,
            sip_code=603,
            sip_reason="Decline",
            sip_call_id="abc@1",
            livekit_sip_call_id="",
            participant_sid="",
        ),
    ),
    events=(
        event(0, State.SCHEDULED, epoch=0),
        event(0.4, State.DIALING),
        event(1, State.RINGING, pdd_ms=500),
        EventRow(at=NINE + timedelta(seconds=3), epoch=0, kind="cancel_requested", state=None, detail={}),
        event(5.25, State.NOT_CONNECTED, rule="sip_code"),
    ),
)


def test_the_timeline_shows_every_event_and_dial_in_order_with_times_and_evidence():
    lines = list(story(VIEW))
    steps = [line.split("s  ", 1)[1] for line in lines if line.startswith("09:00")]
    assert [step.split("   ")[0].strip() for step in steps] == [
        "scheduled",
        "dialing",
        "dial 1 of attempt 1: intent",
        "ringing",
        "cancel_requested",
        "dial 1 of attempt 1: over",
        "not_connected",
    ]
    text = "\n".join(lines)
    assert "09:00:05.250    5.250s  not_connected   rule=sip_code epoch=1" in text
    assert "caller_id=+12125550199" in text
    assert "ring        4.0 s (within 0.2 s)" in text
    assert "+12125550100" in text


def test_texts_from_the_network_cannot_drive_the_terminal():
    assert all("\x1b" not in line for line in story(VIEW))
    assert clean("a\x1b[31mb\r\nc\u202e") == "a?[31mb??c?"


def test_json_holds_the_whole_call_with_its_public_status():
    document = json.loads(text_of(view_document(VIEW)))
    assert document["call_status"] == "no_answer"
    assert document["visible_status"] == "failed"
    assert document["ended_by"] == "user"
    assert document["sip_code"] == 603
    assert document["created_at"] == "2026-11-21T09:00:00Z"
    assert document["to"] == "+12125550100"
    assert document["metadata"] == {}
    assert [event["state"] for event in document["events"]][-1] == "not_connected"
    assert document["dials"][0]["room"] == "oc-1-1-1"


def test_a_masked_document_holds_the_number_nowhere():
    text = text_of(call_document(VIEW.call, numbers_in_full=False))
    assert "12125550100" not in text
    assert json.loads(text)["to"] == "********0100"
