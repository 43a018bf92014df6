"""Accounts and trunks as operators make, change and see them: policy, limits and counters. Knows no SQL."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.ids import E164, AccountId
from orchestrator.store.records import CallerIdChoice, TrunkRow


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to be made, with its policy and limits."""

    name: str
    """1 to 64 letters, digits, `.`, `_`, `-`."""
    max_concurrent: int
    """Calls claimed, dialing, ringing or active at once, above 0."""
    country: str
    """ISO 3166-1 alpha-2."""
    weight: float = 1.0
    """Share of the slots relative to other accounts, above 0."""
    reserved: int = 0
    """Slots of `max_concurrent` that only urgent calls (priority above 0) may take."""
    allowed_countries: tuple[str, ...] = ()
    """Empty: its own only."""
    allowed_specials: tuple[str, ...] = ()
    caller_ids: tuple[str, ...] = ()
    agent_name: str = ""
    """The agent of calls that name none."""
    ring_timeout_s: float = 30.0
    max_duration_s: float = 3600.0
    trust_agent_leave: bool = False
    """An agent that leaves without our end signal meant it."""
    trunk: str | None = None
    """The trunk or trunk group of calls that name none."""
    calling_hours: tuple[str, ...] = ()
    """Rules of `orchestrator.hours`; empty: 8:00 to 21:00 every day in the callee's time zone."""
    closed_on_holidays: bool = False
    dial_unknown_zone: bool = False
    """Dial although the callee's time zone is not known."""
    max_attempts: int = 1
    redial_delays_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By the name of a redial class; what is missing is OUTCOMES.md's."""
    redial_jitter: float = 0.1
    number_gap_s: float = 0.0
    """Between two dials of the account to the same number."""
    number_most_dials: int | None = None
    """Dials to one number in any `number_window_s`; None: no cap."""
    number_window_s: float = 604_800.0
    caller_id_choice: CallerIdChoice = CallerIdChoice.FIXED
    caller_id_cap: int | None = None
    """Dials a day (UTC) from each of its caller ids; None: no cap."""
    detection: Mapping[str, object] = field(default_factory=dict)
    """Fields of `orchestrator.detection.DetectionPolicy` that are not as by default, as JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """What to change of an account; None leaves a field as it is."""

    max_concurrent: int | None = None
    country: str | None = None
    weight: float | None = None
    reserved: int | None = None
    paused: bool | None = None
    allowed_countries: tuple[str, ...] | None = None
    allowed_specials: tuple[str, ...] | None = None
    caller_ids: tuple[str, ...] | None = None
    agent_name: str | None = None
    ring_timeout_s: float | None = None
    max_duration_s: float | None = None
    trust_agent_leave: bool | None = None
    trunk: str | None = None
    calling_hours: tuple[str, ...] | None = None
    closed_on_holidays: bool | None = None
    dial_unknown_zone: bool | None = None
    max_attempts: int | None = None
    redial_delays_s: Mapping[str, tuple[float, ...]] | None = None
    redial_jitter: float | None = None
    number_gap_s: float | None = None
    number_most_dials: int | None = None
    """0: no cap any more."""
    number_window_s: float | None = None
    caller_id_choice: CallerIdChoice | None = None
    caller_id_cap: int | None = None
    """0: no cap any more."""
    detection: Mapping[str, object] | None = None
    """Over what is there; a field that is None goes back to its default."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account with its counters."""

    id: AccountId
    name: str
    country: str
    allowed_countries: tuple[str, ...]
    allowed_specials: frozenset[str]
    caller_ids: tuple[E164, ...]
    agent_name: str
    ring_timeout_s: float
    max_duration_s: float
    trust_agent_leave: bool
    trunk: str | None
    max_concurrent: int
    reserved: int
    weight: float
    paused: bool
    inflight: int
    """Calls that hold a slot now."""
    ready: int
    """Calls that are due and wait."""
    calling_hours: tuple[str, ...] = ()
    """Rules of `orchestrator.hours`; empty: 8:00 to 21:00 every day in the callee's time zone."""
    closed_on_holidays: bool = False
    dial_unknown_zone: bool = False
    """Dial although the callee's time zone is not known."""
    max_attempts: int = 1
    redial_delays_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By the name of a redial class; what is missing is OUTCOMES.md's."""
    redial_jitter: float = 0.1
    number_gap_s: float = 0.0
    """Between two dials of the account to the same number."""
    number_most_dials: int | None = None
    """Dials to one number in any `number_window_s`; None: no cap."""
    number_window_s: float = 604_800.0
    caller_id_choice: CallerIdChoice = CallerIdChoice.FIXED
    caller_id_cap: int | None = None
    """Dials a day (UTC) from each of its caller ids; None: no cap."""
    inbound: int = 0
    """Live inbound calls, which nothing limits."""
    detection: Mapping[str, object] = field(default_factory=dict)
    """Fields of `orchestrator.detection.DetectionPolicy` that are not as by default, as JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrunk:
    """A trunk to be made; a trunk group of the same name comes with it."""

    name: str
    """1 to 64 letters, digits, `.`, `_`, `-`."""
    sip_trunk_id: str
    """The id under which the media server knows it (`ST_...`)."""
    max_channels: int
    """Calls at once, above 0."""
    max_cps: float
    """INVITEs in any second, above 0."""
    dial_slack_ms: int = 50
    """How late an INVITE may leave without breaking `max_cps`."""
    caller_ids: tuple[str, ...] = ()
    preconnect_voicemail: bool = True
    preconnect_voicemail_codes: tuple[int, ...] = (480,)
    min_ring_s: float = 1.0
    max_ring_s: float = 18.0
    busy_means_declined: bool = False
    patterns: tuple[tuple[str, str], ...] = ()
    """(regular expression, hang-up cause) pairs, see `TrunkRow`."""
    enabled: bool = True
    owner: str | None = None
    """The account whose calls alone may use it; None: shared."""
    caller_id_cap: int | None = None
    """Dials a day (UTC) from each of its caller ids; None: no cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkChange:
    """What to change of a trunk; None leaves a field as it is."""

    sip_trunk_id: str | None = None
    max_channels: int | None = None
    max_cps: float | None = None
    dial_slack_ms: int | None = None
    caller_ids: tuple[str, ...] | None = None
    preconnect_voicemail: bool | None = None
    preconnect_voicemail_codes: tuple[int, ...] | None = None
    min_ring_s: float | None = None
    max_ring_s: float | None = None
    busy_means_declined: bool | None = None
    patterns: tuple[tuple[str, str], ...] | None = None
    enabled: bool | None = None
    owner: str | None = None
    """The account whose calls alone may use it; empty: shared."""
    caller_id_cap: int | None = None
    """0: no cap any more."""


