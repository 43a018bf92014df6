"""`orchestrator trunks group`: trunks of which a call may take any."""

from __future__ import annotations

from collections.abc import Sequence

import click

from orchestrator.cli.desk import Desk, with_desk
from orchestrator.errors import BadInput
from orchestrator.store.policy import GroupMember, TrunkGroupRow

MEMBER = "TRUNK[:POSITION[:WEIGHT]]"
HELP = (
    "A trunk of the group; repeatable. Trunks of position 1 (the default) are filled first, the next position takes what they"
    " cannot; within a position calls are spread by weight (default 1)."
)

members_option = click.option("--member", "members", multiple=True, metavar=MEMBER, help=HELP)


@click.group("group")
def group() -> None:
    """Trunk groups: trunks of which a call may take any. Their names go wherever a trunk's may."""


@group.command("list")
@with_desk
def list_groups(desk: Desk) -> None:
    """All groups of several trunks; with --json those of single trunks too."""
    rows = desk.run(lambda stores: stores.groups.list())
    desk.answer(rows)
    made = [row for row in rows if not row.of_one_trunk]
    desk.table(("group", "trunks", "for calls of"), ((row.name, _members(row), row.owner or "all accounts") for row in made))
    if not made:
        desk.say("there are no trunk groups yet: `orchestrator trunks group add NAME --member TRUNK --member TRUNK:2`")


@group.command("add")
@click.argument("name")
@members_option
@with_desk
def add_group(desk: Desk, name: str, members: tuple[str, ...]) -> None:
    """Make a group."""
    row = desk.run(lambda stores: stores.groups.create(name, _read(members)))
    desk.answer(row)
    desk.say(f"trunk group {name} is made: {_members(row)}")


@group.command("set")
@click.argument("name")
@members_option
@with_desk
def set_group(desk: Desk, name: str, members: tuple[str, ...]) -> None:
    """Give a group these trunks instead of those that it has. Calls that are claimed keep theirs."""
    row = desk.run(lambda stores: stores.groups.update(name, _read(members)))
    desk.answer(row)
    _print(desk, row)


@group.command("show")
@click.argument("name")
@with_desk
def show_group(desk: Desk, name: str) -> None:
    """One group, in the order in which its trunks are filled."""
    row = desk.run(lambda stores: stores.groups.get(name))
    desk.answer(row)
    _print(desk, row)


@group.command("remove")
@click.argument("name")
@with_desk
def remove_group(desk: Desk, name: str) -> None:
    """Remove a group that no account and no call uses."""
    desk.run(lambda stores: stores.groups.remove(name))
    desk.answer({"removed": name})
    desk.say(f"trunk group {name} is removed")


def _read(members: Sequence[str]) -> list[GroupMember]:
    """The members as they were given. Raises BadInput."""
    read = []
    for text in members:
        trunk, *figures = text.split(":")
        try:
            position = int(figures[0]) if figures else 1
            weight = float(figures[1]) if len(figures) > 1 else 1.0
        except ValueError:
            figures = ["", "", ""]
        if not trunk or len(figures) > 2:
            raise BadInput(f"member {text!r}: write {MEMBER}, like main, backup:2 or cheap:1:3.5")
        read.append(GroupMember(trunk=trunk, position=position, weight=weight))
    return read


def _members(row: TrunkGroupRow) -> str:
    return ", ".join(f"{member.trunk} (position {member.position}, weight {member.weight:g})" for member in row.members)


def _print(desk: Desk, row: TrunkGroupRow) -> None:
    desk.table(
        ("trunk", "position", "weight"),
        ((member.trunk, str(member.position), f"{member.weight:g}") for member in row.members),
        right=frozenset({"position", "weight"}),
    )
    desk.say(f"for calls of {row.owner or 'all accounts'}")
