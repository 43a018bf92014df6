"""Trunks: how they are used and read, whose they are, their limits, and how full they are.

Each has a trunk group of its own name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal

import asyncpg

from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.store.accounts import NUMBER, check_all, check_name, check_within
from orchestrator.store.groups import check_group
from orchestrator.store.policy import NewTrunk, TrunkChange, TrunkStatus
from orchestrator.store.pool import Database, Row, Session
from orchestrator.store.rows import circuit_of, trunk_of
from sip.causes import HangupCause


class TrunkStore:
    """Makes, changes and shows trunks. They are never deleted, since calls point at them: disable a trunk instead."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def create(self, trunk: NewTrunk) -> TrunkStatus:
        """Make a trunk. Raises BadInput, NotFound for its owner, Conflict when the name is taken."""
        check_name("trunk", trunk.name)
        _check(
            TrunkChange(
                sip_trunk_id=trunk.sip_trunk_id,
                max_channels=trunk.max_channels,
                max_cps=trunk.max_cps,
                dial_slack_ms=trunk.dial_slack_ms,
                caller_ids=trunk.caller_ids,
                preconnect_voicemail_codes=trunk.preconnect_voicemail_codes,
                min_ring_s=trunk.min_ring_s,
                max_ring_s=trunk.max_ring_s,
                patterns=trunk.patterns,
                caller_id_cap=trunk.caller_id_cap,
            )
        )
        try:
            async with self._database.transaction() as session:
                await _check_owner(session, trunk.owner)
                await session.fetch(
                    "create_trunk",
                    trunk.name,
                    trunk.sip_trunk_id,
                    trunk.caller_ids,
                    trunk.preconnect_voicemail,
                    trunk.preconnect_voicemail_codes,
                    trunk.min_ring_s,
                    trunk.max_ring_s,
                    trunk.busy_means_declined,
                    json.dumps(trunk.patterns),
                    trunk.max_channels,
                    Decimal(str(trunk.max_cps)),
                    trunk.dial_slack_ms,
                    trunk.enabled,
                    trunk.owner or None,
                    trunk.caller_id_cap or None,
                )
                return await _one(session, trunk.name)
        except asyncpg.UniqueViolationError as error:
            raise Conflict(
                f"there is a trunk or trunk group {trunk.name} already: change it, or choose another name"
            ) from error

    async def update(self, name: str, change: TrunkChange) -> TrunkStatus:
        """Change what is set. A lower limit takes effect as calls end.

        Raises BadInput, NotFound, Conflict when another account than the new owner uses it.
        """
        _check(change)
        async with self._database.transaction() as session:
            await _one(session, name)
            await _check_owner(session, change.owner)
            await session.fetch(
                "change_trunk_policy",
                name,
                change.sip_trunk_id,
                change.caller_ids,
                change.preconnect_voicemail,
                change.preconnect_voicemail_codes,
                change.min_ring_s,
                change.max_ring_s,
                change.busy_means_declined,
                None if change.patterns is None else json.dumps(change.patterns),
                change.caller_id_cap,
                change.owner,
            )
            if change.owner:
                for row in await session.fetch("groups_of_trunk", name):
                    await check_group(session, row["name"])
            max_cps = None if change.max_cps is None else Decimal(str(change.max_cps))
            limits = (change.max_channels, max_cps, change.dial_slack_ms, change.enabled)
            if any(limit is not None for limit in limits):
                await session.fetch("change_trunk_limits", name, *limits)
            return await _one(session, name)

    async def reset_circuit(self, name: str) -> TrunkStatus:
        """Close its circuit, and forget the failures that would open it again. Raises NotFound."""
        async with self._database.transaction() as session:
            await _one(session, name)
            await session.fetch("reset_trunk_circuit", name)
            return await _one(session, name)

    async def get(self, name: str) -> TrunkStatus:
        """One trunk. Raises NotFound."""
        async with self._database.session() as session:
            return await _one(session, name)

    async def list(self) -> Sequence[TrunkStatus]:
        """All trunks by name."""
        return [_status_of(row) for row in await self._database.fetch("list_trunks", None)]


def _check(change: TrunkChange) -> None:
    if change.sip_trunk_id is not None and not 1 <= len(change.sip_trunk_id) <= 255:
        raise BadInput("sip_trunk_id must be the id under which the media server knows the trunk, like ST_abc")
    if change.max_channels == 0:
        raise BadInput(
            "max_channels must be from 1 up, not 0: a trunk without channels carries nothing; to pause one, disable it"
        )
    check_within("max_channels", change.max_channels, 1, 2**31 - 1)
    check_within("max_cps", change.max_cps, 0.01, 10_000)
    check_within("dial_slack_ms", change.dial_slack_ms, 0, 1000)
    check_all("caller_ids", change.caller_ids, NUMBER, "an E.164 number, like +12125550100")
    for code in change.preconnect_voicemail_codes or ():
        check_within("preconnect_voicemail_codes", code, 300, 699)
    check_within("caller_id_cap", change.caller_id_cap, 0, 2**31 - 1)
    check_within("min_ring_s", change.min_ring_s, 0, 600)
    check_within("max_ring_s", change.max_ring_s, 0, 600)
    if change.min_ring_s is not None and change.max_ring_s is not None and change.max_ring_s <= change.min_ring_s:
        raise BadInput(f"max_ring_s {change.max_ring_s:g} must be above min_ring_s {change.min_ring_s:g}")
    causes = {cause.value for cause in HangupCause}
    for pattern, cause in change.patterns or ():
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadInput(f"patterns: {pattern!r} is not a regular expression: {error}") from error
        if cause not in causes:
            raise BadInput(f"patterns: {cause!r} is not a hang-up cause: use one of {', '.join(sorted(causes))}")


async def _check_owner(session: Session, account: str | None) -> None:
    if account and await session.fetch_one("list_accounts", account) is None:
        raise NotFound(f"there is no account {account} to own the trunk: make it first, or correct the name")


async def _one(session: Session, name: str) -> TrunkStatus:
    row = await session.fetch_one("list_trunks", name)
    if row is None:
        raise NotFound(f"there is no trunk {name}")
    return _status_of(row)


def _status_of(row: Row) -> TrunkStatus:
    return TrunkStatus(
        trunk=trunk_of(row),
        enabled=row["enabled"],
        max_channels=row["max_channels"],
        max_cps=float(row["max_cps"]),
        dial_slack_ms=row["dial_slack_ms"],
        channels=row["channels"],
        owner=row["owner"],
        caller_id_cap=row["caller_id_cap"],
        circuit=circuit_of(row),
    )
