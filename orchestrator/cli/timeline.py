"""One call's story as an operator reads it: what it asked for, each step with its time and evidence, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestrator.cli.documents import document
from orchestrator.cli.heard import heard
from orchestrator.cli.words import clean, shown_clock, shown_facts, shown_ms, shown_number, shown_time
from orchestrator.outcomes import OUTCOMES, call_status
from orchestrator.store.records import Outcome
from orchestrator.store.views import CallRow, CallView, DialRow

Line = tuple[datetime, str, str]
"""When, what, and its evidence."""


def story(view: CallView) -> Iterator[str]:
    """All lines about a call."""
    yield from heading(view.call)
    yield ""
    yield from timeline(view)
    if view.call.outcome is not None:
        yield ""
        yield from ending(view.call.outcome)


def heading(call: CallRow) -> Iterator[str]:
    """What the call is and where it stands."""
    status = call_status(call.state, call.end_reason).value
    standing = f"{call.state.value}: {call.end_reason.value}" if call.end_reason else call.state.value
    yield f"call {call.call_id}   {standing}   ({status})"
    fields = {
        "account": call.account,
        "to": shown_number(call.to, in_full=True),
        "caller id": shown_number(call.caller_id, in_full=True) or "-",
        "agent": call.agent_name,
        "trunk": call.trunk or "-",
        "batch": call.batch or "-",
        "key": call.idempotency_key or "-",
        "priority": str(call.priority),
        "queued": shown_time(call.created_at),
        "not before": shown_time(call.run_at),
        "expires": shown_time(call.expires_at),
        "attempts": str(call.attempts),
        "metadata": call.metadata,
    }
    if not call.state.is_terminal and call.deferrals:
        fields["waits for"] = f"{call.waiting_for.value} (put back {call.deferrals} times in a row)"
    for name, value in fields.items():
        yield f"  {name:<11} {clean(value)}"


def timeline(view: CallView) -> Iterator[str]:
    """Each event and dial in order of time; the second column counts seconds from the first."""
    lines = sorted([*_events(view), *_dials(view)], key=lambda line: line[0])
    begin = lines[0][0] if lines else view.call.created_at
    yield f"{'time (UTC)':<12} {'after':>9}  what"
    day = None
    for at, what, evidence in lines:
        if at.date() != day:
            day = at.date()
            yield f"{day}"
        after = (at - begin).total_seconds()
        yield f"{shown_clock(at)} {after:>8.3f}s  {what}{'   ' if evidence else ''}{evidence}"


def _events(view: CallView) -> Iterator[Line]:
    for event in view.events:
        told = heard(event.kind, event.detail)
        what = event.state.value if event.state is not None else f"  {event.kind}"
        evidence = shown_facts(event.detail)
        if told is not None:
            what, evidence = told
        if event.epoch:
            evidence = f"{evidence} epoch={event.epoch}".strip()
        yield event.at, what, evidence


def _dials(view: CallView) -> Iterator[Line]:
    for dial in view.dials:
        name = f"  dial {dial.number} of attempt {dial.attempt}"
        granted = f"trunk={clean(dial.trunk)} caller_id={dial.caller_id or '-'} room={clean(dial.room)}"
        yield dial.intent_at, f"{name}: intent", f"{granted} dial_time={shown_clock(dial.dial_at)}"
        if dial.ended_at is not None:
            yield dial.ended_at, f"{name}: over", _dial_end(dial)


def _dial_end(dial: DialRow) -> str:
    facts = {
        "sip_code": dial.sip_code,
        "sip_reason": dial.sip_reason or None,
        "dialled": dial.dialled.value if dial.dialled else None,
        "spent": dial.spent,
        "sip_call_id": dial.sip_call_id or None,
    }
    return shown_facts({name: value for name, value in facts.items() if value is not None})


def ending(outcome: Outcome) -> Iterator[str]:
    """How it ended, and why we say so."""
    ring = shown_ms(outcome.ring_ms)
    if ring and outcome.ring_error_ms is not None:
        ring += f" (within {shown_ms(outcome.ring_error_ms)})"
    sip = " ".join(part for part in (str(outcome.sip_code or ""), outcome.sip_reason) if part)
    fields = {
        "end reason": outcome.reason.value,
        "ended by": OUTCOMES[outcome.reason].by.value,
        "dialled": outcome.dialled.value,
        "answered by": str(document(outcome.answered_by) or "nobody"),
        "SIP": sip,
        "Q.850": "" if outcome.q850_cause is None else str(outcome.q850_cause),
        "cause": outcome.hangup_cause,
        "error": " ".join(part for part in (outcome.error_code, outcome.error_message) if part),
        "post dial": shown_ms(outcome.pdd_ms),
        "ring": ring,
        "talk": shown_ms(outcome.talk_ms),
        "SIP Call-ID": outcome.sip_call_id,
        "LiveKit ids": " ".join(part for part in (outcome.livekit_sip_call_id, outcome.participant_sid) if part),
        "evidence": shown_facts(outcome.evidence),
    }
    for name, value in fields.items():
        if value:
            yield f"  {name:<11} {clean(value)}"
