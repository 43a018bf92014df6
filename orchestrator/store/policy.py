"""Accounts and trunks as operators make, change and see them: policy, limits and counters. Knows no SQL."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.ids import E164, AccountId
from orchestrator.store.records import TrunkRow


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
    """Slots of `max_concurrent` that the queue leaves free."""
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
