"""The kill switch by the command line."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from orchestrator.store.pool import Database
from orchestrator.store.switches import SwitchStore


def test_the_kill_switch_is_set_with_a_reason_and_taken_back(office):
    stopped = office("stop", "--why", "a wrong list was imported", "--json")
    assert stopped.code == 0, stopped.err
    assert stopped.document["stopped_why"] == "a wrong list was imported"
    assert stopped.document["stopped_at"] is not None
    again = office("stop", "--why", "and another").out
    assert "nothing is claimed or dialled" in again
    resumed = office("resume")
    assert "dialled again" in resumed.out
    shown = office("resume", "--json").document
    assert (shown["stopped_at"], shown["stopped_why"]) == (None, "")
    assert "not stopped" in office("resume").out


@pytest.mark.parametrize("why", ["", "   ", "x" * 501, "two\nlines"])
def test_a_reason_is_asked_for(office, why):
    refused = office("stop", "--why", why)
    assert refused.code == 2
    assert "reason" in refused.err
    assert office("resume", "--json").document["stopped_at"] is None


def test_a_hold_stays_when_the_kill_switch_goes(office, database_url):
    async def hold() -> tuple[bool, bool]:
        database = Database(database_url, min_size=1, max_size=1)
        await database.open()
        try:
            switches = SwitchStore(database=database)
            return await switches.hold("another timeline"), await switches.hold("the same again")
        finally:
            await database.close()

    assert asyncio.run(hold()) == (True, False)
    office("stop", "--why", "to be sure")
    resumed = office("resume")
    assert "confirm-restore" in resumed.err
    assert "another timeline" in resumed.err


def test_every_change_is_an_event(office, database_url):
    office("stop", "--why", "one")
    office("resume")
    office("resume")

    async def events() -> list[str]:
        connection = await asyncpg.connect(database_url)
        rows = await connection.fetch("SELECT kind FROM system_events ORDER BY id")
        await connection.close()
        return [row["kind"] for row in rows]

    assert asyncio.run(events()) == ["system.stopped", "system.resumed"]
