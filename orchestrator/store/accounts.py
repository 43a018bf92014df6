"""Accounts: their policy and limits as operators set them, and their counters as everybody may see them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence

import asyncpg

from orchestrator.detection import merged, read_detection
from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.hours import check_hours
from orchestrator.ids import E164, AccountId
from orchestrator.redial import MOST_ATTEMPTS, read_delays
from orchestrator.store.policy import AccountChange, AccountRow, NewAccount
from orchestrator.store.pool import Database, Row, Session
from orchestrator.store.records import CallerIdChoice

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
COUNTRY = re.compile(r"[A-Z]{2}")
SPECIAL = re.compile(r"[a-z0-9_]+")
MOST_RELEASED_AT_ONCE = 1000
LONGEST_S = 366 * 86_400.0
NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


class AccountStore:
    """Makes, changes and shows accounts. They are never deleted, since calls point at them: pause an account instead."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def create(self, account: NewAccount) -> AccountRow:
        """Make an account. Raises BadInput, NotFound for its trunk, Conflict when the name is taken."""
        check_name("account", account.name)
        _check(account)
        _check_spacing(account.redial_delays_s, account.number_gap_s)
        detection = merged(read_detection(account.detection))
        try:
            async with self._database.transaction() as session:
                await _check_trunk(session, account.trunk, account=account.name)
                await session.fetch(
                    "create_account",
                    account.name,
                    account.country,
                    account.allowed_countries,
                    account.allowed_specials,
                    account.caller_ids,
                    account.agent_name,
                    account.ring_timeout_s,
                    account.max_duration_s,
                    account.trust_agent_leave,
                    account.trunk,
                    account.max_concurrent,
                    account.weight,
                    account.reserved,
                    account.calling_hours,
                    account.closed_on_holidays,
                    account.dial_unknown_zone,
                    account.max_attempts,
                    _delays_text(account.redial_delays_s),
                    account.redial_jitter,
                    account.number_gap_s,
                    account.number_most_dials,
                    account.number_window_s,
                    account.caller_id_choice.value,
                    account.caller_id_cap,
                    json.dumps(detection),
                )
                return await _one(session, account.name)
        except asyncpg.UniqueViolationError as error:
            raise Conflict(f"there is an account {account.name} already: change it, or choose another name") from error

    async def update(self, name: str, change: AccountChange) -> AccountRow:
        """Change what is set. A lower limit takes effect as calls end. Raises BadInput, NotFound.

        Calls that the calling hours hold are looked at anew when these change.
        """
        _check(change)
        async with self._database.transaction() as session:
            before = await _one(session, name)
            if change.redial_delays_s is not None or change.number_gap_s is not None:
                _check_spacing(
                    before.redial_delays_s if change.redial_delays_s is None else change.redial_delays_s,
                    before.number_gap_s if change.number_gap_s is None else change.number_gap_s,
                )
            await _check_trunk(session, change.trunk, account=name)
            detection = None
            if change.detection is not None:
                detection = json.dumps(merged(before.detection, read_detection(change.detection)))
            await session.fetch(
                "change_account_policy",
                name,
                change.country,
                change.allowed_countries,
                change.allowed_specials,
                change.caller_ids,
                change.agent_name,
                change.ring_timeout_s,
                change.max_duration_s,
                change.trust_agent_leave,
                change.trunk,
                change.calling_hours,
                change.closed_on_holidays,
                change.dial_unknown_zone,
                change.max_attempts,
                None if change.redial_delays_s is None else _delays_text(change.redial_delays_s),
                change.redial_jitter,
                change.number_gap_s,
                change.number_most_dials,
                change.number_window_s,
                change.caller_id_choice and change.caller_id_choice.value,
                change.caller_id_cap,
                detection,
            )
            limits = (change.max_concurrent, change.weight, change.reserved, change.paused)
            if any(limit is not None for limit in limits):
                await session.fetch("change_account_limits", name, *limits)
            after = await _one(session, name)
        hours = (change.calling_hours, change.closed_on_holidays, change.dial_unknown_zone)
        if any(rule is not None for rule in hours):
            while await self._database.fetch_value("release_held_calls", after.id) == MOST_RELEASED_AT_ONCE:
                pass
        return after

    async def get(self, name: str) -> AccountRow:
        """One account. Raises NotFound."""
        async with self._database.session() as session:
            return await _one(session, name)

    async def list(self) -> Sequence[AccountRow]:
        """All accounts by name."""
        return [_account_of(row) for row in await self._database.fetch("list_accounts", None)]


def check_name(what: str, name: str) -> None:
    """Raise BadInput unless accounts and trunks may be called so."""
    if not NAME.fullmatch(name):
        raise BadInput(f"{what} name {name!r} must be 1 to 64 letters, digits, '.', '_' or '-'")


