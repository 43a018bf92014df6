"""Placing due calls: finding for each the window in which its callee may be called.

Where the callee's time zone is not known, a call is held, unless its account dials without: then the callee counts as being in
the account's own country. Rules that cannot be read (rows can be written by hand), and hours that never open, hold it too: it
is reported, and dialled never.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from orchestrator.errors import BadInput
from orchestrator.hours import Hours, Week, over, read_hours
from orchestrator.scheduling.holidays import Holidays
from orchestrator.scheduling.windows import LOOK_AHEAD, NEVER_CLOSED, LocalWeek, Window, window_at
from orchestrator.scheduling.zones import Whereabouts, whereabouts, zones_of_country
from orchestrator.store.placements import DueCall, Placement
from orchestrator.store.records import WaitingFor

log = structlog.get_logger(__name__)

MOST_REMEMBERED = 20_000
"""Policies in places whose windows are remembered; a deployment has far fewer."""
NEVER_FOR = timedelta(hours=1)
"""How long "never opens" is believed."""


@dataclass(frozen=True, slots=True)
class _Policy:
    """All that decides a window, apart from the moment. Two calls with equal ones have one window."""

    weeks: frozenset[Week]
    zones: tuple[str, ...]
    holidays: tuple[Holidays, ...] = ()

    def places(self) -> list[LocalWeek]:
        """Every combination that the callee may live by."""
        no_day: Container[date] = frozenset()
        closed: Sequence[Container[date]] = self.holidays or [no_day]
        return [
            LocalWeek(week=week, zone=zone, closed=days)
            for week, zone, days in itertools.product(self.weeks, self.zones, closed)
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    """A window, and until when it is the answer."""

    window: Window | None
    at: datetime
    until: datetime
    zones: str


class _ZoneUnknown(Exception):
    """The callee's time zone is not known, and the account does not dial without. Nothing is dialled."""


class WindowPlacer:
    """Finds the calling windows of due calls by the database's clock, and remembers them as long as they hold."""

    def __init__(self) -> None:
        self._found: dict[_Policy, _Found] = {}

    def place(self, due: Sequence[DueCall]) -> list[Placement]:
        """One placement for each call; never raises for what a row says."""
        placements = [call.kept_placement or self._place(call) for call in due]
        later = [
            placed.window_from
            for call, placed in zip(due, placements, strict=True)
            if placed.window_from is not None and placed.window_from > call.asked_at
        ]
        if later:
            log.info("outside_calling_hours", calls=len(later), first_opening=min(later).isoformat())
        return placements

    def _place(self, call: DueCall) -> Placement:
        problem = zones = ""
        window: Window | None = None
        try:
            found = self._find(_policy(call), call.asked_at)
            window, zones = found.window, found.zones
            if window is None:
                problem = f"the calling hours never open within {LOOK_AHEAD.days} days"
        except _ZoneUnknown:
            log.warning("call_held", call_id=call.call_id, waiting_for=WaitingFor.TIME_ZONE.value)
        except (BadInput, ZoneInfoNotFoundError) as error:
            problem = str(error)
        except Exception as error:
            # One call that cannot be placed must hold up no others.
            log.exception("placing_failed", call_id=call.call_id)
            problem = f"placing failed: {type(error).__name__}"
        if problem:
            log.warning("call_held", call_id=call.call_id, waiting_for=WaitingFor.CALLING_WINDOW.value, problem=problem)
        return Placement(
            call_id=call.call_id,
            window_from=window.opens_at if window else None,
            window_until=window.closes_at if window else None,
            hours_version=call.account_version,
            time_zone=zones,
            problem=problem,
        )

    def _find(self, policy: _Policy | None, now: datetime) -> _Found:
        if policy is None:
            return _Found(window=NEVER_CLOSED, at=now, until=NEVER_CLOSED.closes_at, zones="")
        found = self._found.get(policy)
        if found is None or not found.at <= now < found.until:
            window = window_at(now, policy.places())
            found = _Found(
                window=window,
                at=now,
                until=window.closes_at if window else now + NEVER_FOR,
                zones=_shown(policy.zones, now),
            )
            if len(self._found) >= MOST_REMEMBERED:
                self._found.clear()
            self._found[policy] = found
        return found


def _policy(call: DueCall) -> _Policy | None:
    """What decides the call's window; None: nothing ever closes it. Raises BadInput, _ZoneUnknown."""
    hours = _hours(call)
    where = whereabouts(call.to)
    weeks = hours.weeks_of(call.to, where.country, where.regions)
    if not call.closed_on_holidays and all(week.is_always for week in weeks):
        return None
    holidays: tuple[Holidays, ...] = ()
    if call.closed_on_holidays:
        regions = sorted(where.regions) or [""]
        holidays = tuple(Holidays(country=where.country, region=region) for region in regions)
    return _Policy(weeks=weeks, zones=_zones(call, hours, where), holidays=holidays)


def _hours(call: DueCall) -> Hours:
    account = read_hours(call.calling_hours)
    return account if call.own_hours is None else over(account, read_hours(call.own_hours))


def _zones(call: DueCall, hours: Hours, where: Whereabouts) -> tuple[str, ...]:
    """The zones in all of which it must be open."""
    given = hours.zones_of(call.to, where.country, where.regions)
    zones: Iterable[str] = (zone for zone in given if zone is not None)
    if None in given:
        found = where.zones
        if not found:
            if not call.dial_unknown_zone:
                raise _ZoneUnknown
            found = zones_of_country(call.country) or ("UTC",)
        zones = {*zones, *found}
    return tuple(sorted(zones))


@functools.lru_cache(maxsize=4096)
def _shown_by_day(zones: tuple[str, ...], day: int) -> str:
    offsets: dict[tuple[timedelta | None, ...], str] = {}
    for zone in zones:
        seasons = (datetime.fromordinal(day + days).replace(tzinfo=ZoneInfo(zone)) for days in (0, 91, 182, 273))
        offsets.setdefault(tuple(moment.utcoffset() for moment in seasons), zone)
    return ",".join(offsets.values())


def _shown(zones: tuple[str, ...], now: datetime) -> str:
    """The zones for people: of those whose clocks agree, the first."""
    return _shown_by_day(zones, now.toordinal())