class Circuit(enum.Enum):
    """Whether a trunk or an agent pool is paused since it failed again and again."""

    CLOSED = "closed"
    """All is well."""
    HALF_OPEN = "half_open"
    """One call at a time may try."""
    OPEN = "open"
    """No call may."""


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """A circuit as it stands."""

    state: Circuit = Circuit.CLOSED
    until: datetime | None = None
    """When one call may try, or might have since."""
    openings: int = 0
    """In a row; the pause grows with them."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class TrunkStatus:
    """A trunk with its limits and counters."""

    trunk: TrunkRow
    enabled: bool
    max_channels: int
    max_cps: float
    dial_slack_ms: int
    channels: int
    """Calls that hold one of its channels now."""
    owner: str | None = None
    """The account whose calls alone may use it; None: shared."""
    caller_id_cap: int | None = None
    """Dials a day (UTC) from each of its caller ids; None: no cap."""
    circuit: CircuitStatus = field(default_factory=CircuitStatus)


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A trunk in a trunk group."""

    trunk: str
    position: int = 1
    """Trunks of the lowest position are filled first, the rest is overflow; 1 to 1,000."""
    weight: float = 1.0
    """Share of the calls among the trunks of one position, above 0."""


@dataclass(frozen=True, slots=True)
class TrunkGroupRow:
    """Trunks of which a call may take any."""

    name: str
    members: tuple[GroupMember, ...]
    """In the order in which they are filled."""
    owner: str | None
    """The account whose calls alone may use it, since one of the trunks is its own; None: all accounts."""
    caller_ids: tuple[E164, ...]
    """Of all its trunks."""
    of_one_trunk: bool
    """It is the group that came with the trunk of its name, and cannot be changed."""


@dataclass(frozen=True, slots=True)
class AgentPoolRow:
    """Agents by the name under which they register, with what limits them."""

    name: str
    capacity: int | None
    """Calls at once; None: not limited and not counted."""
    inflight: int
    """Calls that hold one of its places now; 0 without a capacity."""
    ready: int
    """Calls for it that are due and wait."""
    paused: bool
    absences: int
    """Agents that did not come, since one came."""
    circuit: CircuitStatus


@dataclass(frozen=True, slots=True)
class Switches:
    """The system's switches. While one is set nothing is claimed or dialled; live calls go on."""

    stopped_at: datetime | None
    """The kill switch."""
    stopped_why: str
    held_at: datetime | None
    """The database was restored or failed over, and nobody has confirmed it."""
    held_why: str


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """How full a trunk or an agent pool is, for metrics."""

    name: str
    """Empty for all agent pools together that nobody gave a capacity or paused."""
    used: int
    most: int | None
    """None: not limited. 0: paused."""
    absences: int
    """Agents that did not come, since one came."""
    openings: int
    """Times that its circuit opened, ever."""
    circuit: Circuit


@dataclass(frozen=True, slots=True)
class Bottlenecks:
    """All that may hold calls up."""

    trunks: tuple[Bottleneck, ...]
    agent_pools: tuple[Bottleneck, ...]
