"""`orchestrator erase`: erase a telephone number, at the request of the person whose it is."""

from __future__ import annotations

import re

import click

from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.cli.exits import Exit
from orchestrator.cli.words import plural, shown_number
from orchestrator.errors import BadInput, Error
from orchestrator.ids import E164, CallId
from orchestrator.store.erasure import Erased, ErasureStore, NumberInUse
from orchestrator.store.records import CancelResult

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
MOST_NAMED = 10


class NumberStillUsed(Error):
    """The number cannot be erased yet; nothing was changed, but for calls that were cancelled if that was asked for."""


@click.command()
@click.argument("number")
@click.option("--keep-hash", is_flag=True, help="Keep a hash alone in do-not-call lists that have it.")
@click.option("--cancel", is_flag=True, help="First cancel calls to it that wait or are live.")
@with_desk
def erase(desk: Desk, number: str, keep_hash: bool, cancel: bool) -> Exit:
    """Erase a NUMBER (E.164, like +12125550100) everywhere but in the do-not-call lists.

    What happened stays (when, how long, how it ended), but not to whom. Calls to it that wait or are live must end first. Reads
    all calls: seconds for millions. Backups and log files are yours to see to.
    """
    if not _E164.fullmatch(number):
        raise BadInput(f"{number!r}: write it as it is stored, with + and country code and digits only, like +12125550100")
    wanted = E164(number)

    async def work(stores: Stores) -> tuple[NumberInUse, Erased]:
        store = ErasureStore(database=stores.database)
        in_use = await store.in_use(wanted)
        if in_use.accounts or in_use.trunks:
            owners = [f"account {name}" for name in in_use.accounts] + [f"trunk {name}" for name in in_use.trunks]
            raise NumberStillUsed(f"it is a caller id of {', '.join(owners)}: take it away there first")
        await _see_to_open_calls(stores, store, wanted, cancel=cancel)
        return in_use, await store.erase(wanted, keep_hash=keep_hash)

    in_use, erased = desk.run(work)
    desk.answer(erased)
    shown = shown_number(number, in_full=False)
    desk.say(f"{shown} is erased from {plural(erased.calls, 'call')}, {plural(erased.trunk_failures, 'trunk failure')} and"
             f" {plural(erased.events, 'event')} of the system")  # fmt: skip
    if erased.listed_by_hash:
        desk.say("the do-not-call lists know it by its hash alone, and hold as before")
    elif in_use.listed:
        desk.say(
            "it is on a do-not-call list"
            + ("" if keep_hash else ", which may hold it in clear: --keep-hash keeps a hash alone")
        )
    else:
        desk.say("it is on no do-not-call list: a new call to it would be dialled, and its spacing counts from nothing")
        desk.say("to keep that from happening: `orchestrator do-not-call add`, then erase it again with --keep-hash")
    if erased.keys_kept:
        kept = plural(erased.keys_kept, "call")
        desk.warn(f"{kept} younger than 24 hours keep an idempotency key that holds the number: erase it again tomorrow")
    if erased.open_calls:
        desk.warn(f"{plural(erased.open_calls, 'call')} to it came meanwhile: erase it again when they have ended")
    return Exit.PARTLY_REFUSED if erased.keys_kept or erased.open_calls else Exit.OK


async def _see_to_open_calls(stores: Stores, store: ErasureStore, number: E164, *, cancel: bool) -> None:
    """Raises NumberStillUsed while calls to the number have not ended."""
    waiting = await store.open_calls(number)
    if waiting and cancel:
        results = {call_id: await stores.calls.request_cancel(call_id) for call_id in waiting}
        waiting = [call_id for call_id, result in results.items() if result is CancelResult.REQUESTED]
        if waiting:
            ids = _ids(waiting)
            raise NumberStillUsed(f"live calls to it have been asked to end ({ids}): erase it again in a moment")
    if waiting:
        raise NumberStillUsed(
            f"{plural(len(waiting), 'call')} to it must end first ({_ids(waiting)}): wait, or have them cancelled with --cancel"
        )


def _ids(calls: list[CallId]) -> str:
    more = f" and {len(calls) - MOST_NAMED} more" if len(calls) > MOST_NAMED else ""
    return ", ".join(map(str, calls[:MOST_NAMED])) + more
