"""Calls as they are queued and shown: what the command line and later doors give and get. Knows no SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.ids import E164, CallId, DialId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.records import Outcome, WaitingFor
from sip.events import Dialled, Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """A call to be queued."""

    account: str
    """The account's name."""
    to: str
    """E.164; see `orchestrator.numbers` for what makes it so."""
    agent_name: str = ""
    """Empty: the account's default agent."""
    metadata: str = "{}"
    """JSON object as text, at most 64 KiB, for the agent."""
    caller_id: str | None = None
    """One of the account's or of its trunks'; None: the first of them."""
    display_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    dtmf: str = ""
    ring_timeout_s: float | None = None
    """None: the account's."""
    max_duration_s: float | None = None
    """None: the account's."""
    priority: int = 0
    """Higher goes first within the account, -100 to 100."""
    run_at: datetime | None = None
    """None: now."""
    expires_at: datetime | None = None
    """None: the store's default after `run_at`."""
    idempotency_key: str | None = None
    """The same key queues an account's call once, 1 to 255 characters."""
    batch: str | None = None
    """Groups calls that were queued together, 1 to 255 characters."""
    trunk: str | None = None
    """A trunk or trunk group by name; None: the account's."""
    calling_hours: tuple[str, ...] | None = None
    """Rules of `orchestrator.hours` for this call alone; None: the account's."""
    redial: Mapping[str, object] | None = None
    """`max_attempts`, `delays` (seconds by class) and `jitter` for this call alone; what is missing is the account's."""
    detection: Mapping[str, object] | None = None
    """Fields of `orchestrator.detection.DetectionPolicy` for this call alone, as JSON values; the rest is the account's."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A call that is on the queue, by this request or by an earlier one with the same key."""

    call_id: CallId
    created: bool


@dataclass(frozen=True, slots=True)
class CallRow:
    """A call as it stands."""

    call_id: CallId
    account: str
    to: str
    state: State
    end_reason: EndReason | None
    batch: str | None
    idempotency_key: str | None
    agent_name: str
    metadata: str
    priority: int
    created_at: datetime
    run_at: datetime
    expires_at: datetime
    waiting_for: WaitingFor
    deferrals: int
    epoch: int
    attempts: int
    trunk: str | None
    caller_id: E164 | None
    """Of the last dial; before any dial the one asked for."""
    cancel_requested_at: datetime | None
    claimed_at: datetime | None
    dialed_at: datetime | None
    ringing_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    outcome: Outcome | None
    """None until it has ended."""


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt of a call."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    end_reason: EndReason | None


@dataclass(frozen=True, slots=True)
class DialRow:
    """One create request to the carrier, or the intent of one."""

    dial_id: DialId
    attempt: int
    number: int
    """Counts within the attempt."""
    epoch: int
    trunk: str
    caller_id: E164 | None
    room: str
    intent_at: datetime
    dial_at: datetime
    """The dial time granted from the trunk's pace."""
    ended_at: datetime | None
    spent: bool | None
    """False: it is proven that no phone rang, and the call went back to the queue. None: not over."""
    dialled: Dialled | None
    sip_code: int | None
    sip_reason: str
    sip_call_id: str
    livekit_sip_call_id: str
    participant_sid: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of a call's timeline."""

    at: datetime
    epoch: int
    kind: str
    """`state` for a change of state; `order` and `cancel_requested`; else whatever was noted."""
    state: State | None
    """The new state, where `kind` is `state`."""
    detail: Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class CallView:
    """A call with all that happened to it."""

    call: CallRow
    attempts: tuple[AttemptRow, ...]
    dials: tuple[DialRow, ...]
    events: tuple[EventRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls to list; every field that is set must match."""

    account: str | None = None
    batch: str | None = None
    to: str | None = None
    states: frozenset[State] = frozenset()
    """Empty: any."""
    end_reason: EndReason | None = None
    before: CallId | None = None
    """Only older calls; the last id of a page gives the next page."""
    limit: int = 50
    """1 to 1,000."""


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """How the calls of a batch ended."""

    total: int
    unfinished: Mapping[State, int]
    ended: Mapping[EndReason, int]
