"""What waits for an operator's word: dialling on a restored database, and a sweep that would end unusually many rooms."""

from __future__ import annotations

import asyncio

import asyncpg


def execute(database_url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def test_a_restore_is_found_by_check_and_confirmed_by_an_operator(office, database_url):
    assert "was not held" in office("confirm-restore").out
    assert "ok    restore    none: timeline 0000000" in office("check").out
    execute(database_url, "UPDATE switches SET timeline = '0000000A'")
    found = office("check")
    assert found.code == 1
    assert "FAIL  restore    dialling is held" in found.out
    assert "to do: see that nobody is called twice, then `orchestrator confirm-restore`" in found.out
    confirmed = office("confirm-restore", "--json").document
    assert confirmed["was_held"] is True
    assert "timeline 0000000A" in confirmed["why"]
    assert "ok    restore" in office("check").out


def test_the_help_says_whom_to_take_off_the_queue_first(orchestrator):
    assert "cancel them first" in " ".join(orchestrator("confirm-restore", "--help").out.split())


def test_a_sweep_that_stopped_is_shown_and_allowed(office, database_url):
    assert office("sweep").out == "no sweep has stopped\n"
    execute(
        database_url,
        """INSERT INTO system_events (kind, detail) VALUES ('sweep_stopped', '{"rooms": 41, "most": 20}')""",
    )
    assert "found 41 rooms without a call, and stopped" in office("sweep").out
    shown = office("sweep", "--json").document
    assert (shown["allowed"], shown["stopped"]["detail"]["rooms"]) == (False, 41)
    assert "within 10 min" in office("sweep", "--allow").out
    execute(database_url, "DO $$ BEGIN ASSERT (SELECT sweep_allowed_at IS NOT NULL FROM switches); END $$")
