"""From the database's rows to typed records, where several operations read the same columns. Knows no SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.ids import E164, CallId, DialId, TrunkId
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.policy import Circuit, CircuitStatus
from orchestrator.store.pool import Row
from orchestrator.store.records import DialForbidden, Gate, Outcome, TrunkRow, WaitingFor
from orchestrator.store.views import AttemptRow, CallRow, DialRow, EventRow
from sip.events import Dialled, Fact


def facts(text: str) -> Mapping[str, Fact]:
    """Evidence or an event's detail, stored as a JSON object."""
    read: dict[str, Fact] = json.loads(text)
    return read


def json_text(values: Mapping[str, Fact]) -> str:
    """What `facts` reads. NUL cannot be stored and is left out: a far end's text may hold anything."""
    return json.dumps({key: value.replace("\0", "") if isinstance(value, str) else value for key, value in values.items()})


def trunk_of(row: Row) -> TrunkRow:
    """The trunk's columns of claim_calls.sql and list_trunks.sql."""
    return TrunkRow(
        id=TrunkId(row["trunk_id"]),
        name=row["trunk"],
        sip_trunk_id=row["sip_trunk_id"],
        caller_ids=tuple(E164(number) for number in row["trunk_caller_ids"]),
        preconnect_voicemail=row["preconnect_voicemail"],
        preconnect_voicemail_codes=frozenset(row["preconnect_voicemail_codes"]),
        min_ring_s=row["min_ring_s"],
        max_ring_s=row["max_ring_s"],
        busy_means_declined=row["busy_means_declined"],
        patterns=tuple((pattern, cause) for pattern, cause in json.loads(row["patterns"])),
        dial_slack_ms=row["dial_slack_ms"],
    )


def forbidden_of(gate: str, retry_in_s: float | None) -> DialForbidden:
    """What dial_forbidden (migration 0007) says."""
    return DialForbidden(gate=Gate(gate), retry_in_s=retry_in_s)


def circuit_of(row: Row) -> CircuitStatus:
    """The circuit's columns of list_trunks.sql and list_agent_pools.sql."""
    if row["circuit_until"] is None:
        return CircuitStatus()
    return CircuitStatus(
        state=Circuit.HALF_OPEN if row["half_open"] else Circuit.OPEN,
        until=row["circuit_until"],
        openings=row["circuit_openings"],
        why=row["circuit_why"],
    )


def call_of(row: Row) -> CallRow:
    """A row of call_overview."""
    return CallRow(
        call_id=CallId(row["id"]),
        account=row["account"],
        to=row["to_number"],
        state=State(row["state"]),
        end_reason=None if row["end_reason"] is None else EndReason(row["end_reason"]),
        batch=row["batch"],
        idempotency_key=row["idempotency_key"],
        agent_name=row["agent_name"],
        metadata=row["metadata"],
        priority=row["priority"],
        created_at=row["created_at"],
        run_at=row["run_at"],
        expires_at=row["expires_at"],
        waiting_for=WaitingFor(row["waiting_for"]),
        deferrals=row["deferrals"],
        epoch=row["epoch"],
        attempts=row["attempt"],
        trunk=row["trunk"],
        caller_id=None if row["caller_id"] is None else E164(row["caller_id"]),
        cancel_requested_at=row["cancel_requested_at"],
        claimed_at=row["claimed_at"],
        dialed_at=row["dialed_at"],
        ringing_at=row["ringing_at"],
        answered_at=row["answered_at"],
        ended_at=row["ended_at"],
        outcome=None if row["end_reason"] is None else _outcome_of(row),
    )


def attempt_of(row: Row) -> AttemptRow:
    """A row of list_attempts.sql."""
    return AttemptRow(
        number=row["number"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        end_reason=None if row["end_reason"] is None else EndReason(row["end_reason"]),
    )


def dial_of(row: Row) -> DialRow:
    """A row of list_dials.sql."""
    return DialRow(
        dial_id=DialId(row["id"]),
        attempt=row["attempt"],
        number=row["number"],
        epoch=row["epoch"],
        trunk=row["trunk"],
        caller_id=None if row["caller_id"] is None else E164(row["caller_id"]),
        room=row["room"],
        intent_at=row["intent_at"],
        dial_at=row["dial_at"],
        ended_at=row["ended_at"],
        spent=row["spent"],
        dialled=None if row["dialled"] is None else Dialled(row["dialled"]),
        sip_code=row["sip_code"],
        sip_reason=row["sip_reason"],
        sip_call_id=row["sip_call_id"],
        livekit_sip_call_id=row["livekit_sip_call_id"],
        participant_sid=row["participant_sid"],
    )


def event_of(row: Row) -> EventRow:
    """A row of list_events.sql."""
    return EventRow(
        at=row["at"],
        epoch=row["epoch"],
        kind=row["kind"],
        state=None if row["state"] is None else State(row["state"]),
        detail=facts(row["detail"]),
    )


def _outcome_of(row: Row) -> Outcome:
    return Outcome(
        state=State(row["state"]),
        reason=EndReason(row["end_reason"]),
        dialled=Dialled(row["dialled"]),
        answered_by=None if row["answered_by"] is None else AnsweredBy(row["answered_by"]),
        sip_code=row["sip_code"],
        sip_reason=row["sip_reason"],
        q850_cause=row["q850_cause"],
        hangup_cause=row["hangup_cause"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        pdd_ms=row["pdd_ms"],
        ring_ms=row["ring_ms"],
        ring_error_ms=row["ring_error_ms"],
        talk_ms=row["talk_ms"],
        sip_call_id=row["sip_call_id"],
        livekit_sip_call_id=row["livekit_sip_call_id"],
        participant_sid=row["participant_sid"],
        evidence=facts(row["evidence"]),
    )
