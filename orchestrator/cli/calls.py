"""`orchestrator calls`: what is queued, what is on the line, what happened, and stopping it."""

from __future__ import annotations

import asyncio

import click

from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.cli.documents import call_document, view_document
from orchestrator.cli.exits import Exit
from orchestrator.cli.timeline import story
from orchestrator.cli.watch import Watch, Watcher, counts_line
from orchestrator.cli.words import plural, shown_ms, shown_number, shown_time
from orchestrator.errors import NotFound
from orchestrator.ids import CallId
from orchestrator.lifecycle import HOLDING, State
from orchestrator.outcomes import EndReason
from orchestrator.store.calls import MOST_LISTED_AT_ONCE
from orchestrator.store.records import CancelResult
from orchestrator.store.views import CallFilter, CallRow

WATCH_INTERVAL_S = 0.5

STATES = {
    **{state.value: frozenset({state}) for state in State},
    "queued": frozenset({State.SCHEDULED, State.READY, State.CLAIMED}),
    "live": HOLDING,
    "done": frozenset(state for state in State if state.is_terminal),
}
"""What --state takes: each state, and three groups of them."""


@click.group()
def calls() -> None:
    """Calls: list them, tell one's story, cancel them, watch them go."""


@calls.command("list")
@click.option("--account", metavar="NAME", help="Of this account only.")
@click.option("--batch", metavar="NAME", help="Of this batch only.")
@click.option("--state", "states", type=click.Choice(tuple(STATES)), multiple=True, help="In this state only; repeatable.")
@click.option(
    "--end-reason",
    type=click.Choice([reason.value for reason in EndReason]),
    metavar="REASON",
    help="With this end reason only.",
)
@click.option("--before", type=int, metavar="ID", help="Older than this call: the last id of one page gives the next.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED_AT_ONCE), default=50, show_default=True)
@click.option("--numbers", is_flag=True, help="Show phone numbers in full.")
@with_desk
def list_calls(
    desk: Desk,
    account: str | None,
    batch: str | None,
    states: tuple[str, ...],
    end_reason: str | None,
    before: int | None,
    limit: int,
    numbers: bool,
) -> None:
    """Calls, newest first."""
    wanted = CallFilter(
        account=account,
        batch=batch,
        states=frozenset().union(*(STATES[name] for name in states)),
        end_reason=EndReason(end_reason) if end_reason else None,
        before=CallId(before) if before is not None else None,
        limit=limit,
    )

    async def work(stores: Stores) -> list[CallRow]:
        if account is not None:
            await stores.accounts.get(account)  # a name with a typo has no calls, and should not look like a quiet account
        return await stores.calls.list_calls(wanted)

    rows = desk.run(work)
    desk.answer([call_document(row, numbers_in_full=numbers) for row in rows])
    desk.table(
        ("call", "account", "to", "state", "end reason", "queued", "ring", "talk", "batch"),
        (_cells(row, numbers_in_full=numbers) for row in rows),
        right=frozenset({"call", "ring", "talk"}),
    )
    if len(rows) == limit:
        desk.say(f"there may be more: add --before {rows[-1].call_id}")
    elif not rows:
        desk.say("no calls")


def _cells(row: CallRow, *, numbers_in_full: bool) -> tuple[str, ...]:
    return (
        str(row.call_id),
        row.account,
        shown_number(row.to, in_full=numbers_in_full),
        row.state.value,
        row.end_reason.value if row.end_reason else "",
        shown_time(row.created_at),
        shown_ms(row.outcome.ring_ms) if row.outcome else "",
        shown_ms(row.outcome.talk_ms) if row.outcome else "",
        row.batch or "",
    )


@calls.command("show")
@click.argument("call_id", type=int, metavar="ID")
@with_desk
def show_call(desk: Desk, call_id: int) -> None:
    """One call's story: what it asked for, each step with time and evidence, how it ended. Shows numbers in full."""
    view = desk.run(lambda stores: stores.calls.show(CallId(call_id)))
    desk.answer(view_document(view))
    for line in story(view):
        desk.say(line)


@calls.command("cancel")
@click.argument("call_ids", type=int, nargs=-1, required=True, metavar="ID...")
@with_desk
def cancel_calls(desk: Desk, call_ids: tuple[int, ...]) -> Exit:
    """Cancel calls: waiting ones at once, live ones through the worker that holds them.

    Leaves with 3 if any of several calls had ended already or is not known, with 4 or 1 if none could be cancelled.
    """

    async def work(stores: Stores) -> dict[int, CancelResult]:
        return {call_id: await stores.calls.request_cancel(CallId(call_id)) for call_id in call_ids}

    results = desk.run(work)
    desk.answer([{"call_id": call_id, "result": result.value} for call_id, result in results.items()])
    for call_id, result in results.items():
        desk.say(f"call {call_id}: {CANCEL_WORDS[result]}")
    done = sum(result in {CancelResult.CANCELED, CancelResult.REQUESTED} for result in results.values())
    if done == len(results):
        return Exit.OK
    if done:
        return Exit.PARTLY_REFUSED
    if all(result is CancelResult.NOT_FOUND for result in results.values()):
        return Exit.NOT_FOUND
    return Exit.FAILURE


CANCEL_WORDS = {
    CancelResult.CANCELED: "canceled",
    CancelResult.REQUESTED: "its worker has been told and ends it in a moment; `orchestrator calls show` tells when it has",
    CancelResult.ALREADY_ENDED: "had ended already",
    CancelResult.NOT_FOUND: "there is no such call",
}


@calls.command("summary")
@click.argument("batch")
@with_desk
def summarise(desk: Desk, batch: str) -> None:
    """How the calls of a batch stand, and how those that are over ended."""
    found = desk.run(lambda stores: stores.calls.summary(batch))
    if not found.total:
        raise NotFound(f"there is no batch {batch!r}")
    desk.answer({"batch": batch, "total": found.total, "unfinished": found.unfinished, "ended": found.ended})
    ended = sum(found.ended.values())
    desk.say(f"{batch}: {plural(found.total, 'call')}, {ended:,} ended, {found.total - ended:,} not yet")
    counts = {**{state.value: count for state, count in found.unfinished.items()}}
    counts |= {reason.value: count for reason, count in found.ended.items()}
    desk.table(
        ("state or end reason", "calls"),
        ((name, f"{count:,}") for name, count in sorted(counts.items(), key=lambda pair: -pair[1])),
        right=frozenset({"calls"}),
    )


@calls.command("watch")
@click.option("--account", metavar="NAME", help="Of this account only.")
@click.option("--batch", metavar="NAME", help="Of this batch only; the counts are then of the whole batch.")
@click.option("--numbers", is_flag=True, help="Show phone numbers in full.")
@with_desk
def watch_calls(desk: Desk, account: str | None, batch: str | None, numbers: bool) -> None:
    """Calls as they go, until Ctrl-C: a live table, or one line for each change where there is no terminal."""
    watchers: list[Watcher] = []

    async def work(stores: Stores) -> None:
        if account is not None:
            await stores.accounts.get(account)
        watcher = Watcher(calls=stores.calls, account=account, batch=batch)
        watchers.append(watcher)
        watch = Watch(
            watcher=watcher,
            paper=desk.out,
            as_json=desk.as_json,
            numbers_in_full=numbers,
            interval_s=WATCH_INTERVAL_S,
        )
        await watch.run()

    try:
        desk.run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        for watcher in watchers:
            desk.say(counts_line(watcher.ended))