def check_within(name: str, value: float | None, lowest: float, highest: float) -> None:
    """Raise BadInput unless the value is None or from `lowest` to `highest`."""
    if value is not None and not (math.isfinite(value) and lowest <= value <= highest):
        raise BadInput(f"{name} must be from {lowest:g} to {highest:g}, not {value}")


def check_all(name: str, values: Iterable[str] | None, shape: re.Pattern[str], meaning: str) -> None:
    """Raise BadInput for the first value that has not the shape."""
    for value in values or ():
        if not shape.fullmatch(value):
            raise BadInput(f"{name}: {value!r} is not {meaning}")


def _check(change: NewAccount | AccountChange) -> None:
    check_within("max_concurrent", change.max_concurrent, 1, 2**31 - 1)
    check_within("weight", change.weight, 0.001, 1_000_000)
    check_within("reserved", change.reserved, 0, 2**31 - 1)
    check_within("ring_timeout_s", change.ring_timeout_s, 5, 60)
    check_within("max_duration_s", change.max_duration_s, 1, 86_400)
    if change.agent_name is not None and len(change.agent_name) > 255:
        raise BadInput("agent_name must be at most 255 characters")
    if change.country is not None:
        check_all("country", [change.country], COUNTRY, "an ISO 3166-1 code of two capital letters, like US")
    check_all("allowed_countries", change.allowed_countries, COUNTRY, "an ISO 3166-1 code of two capital letters, like US")
    check_all(
        "allowed_specials", change.allowed_specials, SPECIAL, "the name of a kind of number: lower-case letters, digits and _"
    )
    check_all("caller_ids", change.caller_ids, NUMBER, "an E.164 number, like +12125550100")
    check_within("max_attempts", change.max_attempts, 1, MOST_ATTEMPTS)
    check_within("redial_jitter", change.redial_jitter, 0, 1)
    check_within("number_gap_s", change.number_gap_s, 0, LONGEST_S)
    check_within("number_window_s", change.number_window_s, 60, LONGEST_S)
    is_new = isinstance(change, NewAccount)
    check_within("number_most_dials", change.number_most_dials, 1 if is_new else 0, 2**31 - 1)
    check_within("caller_id_cap", change.caller_id_cap, 1 if is_new else 0, 2**31 - 1)
    if change.calling_hours is not None:
        check_hours(change.calling_hours)


def _check_spacing(delays_s: Mapping[str, Sequence[float]], gap_s: float) -> None:
    """Raise BadInput for delays that cannot be, or are shorter than the gap between two dials to one number."""
    read_delays(delays_s, gap_s=gap_s)


def _delays_text(delays_s: Mapping[str, Sequence[float]]) -> str:
    return json.dumps({name: list(delays) for name, delays in delays_s.items()})


def _delays_of(text: str) -> Mapping[str, tuple[float, ...]]:
    """As stored; what a hand wrote there without a list is shown and not taken as one."""
    stored = json.loads(text)
    return {name: tuple(delays) if isinstance(delays, list) else (delays,) for name, delays in stored.items()}


async def _check_trunk(session: Session, name: str | None, *, account: str) -> None:
    if name is None:
        return
    group = await session.fetch_one("find_trunk_group", name)
    if group is None:
        raise NotFound(f"there is no trunk {name}: make it first, or correct the name")
    if group["owner"] not in (None, account):
        raise Conflict(f"trunk {name} is for calls of account {group['owner']} alone: use another")


async def _one(session: Session, name: str) -> AccountRow:
    row = await session.fetch_one("list_accounts", name)
    if row is None:
        raise NotFound(f"there is no account {name}")
    return _account_of(row)


def _account_of(row: Row) -> AccountRow:
    return AccountRow(
        id=AccountId(row["id"]),
        name=row["name"],
        country=row["country"],
        allowed_countries=tuple(row["allowed_countries"]),
        allowed_specials=frozenset(row["allowed_specials"]),
        caller_ids=tuple(E164(number) for number in row["caller_ids"]),
        agent_name=row["agent_name"],
        ring_timeout_s=row["ring_timeout_s"],
        max_duration_s=row["max_duration_s"],
        trust_agent_leave=row["trust_agent_leave"],
        trunk=row["trunk"],
        max_concurrent=row["max_concurrent"],
        reserved=row["reserved"],
        weight=row["weight"],
        paused=row["paused"],
        inflight=row["inflight"],
        ready=row["ready"],
        calling_hours=tuple(row["calling_hours"]),
        closed_on_holidays=row["closed_on_holidays"],
        dial_unknown_zone=row["dial_unknown_zone"],
        max_attempts=row["max_attempts"],
        redial_delays_s=_delays_of(row["redial_delays"]),
        redial_jitter=row["redial_jitter"],
        number_gap_s=row["number_gap_s"],
        number_most_dials=row["number_most_dials"],
        number_window_s=row["number_window_s"],
        caller_id_choice=CallerIdChoice(row["caller_id_choice"]),
        caller_id_cap=row["caller_id_cap"],
        inbound=row["inbound"],
        detection=json.loads(row["detection"]),
    )
