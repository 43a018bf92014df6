"""`orchestrator`: the commands under one name. Leaves with one of the codes of orchestrator.cli.exits."""

from __future__ import annotations

import sys

import click

from orchestrator.builders import program_version
from orchestrator.cli.accounts import accounts
from orchestrator.cli.agents import agents
from orchestrator.cli.calls import calls
from orchestrator.cli.check import check
from orchestrator.cli.detect import detect
from orchestrator.cli.donotcall import do_not_call
from orchestrator.cli.enqueue import enqueue
from orchestrator.cli.erase import erase
from orchestrator.cli.exits import Exit
from orchestrator.cli.migrate import migrate
from orchestrator.cli.queue import queue
from orchestrator.cli.restore import confirm_restore, sweep
from orchestrator.cli.run import run
from orchestrator.cli.switches import resume, stop
from orchestrator.cli.trunks import trunks

EPILOG = """\b
Exit codes:
  0  done
  1  it could not be done, or what was checked is not as it must be
  2  the command line, the settings or the input cannot be taken; nothing was changed
  3  some lines or calls were refused, everything else was done
  4  no such account, trunk, agent or call
  5  the database or LiveKit cannot be reached
130  interrupted by Ctrl-C
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(program_version(), prog_name="orchestrator")
def cli() -> None:
    """Places queued telephone calls over LiveKit, and records one true end for each."""


for command in (
    run,
    migrate,
    check,
    accounts,
    trunks,
    agents,
    do_not_call,
    enqueue,
    calls,
    queue,
    stop,
    resume,
    erase,
    confirm_restore,
    sweep,
    detect,
):
    cli.add_command(command)


def main() -> None:
    """Run one command and leave with its exit code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = Exit.INTERRUPTED
    sys.exit(int(code or 0))
