"""`orchestrator agents`: how many calls agents take at once, and whether they come."""

from __future__ import annotations

import click

from orchestrator.cli.desk import Desk, with_desk
from orchestrator.cli.words import shown_circuit
from orchestrator.errors import BadInput
from orchestrator.store.policy import AgentPoolRow

UNLIMITED = "none"
"""What takes a capacity away."""


@click.group()
def agents() -> None:
    """Agent pools: agents by the name under which they register, and what limits them."""


@agents.command("list")
@with_desk
def list_agents(desk: Desk) -> None:
    """All agent pools, with what they hold now."""
    rows = desk.run(lambda stores: stores.agents.list())
    desk.answer(rows)
    desk.table(
        ("agent", "in use", "capacity", "waiting", "paused", "circuit"),
        (
            (
                row.name,
                "-" if row.capacity is None else str(row.inflight),
                "-" if row.capacity is None else str(row.capacity),
                f"{row.ready:,}",
                "yes" if row.paused else "",
                shown_circuit(row.circuit),
            )
            for row in rows
        ),
        right=frozenset({"in use", "capacity", "waiting"}),
    )
    if not rows:
        desk.say("no call has asked for an agent yet, and none has a capacity: `orchestrator agents set NAME --capacity 20`")


@agents.command("set")
@click.argument("name")
@click.option(
    "--capacity",
    metavar="N",
    help=f"Calls at once, above 0; '{UNLIMITED}': any number. A lower capacity takes effect as calls end.",
)
@with_desk
def set_agents(desk: Desk, name: str, capacity: str | None) -> None:
    """Limit how many calls an agent takes at once; the name may be one that no call has asked for yet."""
    if capacity is None:
        raise BadInput(f"nothing to change: name --capacity, a number or {UNLIMITED!r}")
    limit = _read(capacity)
    _tell(desk, desk.run(lambda stores: stores.agents.set_capacity(name, limit)))


@agents.command("show")
@click.argument("name")
@with_desk
def show_agents(desk: Desk, name: str) -> None:
    """One agent pool."""
    _tell(desk, desk.run(lambda stores: stores.agents.get(name)))


@agents.command("pause")
@click.argument("name")
@with_desk
def pause_agents(desk: Desk, name: str) -> None:
    """Claim no calls for this agent; live ones go on."""
    _tell(desk, desk.run(lambda stores: stores.agents.pause(name, paused=True)))


@agents.command("resume")
@click.argument("name")
@with_desk
def resume_agents(desk: Desk, name: str) -> None:
    """Claim calls for this agent again."""
    _tell(desk, desk.run(lambda stores: stores.agents.pause(name, paused=False)))


@agents.command("reset-circuit")
@click.argument("name")
@with_desk
def reset_agents(desk: Desk, name: str) -> None:
    """Let calls have this agent again at once, after agents did not come."""
    _tell(desk, desk.run(lambda stores: stores.agents.reset_circuit(name)))


def _read(capacity: str) -> int | None:
    if capacity.lower() == UNLIMITED:
        return None
    try:
        return int(capacity)
    except ValueError:
        raise BadInput(f"capacity must be a whole number above 0, or {UNLIMITED!r}, not {capacity!r}") from None


def _tell(desk: Desk, row: AgentPoolRow) -> None:
    desk.answer(row)
    shown = {
        "name": row.name,
        "capacity": "- (not limited)" if row.capacity is None else row.capacity,
        "inflight": "- (not counted)" if row.capacity is None else row.inflight,
        "ready": row.ready,
        "paused": row.paused,
        "absences": row.absences,
        "circuit": shown_circuit(row.circuit),
    }
    for name, value in shown.items():
        desk.say(f"{name:<10} {value}")
