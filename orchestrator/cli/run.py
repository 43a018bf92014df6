"""`orchestrator run`: the daemon, with or without a demo beside it."""

from __future__ import annotations

import click

from orchestrator import logs
from orchestrator.app import run_daemon
from orchestrator.cli.demo import DemoView
from orchestrator.cli.desk import Desk, with_desk
from orchestrator.cli.exits import Exit
from orchestrator.demo import check_possible


@click.command()
@click.option(
    "--demo",
    "demo_size",
    type=int,
    metavar="N",
    help="Queue N simulated calls of three accounts and show them live; no phone rings.",
)
@click.option("--until-idle", is_flag=True, help="Leave when nothing is queued or live any more, or the demo is over.")
@with_desk
def run(desk: Desk, demo_size: int | None, until_idle: bool) -> Exit:
    """Run a worker: dial queued calls until stopped.

    The first Ctrl-C or SIGTERM lets live calls finish, the second hangs them up; SIGHUP reads the settings anew.

    With --demo and --until-idle the code is 0 if every demo call ended with the reason that its number promises, else 1.
    """
    settings = desk.settings
    view = None
    if demo_size is not None:
        check_possible(size=demo_size, is_real=settings.is_real)
        view = DemoView(size=demo_size, paper=desk.out, as_json=desk.as_json, ends_with_summary=until_idle)
    level = settings.log.level
    if view is not None and view.is_live and level in {"debug", "info"}:
        level = "warning"  # the lines of every call would tear the live table apart
    logs.configure(format=settings.log.format, level=level, mask_numbers=settings.log.mask_numbers)
    if view is None:
        return Exit(run_daemon(settings, until_idle=until_idle, reread=desk.reread))
    view.announce()
    code = Exit(run_daemon(settings, companion=view.accompany, until_idle=until_idle))
    if until_idle:
        view.print_summary()  # the last line of all, after whatever the daemon said when it stopped
        if not view.is_finished:
            return Exit.FAILURE
    return code
