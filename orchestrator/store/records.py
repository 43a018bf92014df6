"""What operations of the store take and give: frozen rows with types, nothing that knows SQL."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from orchestrator.detection import DetectionPolicy
from orchestrator.ids import E164, AccountId, CallId, DialId, TrunkId
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason, RedialClass
from sip.events import Dialled, Fact


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
    TRUNK_AUTH = "trunk_auth"
    """The trunk refused our credentials. SIP_FAILED_TRUNK_AUTH."""
    TRUNK_CONFIG = "trunk_config"
    """The trunk refused how we call. SIP_FAILED_TRUNK_CONFIG."""
    TRUNK_UNREACHABLE = "trunk_unreachable"
    """The trunk could not be reached. SIP_FAILED_TRUNK_UNREACHABLE."""
    CALLING_WINDOW = "calling_window"
    """It is outside the callee's calling hours. EXPIRED_IN_QUEUE, like all that follow."""
    TIME_ZONE = "time_zone"
    """The callee's time zone is not known, and the account does not dial without."""
    SPACING = "spacing"
    """The number is being called, was called a moment ago, or has been called as often as it may be."""
    CALLER_ID = "caller_id"
    """All caller ids have been used as often as they may be today."""
    PAUSED = "paused"
    """The system, the account, the trunk or the agent pool is paused, or a circuit is open."""
    REDIAL = "redial"
    """The next attempt. Should it expire, the call ends as its last attempt did."""


EXPIRY_REASONS: Mapping[WaitingFor, EndReason] = {
    WaitingFor.SLOT: EndReason.EXPIRED_IN_QUEUE,
    WaitingFor.AGENT: EndReason.AGENT_NEVER_JOINED,
    WaitingFor.MEDIA_SERVER: EndReason.MEDIA_SERVER_UNAVAILABLE,
    WaitingFor.TRUNK_CAPACITY: EndReason.SIP_FAILED_CAPACITY,
    WaitingFor.TRUNK_AUTH: EndReason.SIP_FAILED_TRUNK_AUTH,
    WaitingFor.TRUNK_CONFIG: EndReason.SIP_FAILED_TRUNK_CONFIG,
    WaitingFor.TRUNK_UNREACHABLE: EndReason.SIP_FAILED_TRUNK_UNREACHABLE,
    WaitingFor.CALLING_WINDOW: EndReason.EXPIRED_IN_QUEUE,
    WaitingFor.TIME_ZONE: EndReason.EXPIRED_IN_QUEUE,
    WaitingFor.SPACING: EndReason.EXPIRED_IN_QUEUE,
    WaitingFor.CALLER_ID: EndReason.EXPIRED_IN_QUEUE,
    WaitingFor.PAUSED: EndReason.EXPIRED_IN_QUEUE,
    WaitingFor.REDIAL: EndReason.EXPIRED_IN_QUEUE,
}
"""How a call ends that expires while it waits and of which no attempt has ended; else it ends as its last attempt did."""


class Gate(enum.Enum):
    """What forbade a dial at the last gate."""

    STOPPED = "stopped"
    """The kill switch."""
    HELD = "held"
    """The database was restored or failed over, and nobody has confirmed it (I1)."""
    CANCELED = "canceled"
    EXPIRED = "expired"
    ACCOUNT_PAUSED = "account_paused"
    TRUNK_DISABLED = "trunk_disabled"
    TRUNK_CIRCUIT = "trunk_circuit"
    AGENTS_PAUSED = "agents_paused"
    AGENTS_CIRCUIT = "agents_circuit"
    DO_NOT_CALL = "do_not_call"
    """On a do-not-call or suppression list: the call ends, BLOCKED_DO_NOT_CALL."""
    CALLING_WINDOW = "calling_window"
    """Outside its window, or the window is to be found again since the account's hours changed."""
    NUMBER_BUSY = "number_busy"
    """Another call of ours to the number is dialing, ringing or active."""
    NUMBER_GAP = "number_gap"
    NUMBER_CAP = "number_cap"
    CALLER_ID_CAP = "caller_id_cap"
    TRUNK_PACE = "trunk_pace"
    """The trunk's next dial time is more than a second ahead: ask again then. So no intent is much older than its request."""


