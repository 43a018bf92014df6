"""`orchestrator queue`: what runs, what is ready, what waits for what and until when; and why one call is not running."""

from __future__ import annotations

from datetime import datetime

import click

from orchestrator.cli.desk import Desk, with_desk
from orchestrator.cli.documents import document, fields_of
from orchestrator.cli.words import plural, shown_time
from orchestrator.errors import BadInput
from orchestrator.ids import CallId
from orchestrator.scheduling.standing import circuit_text, reasons, trunk_trouble
from orchestrator.store.queue_view import (
    MOST_LOOKED_AT,
    AccountQueue,
    Count,
    LaterCalls,
    PoolQueue,
    QueueView,
    QueueViewStore,
    SystemQueue,
)
from orchestrator.store.records import WaitingFor

WAITS = {
    WaitingFor.AGENT: "no agent came",
    WaitingFor.MEDIA_SERVER: "media server",
    WaitingFor.TRUNK_CAPACITY: "trunk's own limit",
    WaitingFor.TRUNK_AUTH: "trunk refused credentials",
    WaitingFor.TRUNK_CONFIG: "trunk refused",
    WaitingFor.TRUNK_UNREACHABLE: "trunk unreachable",
    WaitingFor.CALLING_WINDOW: "calling hours",
    WaitingFor.TIME_ZONE: "time zone unknown",
    WaitingFor.SPACING: "spacing",
    WaitingFor.CALLER_ID: "caller ids used up",
    WaitingFor.PAUSED: "pause",
    WaitingFor.REDIAL: "next attempt",
}


@click.command()
@click.argument("call_id", type=int, required=False)
@click.option("--account", metavar="NAME", help="This account only.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Accounts to show, most work first.")
@with_desk
def queue(desk: Desk, call_id: int | None, account: str | None, limit: int) -> None:
    """What runs, is ready and waits, for each account, trunk and agent pool; with CALL_ID, why that call is not running now."""
    if call_id is None:
        view = desk.run(lambda stores: QueueViewStore(database=stores.database).view(accounts=limit, account=account))
        desk.answer(view)
        if not desk.as_json:
            _print(desk, view, account=account)
        return
    if account is not None:
        raise BadInput("name a call or an account, not both")
    number = CallId(call_id)
    standing = desk.run(lambda stores: QueueViewStore(database=stores.database).standing(number))
    found = reasons(standing)
    desk.answer(
        {
            "call_id": standing.call_id,
            "account": standing.row["account"],
            "state": standing.state.value,
            "waiting_for": standing.waiting_for.value,
            "position": None if standing.ahead is None else standing.ahead.calls + 1,
            "position_is_beyond": standing.ahead is not None and standing.ahead.more,
            "run_at": document(standing.row["run_at"]),
            "expires_at": document(standing.row["expires_at"]),
            "reasons": [fields_of(reason) for reason in found],
        }
    )
    desk.say(f"call {standing.call_id} of account {standing.row['account']} is {standing.state.value}")
    for reason in found:
        desk.say(f"  {reason.text}")


def _print(desk: Desk, view: QueueView, *, account: str | None) -> None:
    _print_system(desk, view.system)
    later = {calls.account: calls for calls in view.later}
    desk.say("")
    desk.table(
        ("account", "running", "of", "ready", "urgent", "later", "state", "waits for something else"),
        (
            (
                row.name,
                f"{row.running:,}",
                f"{row.max_concurrent:,}",
                f"{row.ready:,}",
                f"{row.urgent:,}" if row.urgent else "",
                _count(later[row.name].count) if row.name in later else "",
                _account_state(row),
                _held(row, later.get(row.name)),
            )
            for row in view.accounts
        ),
        right=frozenset({"running", "of", "ready", "urgent", "later"}),
    )
    hidden = view.accounts_in_all - len(view.accounts)
    if hidden > 0 and account is None:
        desk.say(f"{plural(hidden, 'account')} with less work not shown: --limit, --account")
    if not view.accounts and not view.later:
        desk.say("no account has a call that runs or waits")
    if any(calls.count.more for calls in view.later):
        desk.say(f"later: among the first {MOST_LOOKED_AT:,} scheduled calls; there are more")
    desk.say("")
    now = view.system.now
    desk.table(
        ("trunk", "running", "of", "ready", "dials/s", "state"),
        (
            (
                trunk.name,
                f"{trunk.running:,}",
                f"{trunk.max_channels:,}",
                f"{trunk.ready:,}",
                f"{trunk.max_cps:g}",
                (trunk_trouble(trunk, now=now) or ("takes calls", None))[0],
            )
            for trunk in view.trunks
        ),
        right=frozenset({"running", "of", "ready", "dials/s"}),
    )
    if view.agent_pools:
        desk.say("")
    desk.table(
        ("agent pool", "running", "of", "ready", "no agent came", "state"),
        (
            (
                pool.name,
                f"{pool.running:,}",
                "-" if pool.capacity is None else f"{pool.capacity:,}",
                f"{pool.ready:,}",
                f"{_count(pool.absent)}, next try {_when(pool.absent_until)}" if pool.absent.calls else "",
                _pool_state(pool, now=now),
            )
            for pool in view.agent_pools
        ),
        right=frozenset({"running", "of", "ready"}),
    )


def _print_system(desk: Desk, system: SystemQueue) -> None:
    if system.stopped_at is not None:
        desk.say(f"STOPPED since {shown_time(system.stopped_at)}: {system.stopped_why} (`orchestrator resume`)")
    if system.held_at is not None:
        desk.say(f"HELD since {shown_time(system.held_at)}: {system.held_why} (`orchestrator confirm-restore`)")
    workers = f"{plural(system.workers, 'worker')} with {system.seats:,} seats" if system.workers else "NO WORKER is running"
    draining = f", {system.draining} draining" if system.draining else ""
    desk.say(f"{workers}{draining}; {plural(system.live, 'call')} live, {_count(system.scheduled)} scheduled")


def _account_state(row: AccountQueue) -> str:
    if row.paused:
        return "paused"
    if row.running >= row.max_concurrent:
        return "full"
    if row.running >= row.max_concurrent - row.reserved:
        return f"{row.max_concurrent - row.running} kept for urgent"
    return ""


def _pool_state(pool: PoolQueue, *, now: datetime) -> str:
    if pool.paused:
        return "paused"
    circuit = circuit_text(pool.circuit_until, pool.circuit_why, probing=pool.probing, now=now)
    if circuit:
        return circuit
    return "full" if pool.capacity is not None and pool.running >= pool.capacity else ""


def _held(row: AccountQueue, later: LaterCalls | None) -> str:
    parts = [
        f"{WAITS[held.waiting_for]} {_count(held.count)}" + (f" until {_when(held.until)}" if held.until else "")
        for held in row.held
    ]
    if later is not None:
        parts.append(f"later: first at {_when(later.first)}")
    return "; ".join(parts)


def _when(moment: datetime | None) -> str:
    return shown_time(moment)


def _count(count: Count) -> str:
    return f"{count.calls:,}" + ("+" if count.more else "")
