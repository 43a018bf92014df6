"""`orchestrator confirm-restore` and `orchestrator sweep`: what waits for an operator's word before a call is touched."""

from __future__ import annotations

import click

from orchestrator.calls.sweeper import STOPPED
from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.cli.words import plural
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.upkeep import SWEEP_PERMIT_S, SystemEvent, UpkeepStore


@click.command("confirm-restore")
@with_desk
def confirm_restore(desk: Desk) -> None:
    """Let calls be dialled again after a backup was restored or a standby took over.

    Calls that were dialled after the state that was restored are queued in it as if they had not been: cancel them first, or
    those people are called twice. Then give this word.
    """

    async def work(stores: Stores) -> str:
        return await ClusterStore(database=stores.database).confirm_restore()

    was = desk.run(work)
    desk.answer({"was_held": bool(was), "why": was})
    desk.say(f"confirmed: calls are dialled again (it was held because {was})" if was else "dialling was not held")


@click.command()
@click.option("--allow", is_flag=True, help="Let one sweep within the next 10 minutes end them all.")
@with_desk
def sweep(desk: Desk, allow: bool) -> None:
    """Show the last sweep that stopped since it would have ended unusually many rooms; with --allow, let it."""

    async def work(stores: Stores) -> SystemEvent | None:
        store = UpkeepStore(database=stores.database)
        if allow:
            await store.allow_sweep()
        return await store.last_event(STOPPED)

    stopped = desk.run(work)
    desk.answer({"allowed": allow, "stopped": stopped})
    if stopped is None:
        desk.say("no sweep has stopped")
    else:
        rooms = stopped.detail.get("rooms")
        found = plural(rooms, "room") if isinstance(rooms, int) else "many rooms"
        desk.say(f"{stopped.age_s / 60:.0f} min ago a sweep found {found} without a call, and stopped")
    if allow:
        desk.say(f"the next sweep may end whatever it finds, within {SWEEP_PERMIT_S / 60:.0f} min")
