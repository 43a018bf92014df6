"""`orchestrator stop` and `orchestrator resume`: the kill switch."""

from __future__ import annotations

import click

from orchestrator.cli.desk import Desk, Stores, with_desk
from orchestrator.cli.words import shown_time
from orchestrator.store.policy import Switches


@click.command()
@click.option("--why", required=True, metavar="TEXT", help="The reason, for everybody who wonders; one line.")
@with_desk
def stop(desk: Desk, why: str) -> None:
    """Stop all new dials at once, on every worker. Live calls go on; nothing is lost, calls wait."""
    switches = desk.run(lambda stores: stores.switches.stop(why))
    desk.answer(switches)
    desk.say(f"stopped since {shown_time(switches.stopped_at)}: nothing is claimed or dialled until `orchestrator resume`")
    desk.say("calls that were being dialled in this moment, and live ones, go on")


@click.command()
@with_desk
def resume(desk: Desk) -> None:
    """Take `orchestrator stop` back."""

    async def work(stores: Stores) -> tuple[bool, Switches]:
        return await stores.switches.resume(), await stores.switches.get()

    resumed, switches = desk.run(work)
    desk.answer(switches)
    desk.say("calls are claimed and dialled again" if resumed else "it was not stopped")
    if switches.held_at is not None:
        desk.warn(
            f"dialling is still held since {shown_time(switches.held_at)} ({switches.held_why}):"
            " see to it, then `orchestrator confirm-restore`"
        )
