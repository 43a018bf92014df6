"""Rows of the store as tests need them, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason, final_state
from orchestrator.store.records import Outcome, WaitingFor
from orchestrator.store.views import CallRow
from sip.events import Dialled

NINE = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)

_WAITING = CallRow(
    call_id=CallId(1),
    account="acme",
    to="+12125550100",
    state=State.SCHEDULED,
    end_reason=None,
    batch=None,
    idempotency_key=None,
    agent_name="ann",
    metadata="{}",
    priority=0,
    created_at=NINE,
    run_at=NINE,
    expires_at=NINE.replace(day=22),
    waiting_for=WaitingFor.SLOT,
    deferrals=0,
    epoch=0,
    attempts=0,
    trunk=None,
    caller_id=None,
    cancel_requested_at=None,
    claimed_at=None,
    dialed_at=None,
    ringing_at=None,
    answered_at=None,
    ended_at=None,
    outcome=None,
)


def call_row(*, call_id: int = 1, end_reason: EndReason | None = None, answered: bool = False, **fields: Any) -> CallRow:
    """A waiting call, or with `end_reason` one that has ended."""
    row = replace(_WAITING, call_id=CallId(call_id), **fields)
    if end_reason is None:
        return row
    state = final_state(end_reason, answered=answered)
    outcome = Outcome(state=state, reason=end_reason, dialled=Dialled.YES)
    return replace(row, state=state, end_reason=end_reason, ended_at=row.ended_at or NINE, outcome=row.outcome or outcome)
