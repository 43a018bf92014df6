"""`orchestrator trunks`: the ways to the telephone network, how much each carries, and how its answers are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.cli.accounts import CLEAR, unless_clear
from orchestrator.cli.desk import Desk, with_desk
from orchestrator.cli.documents import trunk_document
from orchestrator.cli.groups import group
from orchestrator.cli.learn import learn
from orchestrator.cli.words import shown_circuit, shown_list
from orchestrator.errors import BadInput
from orchestrator.store.policy import NewTrunk, TrunkChange, TrunkStatus

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def trunks() -> None:
    """Trunks: the ways to the telephone network and their limits."""


trunks.add_command(group)
trunks.add_command(learn)


def reading_options(command: F) -> F:
    """The options that make and change a trunk alike."""
    options = (
        click.option("--dial-slack-ms", type=int, help="How late an INVITE may leave without breaking --cps."),
        click.option(
            "--caller-id",
            "caller_ids",
            multiple=True,
            metavar="NUMBER",
            help=f"E.164; may be shown to callees; repeatable. '{CLEAR}': none.",
        ),
        click.option(
            "--preconnect/--no-preconnect",
            "preconnect_voicemail",
            default=None,
            help="Read a short ring that ends in one of --preconnect-code as forwarded to voicemail.",
        ),
        click.option(
            "--preconnect-code",
            "preconnect_voicemail_codes",
            type=int,
            multiple=True,
            metavar="SIP",
            help="Such a code; repeatable. Default 480.",
        ),
        click.option("--min-ring", "min_ring_s", type=float, metavar="S", help="Shortest ring that is read so; default 1."),
        click.option("--max-ring", "max_ring_s", type=float, metavar="S", help="Longest ring that is read so; default 18."),
        click.option(
            "--busy-means-declined/--no-busy-means-declined",
            default=None,
            help="486 after ringing is a decline on this trunk.",
        ),
        click.option(
            "--pattern",
            "patterns",
            multiple=True,
            metavar="REGEX=CAUSE",
            help=f"A text of this trunk and the hang-up cause that it means; repeatable. '{CLEAR}': none.",
        ),
        click.option("--enabled/--disabled", default=None, help="Whether calls are claimed for it."),
        click.option("--paused/--no-paused", default=None, help="The same as --disabled and --enabled."),
        click.option(
            "--owner",
            metavar="ACCOUNT",
            help=f"The account whose calls alone may use it; '{CLEAR}': all accounts share it.",
        ),
        click.option(
            "--caller-id-cap",
            metavar="N",
            help=f"Most dials a day (UTC) from each of its caller ids; '{CLEAR}': no cap.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@trunks.command("list")
@with_desk
def list_trunks(desk: Desk) -> None:
    """All trunks, with what they carry now."""
    rows = desk.run(lambda stores: stores.trunks.list())
    desk.answer([trunk_document(row) for row in rows])
    desk.table(
        ("trunk", "id at the media server", "in use", "channels", "calls/s", "caller ids", "owner", "enabled", "circuit"),
        (
            (
                row.trunk.name,
                row.trunk.sip_trunk_id,
                str(row.channels),
                str(row.max_channels),
                f"{row.max_cps:g}",
                shown_list(row.trunk.caller_ids),
                row.owner or "",
                "yes" if row.enabled else "no",
                shown_circuit(row.circuit),
            )
            for row in rows
        ),
        right=frozenset({"in use", "channels", "calls/s"}),
    )
    if not rows:
        desk.say("there are no trunks yet: `orchestrator trunks add NAME --sip-trunk-id ST_... --channels 30 --cps 5`")


@trunks.command("add")
@click.argument("name")
@click.option("--sip-trunk-id", required=True, metavar="ID", help="The id under which LiveKit knows it (ST_...).")
@click.option("--channels", "max_channels", type=int, required=True, metavar="N", help="Calls at once, above 0.")
@click.option("--cps", "max_cps", type=float, required=True, metavar="N", help="Dials in any second, above 0.")
@reading_options
@with_desk
def add_trunk(desk: Desk, name: str, sip_trunk_id: str, max_channels: int, max_cps: float, **options: Any) -> None:
    """Make a trunk."""
    trunk = NewTrunk(name=name, sip_trunk_id=sip_trunk_id, max_channels=max_channels, max_cps=max_cps, **_read(options))
    row = desk.run(lambda stores: stores.trunks.create(trunk))
    desk.answer(trunk_document(row))
    desk.say(f"trunk {name} is made: {row.max_channels} channels, {row.max_cps:g} dials a second at most")
    desk.say(f"give it to an account: `orchestrator accounts set ACCOUNT --trunk {name}`")


@trunks.command("set")
@click.argument("name")
@click.option("--sip-trunk-id", metavar="ID", help="The id under which LiveKit knows it (ST_...).")
@click.option("--channels", "max_channels", type=int, metavar="N", help="Calls at once, above 0.")
@click.option("--cps", "max_cps", type=float, metavar="N", help="Dials in any second, above 0.")
@reading_options
@with_desk
def set_trunk(desk: Desk, name: str, **options: Any) -> None:
    """Change a trunk; what is not named stays as it is. A lower limit takes effect as calls end."""
    change = TrunkChange(**_read(options))
    if change == TrunkChange():
        raise BadInput("nothing to change: name at least one option (see --help)")
    row = desk.run(lambda stores: stores.trunks.update(name, change))
    desk.answer(trunk_document(row))
    _print(desk, row)


@trunks.command("show")
@click.argument("name")
@with_desk
def show_trunk(desk: Desk, name: str) -> None:
    """One trunk in full."""
    row = desk.run(lambda stores: stores.trunks.get(name))
    desk.answer(trunk_document(row))
    _print(desk, row)


@trunks.command("reset-circuit")
@click.argument("name")
@with_desk
def reset_trunk(desk: Desk, name: str) -> None:
    """Let calls have this trunk again at once, after it failed."""
    row = desk.run(lambda stores: stores.trunks.reset_circuit(name))
    desk.answer(trunk_document(row))
    _print(desk, row)


def _read(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    if "paused" in given:
        paused = given.pop("paused")
        if given.setdefault("enabled", not paused) is paused:
            raise BadInput("--enabled and --paused contradict each other: name one of them")
    if "owner" in given:
        given["owner"] = "" if given["owner"] == CLEAR else given["owner"]
    if "caller_id_cap" in given:
        given["caller_id_cap"] = _cap(given["caller_id_cap"])
    for name in ("caller_ids", "patterns"):
        if name in given:
            given[name] = unless_clear(given[name])
    if "patterns" in given:
        given["patterns"] = tuple(_pattern(text) for text in given["patterns"])
    return given


def _cap(text: str) -> int:
    """0: no cap."""
    if text == CLEAR:
        return 0
    try:
        cap = int(text)
    except ValueError:
        cap = 0
    if cap < 1:
        raise BadInput(f"caller_id_cap must be a whole number above 0, or {CLEAR!r}, not {text!r}")
    return cap


def _pattern(text: str) -> tuple[str, str]:
    pattern, sign, cause = text.rpartition("=")
    if not sign or not pattern or not cause:
        raise BadInput(f"pattern {text!r}: write a regular expression, = and a hang-up cause, like 'unpaid bill=trunk_auth'")
    return pattern, cause.strip().lower()


def _print(desk: Desk, row: TrunkStatus) -> None:
    shown = {
        **trunk_document(row),
        "caller_ids": shown_list(row.trunk.caller_ids, none="- (its own default number)"),
        "preconnect_voicemail_codes": ", ".join(map(str, sorted(row.trunk.preconnect_voicemail_codes))) or "-",
        "patterns": "; ".join(f"{pattern} = {cause}" for pattern, cause in row.trunk.patterns) or "-",
        "owner": row.owner or "- (shared by all accounts)",
        "caller_id_cap": row.caller_id_cap or "- (none)",
        "circuit": shown_circuit(row.circuit),
    }
    for name, value in shown.items():
        desk.say(f"{name:<26} {value}")
