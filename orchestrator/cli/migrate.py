"""`orchestrator migrate`: bring the database to the schema of this program."""

from __future__ import annotations

import asyncio

import click

from orchestrator.builders import database_url
from orchestrator.cli.desk import Desk, with_desk
from orchestrator.cli.words import plural
from orchestrator.store.migrations import migrate as migrate_database
from orchestrator.store.pool import Database


@click.command()
@with_desk
def migrate(desk: Desk) -> None:
    """Bring the database to the schema of this program.

    Safe to repeat and to start twice at once. Refuses, changing nothing, if a migration that has run was edited or the database
    is newer than this program.
    """

    async def work() -> list[str]:
        async with database_url(desk.settings) as url:
            database = Database(url, min_size=0, max_size=1, command_timeout_s=desk.settings.database.command_timeout_s)
            return await migrate_database(database)

    applied = asyncio.run(work())
    desk.answer({"applied": applied})
    desk.say(
        f"{plural(len(applied), 'migration')} applied: {', '.join(applied)}"
        if applied
        else "nothing to do: the schema is current"
    )
