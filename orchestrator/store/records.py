"""What operations of the store take and give: frozen rows with types, nothing that knows SQL."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from orchestrator.ids import E164, AccountId, CallId, DialId, TrunkId
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from sip.leg import Dialled, Fact


class WaitingFor(enum.Enum):
    """What a call that is back on the queue waits for; decides its end reason should it expire."""

    SLOT = "slot"
    """An account slot or a trunk channel: nothing is wrong. EXPIRED_IN_QUEUE."""
    AGENT = "agent"
    """No agent came. AGENT_NEVER_JOINED."""
    MEDIA_SERVER = "media_server"
    """The media server or its SIP service could not take it. MEDIA_SERVER_UNAVAILABLE."""
    TRUNK_CAPACITY = "trunk_capacity"
    """The trunk's own limit refused it. SIP_FAILED_CAPACITY."""


EXPIRY_REASONS: Mapping[WaitingFor, EndReason] = {
    WaitingFor.SLOT: EndReason.EXPIRED_IN_QUEUE,
    WaitingFor.AGENT: EndReason.AGENT_NEVER_JOINED,
    WaitingFor.MEDIA_SERVER: EndReason.MEDIA_SERVER_UNAVAILABLE,
    WaitingFor.TRUNK_CAPACITY: EndReason.SIP_FAILED_CAPACITY,
}
"""How a call ends that expires while it waits."""


class Gate(enum.Enum):
    """What forbade a dial at the last gate."""

    CANCELED = "canceled"
    EXPIRED = "expired"
    ACCOUNT_PAUSED = "account_paused"
    TRUNK_DISABLED = "trunk_disabled"


@dataclass(frozen=True, slots=True)
class TrunkRow:
    """A trunk as the conductor needs it."""

    id: TrunkId
    name: str
    sip_trunk_id: str
    caller_ids: tuple[E164, ...]
    preconnect_voicemail: bool
    preconnect_voicemail_codes: frozenset[int]
    min_ring_s: float
    max_ring_s: float
    busy_means_declined: bool
    patterns: tuple[tuple[str, str], ...]
    """(regular expression, end cause): texts that override the table, see `sip.causes.TrunkRules`."""


@dataclass(frozen=True, slots=True)
class ClaimedCall:
    """A call that this worker has just claimed, with all that is needed to conduct it."""

    call_id: CallId
    account_id: AccountId
    account: str
    """The account's name."""
    epoch: int
    """Number of this claim; guards every later write."""
    to: str
    """As stored; the SQL door checks only its shape."""
    agent_name: str
    metadata: str
    """JSON object as text, for the agent."""
    caller_id: E164 | None
    """Asked for by the call; None: the account's or the trunk's first."""
    account_caller_ids: tuple[E164, ...]
    display_name: str | None
    headers: Mapping[str, str]
    dtmf: str
    ring_timeout_s: float
    max_duration_s: float
    trust_agent_leave: bool
    country: str
    """The account's own country, ISO 3166-1 alpha-2: reads numbers written nationally."""
    allowed_countries: tuple[str, ...]
    """Empty: the account's own only."""
    allowed_specials: frozenset[str]
    """Kinds of special numbers that the account may call, by name: see `orchestrator.numbers`."""
    expires_at: datetime
    deferrals: int
    """How often it went back to the queue unspent in a row; makes delays grow."""
    trunk: TrunkRow
    enqueued_to_claim_s: float
    """From the commit of the enqueue, or from `run_at` if later, to the claim, by the database's clock."""
    waiting_for: WaitingFor = WaitingFor.SLOT
    """What it waited for last; decides its end reason should the last gate find it expired, see `EXPIRY_REASONS`."""


@dataclass(frozen=True, slots=True)
class DialGranted:
    """The intent is written: send one request, `dial_in_s` from now, unless that is late."""

    dial_id: DialId
    attempt: int
    dial_number: int
    dial_in_s: float
    asked_at_boot_s: float
    """`sip.clock.boot_time_s` when the statement was sent: the intent is at most this old."""


@dataclass(frozen=True, slots=True)
class DialForbidden:
    """The last gate refused; the call is still claimed and nothing is spent."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one true end of a call, as it is written."""

    state: State
    reason: EndReason
    dialled: Dialled
    answered_by: AnsweredBy | None = None
    """human, machine, fax, ivr, screening, unknown; None when nobody answered."""
    sip_code: int | None = None
    sip_reason: str = ""
    q850_cause: int | None = None
    hangup_cause: str = ""
    error_code: str = ""
    error_message: str = ""
    pdd_ms: int | None = None
    ring_ms: int | None = None
    ring_error_ms: int | None = None
    """The true ring time lies within `ring_ms` plus or minus this."""
    talk_ms: int | None = None
    sip_call_id: str = ""
    livekit_sip_call_id: str = ""
    participant_sid: str = ""
    evidence: Mapping[str, Fact] = field(default_factory=dict)


class Claim(Protocol):
    """What guards a write: the call, its account and the epoch of the claim. ClaimedCall and StrandedCall are both one."""

    @property
    def call_id(self) -> CallId:
        """The call."""
        ...

    @property
    def account_id(self) -> AccountId:
        """Its account, whose slot it holds."""
        ...

    @property
    def epoch(self) -> int:
        """The number of the claim."""
        ...


@dataclass(frozen=True, slots=True)
class StrandedCall:
    """A call that holds a slot and whose worker is dead, or is this worker itself (`QueueStore.stranded_calls(lease_s=)`)."""

    call_id: CallId
    account_id: AccountId
    epoch: int
    deferrals: int
    state: State
    since_intent_s: float
    """Seconds since its intent was written, by the database's clock; 0 for a call that is only claimed."""


class CancelResult(enum.Enum):
    """What became of a request to cancel."""

    CANCELED = "canceled"
    """It waited and has ended at once."""
    REQUESTED = "requested"
    """A worker holds it and has been told; it ends in a moment."""
    ALREADY_ENDED = "already_ended"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How full everything is, from the counters."""

    ready: int
    """Calls that are due and wait."""
    slots_used: int
    slots_total: int
    channels_used: int
    channels_total: int


@dataclass(frozen=True, slots=True)
class CounterDrift:
    """How many counters differ from what they count; anything but zeros is a defect (I5)."""

    inflight: int
    channels: int
    ready: int
    copies: int

    @property
    def total(self) -> int:
        """Wrong counters of all kinds."""
        return self.inflight + self.channels + self.ready + self.copies
