"""Trunk groups: trunks of which a call may take any, in which order, and for whose calls.

Every trunk has a group of its own name, of itself alone; this makes others. A trunk that an account owns makes every group that
it is in that account's: nobody else's calls may name it.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.ids import E164
from orchestrator.store.accounts import check_name, check_within
from orchestrator.store.policy import GroupMember, TrunkGroupRow
from orchestrator.store.pool import Database, Row, Session

HIGHEST_POSITION = 1000
WEIGHTS = (0.001, 1_000_000)


class TrunkGroupStore:
    """Makes, changes, shows and removes trunk groups."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def create(self, name: str, members: Sequence[GroupMember]) -> TrunkGroupRow:
        """Make a group.

        Raises BadInput, NotFound for a trunk, Conflict when the name is taken or the trunks are of two accounts.
        """
        check_name("trunk group", name)
        _check(members)
        try:
            async with self._database.transaction() as session:
                await session.fetch("create_trunk_group", name)
                return await _fill(session, name, members)
        except asyncpg.UniqueViolationError as error:
            raise Conflict(f"there is a trunk or trunk group {name} already: change it, or choose another name") from error

    async def update(self, name: str, members: Sequence[GroupMember]) -> TrunkGroupRow:
        """Give a group these trunks instead of those that it has; calls that are claimed keep theirs.

        Raises BadInput, NotFound, Conflict when the trunks are of two accounts, or of one whose group this may not become.
        """
        _check(members)
        async with self._database.transaction() as session:
            await _own(session, name)
            await session.fetch("lock_trunk_group", name)
            await session.fetch("clear_trunk_group", name)
            return await _fill(session, name, members)

    async def remove(self, name: str) -> None:
        """Remove a group that nothing uses. Raises NotFound, BadInput for a trunk's own group, Conflict when something does."""
        async with self._database.transaction() as session:
            await _own(session, name)
            await session.fetch("lock_trunk_group", name)
            users = await session.fetch_one("trunk_group_users", name)
            if users is not None and users["account"] is not None:
                raise Conflict(f"account {users['account']} has trunk group {name} as its default: give it another first")
            if users is not None and users["calls"]:
                raise Conflict(f"calls have been queued for trunk group {name}: it stays as long as they are kept")
            try:
                for statement in ("clear_trunk_group", "remove_lanes_of_group", "remove_routes_of_group", "remove_trunk_group"):
                    await session.fetch(statement, name)
            except asyncpg.ForeignKeyViolationError as error:  # by a call or an account since we looked
                raise Conflict(f"trunk group {name} has just been put to use: it stays") from error

    async def get(self, name: str) -> TrunkGroupRow:
        """One group, or that of one trunk. Raises NotFound."""
        async with self._database.session() as session:
            return await _one(session, name)

    async def list(self) -> Sequence[TrunkGroupRow]:
        """All groups by name, those of single trunks too."""
        return [_group_of(row) for row in await self._database.fetch("list_trunk_groups", None)]


async def check_group(session: Session, name: str) -> None:
    """Raise Conflict if somebody uses the trunk group who must not, since a trunk in it has an owner.

    To be asked after a change, before its commit.
    """
    faults = await session.fetch_one("trunk_group_faults", name)
    if faults is None:
        return
    owner = faults["owner"]
    if faults["other_owner"] is not None:
        raise Conflict(f"trunk group {name} would have trunks of account {owner} and of account {faults['other_owner']}")
    whose = f"trunk group {name} would be for calls of account {owner} alone"
    if faults["defaults_of"] is not None:
        raise Conflict(f"{whose}, and account {faults['defaults_of']} has it as its default: give that one another first")
    if faults["calls_of"] is not None:
        raise Conflict(f"{whose}, and calls of account {faults['calls_of']} wait for it or are live: let them end first")


def _check(members: Sequence[GroupMember]) -> None:
    if not members:
        raise BadInput("a trunk group needs at least one trunk")
    names = [member.trunk for member in members]
    for member in members:
        if names.count(member.trunk) > 1:
            raise BadInput(f"trunk {member.trunk} is named twice: give each trunk one position and one weight")
        check_within(f"position of {member.trunk}", member.position, 1, HIGHEST_POSITION)
        check_within(f"weight of {member.trunk}", member.weight, *WEIGHTS)


async def _fill(session: Session, name: str, members: Sequence[GroupMember]) -> TrunkGroupRow:
    rows = await session.fetch(
        "fill_trunk_group",
        name,
        [member.trunk for member in members],
        [member.position for member in members],
        [member.weight for member in members],
    )
    found = {row["name"] for row in rows}
    for member in members:
        if member.trunk not in found:
            raise NotFound(f"there is no trunk {member.trunk}: make it first, or correct the name")
    await check_group(session, name)
    return await _one(session, name)


async def _own(session: Session, name: str) -> None:
    """Raise NotFound if there is no such group, BadInput if it came with a trunk."""
    if (await _one(session, name)).of_one_trunk:
        raise BadInput(f"{name} is the group of trunk {name} alone: make another group for several trunks")


async def _one(session: Session, name: str) -> TrunkGroupRow:
    row = await session.fetch_one("list_trunk_groups", name)
    if row is None:
        raise NotFound(f"there is no trunk group {name}")
    return _group_of(row)


def _group_of(row: Row) -> TrunkGroupRow:
    return TrunkGroupRow(
        name=row["name"],
        members=tuple(
            GroupMember(trunk=trunk, position=position, weight=weight)
            for trunk, position, weight in zip(row["trunks"], row["positions"], row["weights"], strict=True)
        ),
        owner=row["owner"],
        caller_ids=tuple(E164(number) for number in row["caller_ids"]),
        of_one_trunk=row["of_one_trunk"],
    )
