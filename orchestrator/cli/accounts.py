"""`orchestrator accounts`: who may call whom, and how much at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.cli.detectionpolicy import detection_options, shown_detection, take_detection
from orchestrator.cli.documents import fields_of
from orchestrator.cli.durations import read_duration_s, shown_duration
from orchestrator.cli.words import shown_list
from orchestrator.errors import BadInput
from orchestrator.numbers import read_country, read_number, read_specials
from orchestrator.redial import DEFAULT_DELAYS_S
from orchestrator.store.policy import AccountChange, AccountRow, NewAccount
from orchestrator.store.records import CallerIdChoice

F = TypeVar("F", bound=Callable[..., Any])

CLEAR = "none"
"""What empties a list."""


@click.group()
def accounts() -> None:
    """Accounts: their limits, what they may call, and what their calls look like."""


def policy_options(command: F) -> F:
    """The options that make and change an account alike."""
    options = (
        click.option("--weight", type=float, help="Share of free slots relative to other accounts, above 0."),
        click.option("--reserved", type=int, help="Slots of --max-concurrent for urgent calls (priority above 0) only."),
        click.option("--ring-timeout", "ring_timeout_s", type=float, metavar="S", help="How long a phone may ring, 5 to 60 s."),
        click.option("--max-duration", "max_duration_s", type=float, metavar="S", help="Longest conversation."),
        click.option("--caller-id", "caller_ids", multiple=True, metavar="NUMBER",
                     help=f"May be shown to callees; repeatable. '{CLEAR}': none."),
        click.option("--allow-country", "allowed_countries", multiple=True, metavar="CC",
                     help=f"May be called; repeatable. Without any, the account's own only ('{CLEAR}' goes back to that)."),
        click.option("--allow-special", "allowed_specials", multiple=True, metavar="KIND",
                     help=f"May be called: premium, shared_cost, satellite ...; repeatable. '{CLEAR}': none."),
        click.option("--agent", "agent_name", metavar="NAME", help="The agent of calls that name none."),
        click.option("--trust-agent-leave/--no-trust-agent-leave", default=None,
                     help="An agent that leaves without our end signal ended the call on purpose."),
        click.option("--trunk", metavar="NAME", help="The trunk or trunk group of calls that name none."),
        click.option("--calling-hours", "calling_hours", multiple=True, metavar="RULE",
                     help="When people may be called, by their own clock: '08:00-21:00', 'mon-fri 09:00-20:00', 'sun closed',"
                          " 'US-TX 09:00-20:00', '+4989 10:00-18:00', 'zone America/Chicago', 'always'; repeatable."
                          f" '{CLEAR}': back to 08:00-21:00 every day."),
        click.option("--closed-on-holidays/--open-on-holidays", default=None,
                     help="Call nobody on a public holiday of their country."),
        click.option("--dial-unknown-zone/--hold-unknown-zone", default=None,
                     help="Call people whose time zone their number does not tell, by the clocks of the account's country."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return dialling_options(detection_options(command))


def dialling_options(command: F) -> F:
    """The options that say how often and from which number people are dialled."""
    options = (
        click.option("--max-attempts", type=int, metavar="N", help="Attempts of a call in all, 1 to 50. Default: 1."),
        click.option("--redial-delay", "redial_delays_s", multiple=True, metavar="CLASS=5m,15m,1h",
                     help="How long a call waits after its first attempt, its second ..., by class of end: soon, later or"
                          f" cooldown; the last one repeats; repeatable. '{CLEAR}': the defaults for all classes."),
        click.option("--redial-jitter", type=float, metavar="SHARE", help="Longer by up to this share at random, 0 to 1."),
        click.option("--number-gap", "number_gap_s", metavar="5m", help="Between two dials to the same number; '0': none."),
        click.option("--number-most-dials", metavar="N",
                     help=f"Most dials to the same number in any --number-window. '{CLEAR}': no cap."),
        click.option("--number-window", "number_window_s", metavar="7d", help="Default: 7d."),
        click.option("--caller-id-choice", metavar="HOW",
                     help="Which of its caller ids is shown: fixed (the first), rotating (the one with the fewest dials today),"
                          " nearest (to the callee)."),
        click.option("--caller-id-cap", metavar="N",
                     help=f"Most dials a day (UTC) from each of its caller ids. '{CLEAR}': no cap."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@accounts.command("list")
@with_desk
def list_accounts(desk: Desk) -> None:
    """All accounts, with what they use now."""
    rows = desk.run(lambda stores: stores.accounts.list())
    desk.answer(rows)
    desk.table(
        ("account", "in use", "limit", "waiting", "weight", "country", "may call", "trunk", "paused"),
        (
            (
                row.name,
                str(row.inflight),
                str(row.max_concurrent),
                f"{row.ready:,}",
                f"{row.weight:g}",
                row.country,
                shown_list(row.allowed_countries, none=row.country),
                row.trunk or "-",
                "yes" if row.paused else "",
            )
            for row in rows
        ),
        right=frozenset({"in use", "limit", "waiting", "weight"}),
    )
    if not rows:
        desk.say("there are no accounts yet: `orchestrator accounts add NAME --country US --max-concurrent 10`")


@accounts.command("add")
@click.argument("name")
@click.option(
    "--country", required=True, metavar="CC", help="Where it is, like US: numbers may be written as they are dialled there."
)
@click.option("--max-concurrent", type=int, required=True, metavar="N", help="Most calls at once, above 0.")
@policy_options
@with_desk
def add_account(desk: Desk, name: str, country: str, max_concurrent: int, **options: Any) -> None:
    """Make an account."""
    given = _read(options, country=read_country(country))
    for name_of_cap in ("number_most_dials", "caller_id_cap"):
        if given.get(name_of_cap) == 0:
            given[name_of_cap] = None
    account = NewAccount(name=name, country=read_country(country), max_concurrent=max_concurrent, **given)
    row = desk.run(lambda stores: stores.accounts.create(account))
    desk.warn_of_short_ring(given.get("ring_timeout_s"))
    desk.answer(row)
    desk.say(f"account {row.name} is made: at most {row.max_concurrent} calls at once")
    desk.say(f"people are called by their own clock: {_hours(row)} (--calling-hours)")
    if row.trunk is None:
        desk.say(f"it has no trunk yet, so its calls must name one: `orchestrator accounts set {row.name} --trunk NAME`")


@accounts.command("set")
@click.argument("name")
@click.option("--country", metavar="CC", help="Where it is, like US.")
@click.option(
    "--max-concurrent", type=int, metavar="N", help="Most calls at once, above 0. A lower limit takes effect as calls end."
)
@click.option("--paused/--no-paused", default=None, help="Claim none of its calls; live ones go on.")
@policy_options
@with_desk
def set_account(
    desk: Desk, name: str, country: str | None, max_concurrent: int | None, paused: bool | None, **options: Any
) -> None:
    """Change an account; what is not named stays as it is."""

    async def work(stores: Stores) -> AccountRow:
        home = read_country(country) if country else (await stores.accounts.get(name)).country
        change = AccountChange(
            country=home if country else None, max_concurrent=max_concurrent, paused=paused, **_read(options, country=home)
        )
        if change == AccountChange():
            raise BadInput("nothing to change: name at least one option (see --help)")
        return await stores.accounts.update(name, change)

    row = desk.run(work)
    desk.warn_of_short_ring(options.get("ring_timeout_s"))
    desk.answer(row)
    _print(desk, row)


@accounts.command("show")
@click.argument("name")
@with_desk
def show_account(desk: Desk, name: str) -> None:
    """One account in full."""
    row = desk.run(lambda stores: stores.accounts.get(name))
    desk.answer(row)
    _print(desk, row)


def _read(options: dict[str, Any], *, country: str) -> dict[str, Any]:
    """The options that were given, read: numbers as E.164, names of countries and kinds as they are stored."""
    options = dict(options)
    detection = take_detection(options)
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    for name in ("caller_ids", "allowed_countries", "allowed_specials"):
        if name in given:
            given[name] = unless_clear(given[name])
    if "caller_ids" in given:
        given["caller_ids"] = tuple(read_number(value, country) for value in given["caller_ids"])
    if "allowed_countries" in given:
        given["allowed_countries"] = tuple(read_country(value) for value in given["allowed_countries"])
    if "allowed_specials" in given:
        given["allowed_specials"] = tuple(sorted(read_specials(given["allowed_specials"])))
    if "calling_hours" in given:
        given["calling_hours"] = tuple(" ".join(rule.split()) for rule in unless_clear(given["calling_hours"]))
    if detection is not None:
        given["detection"] = detection
    return given | _read_dialling(given)


def _read_dialling(given: dict[str, Any]) -> dict[str, Any]:
    """What of the options is written in words: durations, caps, choices."""
    read: dict[str, Any] = {}
    for name in ("number_gap_s", "number_window_s"):
        if name in given:
            read[name] = read_duration_s(f"--{name.removesuffix('_s').replace('_', '-')}", given[name])
    for name in ("number_most_dials", "caller_id_cap"):
        if name in given:
            read[name] = _cap(name, given[name])
    if "redial_delays_s" in given:
        read["redial_delays_s"] = dict(_delays(text) for text in unless_clear(given["redial_delays_s"]))
    if "caller_id_choice" in given:
        choices = [choice.value for choice in CallerIdChoice]
        if given["caller_id_choice"] not in choices:
            raise BadInput(f"--caller-id-choice must be one of {', '.join(choices)}, not {given['caller_id_choice']!r}")
        read["caller_id_choice"] = CallerIdChoice(given["caller_id_choice"])
    return read


def _cap(name: str, text: str) -> int:
    """0: no cap."""
    if text == CLEAR:
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(f"{name} must be a whole number above 0, or {CLEAR!r}, not {text!r}")
    return int(text)


def _delays(text: str) -> tuple[str, tuple[float, ...]]:
    """`soon=5m,15m` as class and seconds."""
    name, sign, delays = text.partition("=")
    if not sign or not name or not delays:
        raise BadInput(f"--redial-delay {text!r} must be a class and its delays, like soon=5m,15m,1h")
    return name.strip().lower(), tuple(read_duration_s(f"--redial-delay {name}", delay) for delay in delays.split(","))


def unless_clear(values: Sequence[str]) -> Sequence[str]:
    """The values of a repeatable option; none for the word that empties the list. Raises BadInput for the word and values."""
    if CLEAR in values and len(values) > 1:
        raise BadInput(f"{CLEAR!r} empties the list: do not name anything beside it")
    return () if CLEAR in values else values


def _print(desk: Desk, row: AccountRow) -> None:
    shown = {
        **fields_of(row, but=frozenset({"redial_delays_s", "number_gap_s", "number_window_s"})),
        "allowed_countries": shown_list(row.allowed_countries, none=f"{row.country} (its own)"),
        "allowed_specials": shown_list(row.allowed_specials),
        "caller_ids": shown_list(row.caller_ids, none="- (its trunk's)"),
        "trunk": row.trunk or "-",
        "calling_hours": _hours(row),
        "redial_delays": _redial(row),
        "number_gap": shown_duration(row.number_gap_s) if row.number_gap_s else "- (none)",
        "number_most_dials": row.number_most_dials or "- (no cap)",
        "number_window": shown_duration(row.number_window_s),
        "caller_id_cap": row.caller_id_cap or "- (no cap)",
        "detection": shown_detection(row.detection),
    }
    for name, value in shown.items():
        desk.say(f"{name:<18} {value}")


def _hours(row: AccountRow) -> str:
    return "; ".join(row.calling_hours) or "08:00-21:00 every day"


def _redial(row: AccountRow) -> str:
    """Delays by class, those that are the defaults too."""
    delays_s = {redial.value: delays for redial, delays in DEFAULT_DELAYS_S.items()} | dict(row.redial_delays_s)
    return "; ".join(f"{name} {', '.join(map(shown_duration, delays))}" for name, delays in delays_s.items())