@dataclass(frozen=True, slots=True)
class DialForbidden:
    """The gate refused; the call is still claimed and nothing is spent."""

    gate: Gate
    retry_in_s: float | None = None
    """Real seconds after which it may be allowed, if the gate can tell."""


class CallerIdChoice(enum.Enum):
    """How the number to show is chosen among the account's, or else the trunk's."""

    FIXED = "fixed"
    """The first that is under its cap."""
    ROTATING = "rotating"
    """The one with the fewest dials today."""
    NEAREST = "nearest"
    """The one nearest to the callee: area code, then region, then country."""


@dataclass(frozen=True, slots=True)
class RedialPolicy:
    """How often a call is tried and how long it waits between, in real seconds."""

    max_attempts: int = 1
    delays_s: Mapping[RedialClass, tuple[float, ...]] = field(default_factory=dict)
    """By class, in order of attempts; a class that is missing has OUTCOMES.md's. The last one repeats."""
    jitter: float = 0.1
    """Each delay is made longer by up to this share of itself, at random."""


class TrunkVerdict(enum.Enum):
    """What the end of a dial says about the trunk that carried it."""

    NOTHING = "nothing"
    GOOD = "good"
    """The trunk carried it: it rang, was busy, was declined ..."""
    ANSWERED = "answered"
    """Good, and somebody answered."""
    TRUNK = "trunk"
    """The trunk failed, whatever the number."""
    NUMBER = "number"
    """The number does not exist, says the trunk; a run of different numbers with one code says it of the trunk."""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What follows from the end of an attempt, besides the end itself."""

    trunk_verdict: TrunkVerdict = TrunkVerdict.NOTHING
    trunk_code: str = ""
    """SIP code or hang-up cause, for a run of one code."""
    redial_delay_s: float | None = None
    """Real seconds until the next attempt; None: the call ends with this one. The database refuses it for a call that was
    canceled meanwhile, or whose `expires_at` comes first."""
    suppress_number_s: float | None = None
    """Put the number on the account's suppression list for so long, if the trunk completed calls lately."""


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
    dial_slack_ms: int = 50
    """How late an INVITE may leave without breaking the trunk's rate; later than that it does not leave."""


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
    earlier_ends: tuple[EndReason, ...] = ()
    """How its earlier attempts ended."""
    redial: RedialPolicy = field(default_factory=RedialPolicy)
    caller_id_choice: CallerIdChoice = CallerIdChoice.FIXED
    detection: DetectionPolicy = field(default_factory=DetectionPolicy)
    """Its account's, and over that its own."""
    forbidden: DialForbidden | None = None
    """What the last gate would have said at the claim: then no room need be made."""


@dataclass(frozen=True, slots=True)
class DialGranted:
    """The intent is written: send one request, `dial_in_s` from now, unless that is late."""

    dial_id: DialId
    attempt: int
    dial_number: int
    dial_in_s: float
    asked_at_boot_s: float
    """`sip.clock.boot_time_s` when the statement was sent: the intent is at most this old."""
    caller_id: E164 | None = None
    """The number to show; None: the trunk's own default."""


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


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a call whose end was written."""

    ours: bool
    """The call, or its attempt, ended so under this claim, now or by an earlier commit whose answer was lost. False: the claim
    is not ours any more, and nothing was written."""
    state: State | None
    """Where that left the call: SCHEDULED when its next attempt follows. None if not ours."""


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
class End:
    """The end of one claim's call or attempt, and what follows from it."""

    call: Claim
    outcome: Outcome
    aftermath: Aftermath = field(default_factory=Aftermath)


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
    pools: int = 0

    @property
    def total(self) -> int:
        """Wrong counters of all kinds."""
        return self.inflight + self.channels + self.ready + self.copies + self.pools
