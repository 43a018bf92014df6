"""Where due calls are placed: what is known of a call whose time has come, and the calling window that was found for it.

Frozen rows between staging, which asks the database, and a placer (`orchestrator.scheduling.placer`), which knows calling hours
and time zones. Nothing here knows SQL or what hours mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.ids import CallId


@dataclass(frozen=True, slots=True)
class DueCall:
    """A scheduled call whose time has come, with all that is needed to find its calling window."""

    call_id: CallId
    to: str
    """As stored; the SQL door checks only its shape."""
    run_at: datetime
    expires_at: datetime
    calling_hours: tuple[str, ...]
    """The account's rules, see `orchestrator.hours`; empty: the default."""
    own_hours: tuple[str, ...] | None
    """The call's own rules, over the account's; None: it has none."""
    closed_on_holidays: bool
    dial_unknown_zone: bool
    country: str
    """The account's own country, ISO 3166-1 alpha-2."""
    account_version: int
    """Number of the account's hours as they are now."""
    placement: Placement | None
    """Where it was placed last, if ever."""
    has_route: bool
    """Its agent pool and route exist."""
    asked_at: datetime
    """The database's clock when it was asked: the only clock that counts."""

    @property
    def kept_placement(self) -> Placement | None:
        """The last placement, while it still holds: found by the hours of now, and its window is not over."""
        last = self.placement
        if last is None or last.hours_version != self.account_version:
            return None
        return last if last.window_until is not None and self.asked_at < last.window_until else None


@dataclass(frozen=True, slots=True)
class Placement:
    """The calling window of a call: the one in which the moment lies, or else the next one."""

    call_id: CallId
    window_from: datetime | None
    """None, and then both: no window was found, and the call is held."""
    window_until: datetime | None
    """Exclusive."""
    hours_version: int
    """The account's hours by which it was found: `DueCall.account_version`."""
    time_zone: str
    """As found, for people; several are joined by a comma. Empty: not known, or not needed."""
    problem: str = ""
    """What is wrong with its calling hours. Empty, without a window: the callee's time zone is not known."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What became of calls that were placed."""

    ready: int
    held: int
    """By their calling hours: outside their window, or their time zone is not known."""
