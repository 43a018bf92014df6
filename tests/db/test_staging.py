"""Placing due calls by their calling windows: ready at once, back until the window opens, held; changes of hours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.placements import DueCall, Placement
from orchestrator.store.records import Aftermath, Outcome, WaitingFor
from sip.events import Dialled
from tests.db.office import BUSY, Office

HOUR = timedelta(hours=1)


class Opens:
    """A placer for which everybody may be called from `opens` to `closes`, counted from the moment; None: nobody knows."""

    def __init__(self, opens: timedelta | None, closes: timedelta | None) -> None:
        self._opens = opens
        self._closes = closes

    def place(self, due: Sequence[DueCall]) -> list[Placement]:
        return [
            Placement(
                call_id=call.call_id,
                window_from=None if self._opens is None else call.asked_at + self._opens,
                window_until=None if self._closes is None else call.asked_at + self._closes,
                hours_version=call.account_version,
                time_zone="" if self._opens is None else "America/Chicago",
            )
            for call in due
        ]


async def test_a_call_whose_window_opens_later_goes_back_until_then_and_is_not_due_meanwhile(office: Office):
    office.placer = Opens(HOUR, 2 * HOUR)
    (call_id,) = await office.enqueue(1)
    assert await office.stage() == 0
    assert await office.queue.due_calls(10) == []
    (row,) = await office.sql("SELECT *, run_at = window_from AS then FROM calls")
    assert (row["state"], row["waiting_for"], row["time_zone"], row["then"]) == (
        "scheduled",
        "calling_window",
        "America/Chicago",
        True,
    )
    assert await office.queue.claim_calls(20) == []
    await office.sql("UPDATE calls SET run_at = now(), window_from = now() - interval '1 s'")
    (due,) = await office.queue.due_calls(10)
    assert due.kept_placement is not None, "the window need not be looked for again"
    assert (await office.queue.stage([due], [due.kept_placement])).ready == 1
    (call,) = await office.queue.claim_calls(20)
    assert (call.call_id, call.waiting_for) == (call_id, WaitingFor.SLOT)


async def test_a_call_whose_zone_is_not_known_is_held_and_reported_once(office: Office):
    office.placer = Opens(None, None)
    (call_id,) = await office.enqueue(1)
    for _ in range(2):
        assert await office.stage() == 0
        await office.sql("UPDATE calls SET run_at = now()")
    view = await office.calls.show(call_id)
    assert [event.kind for event in view.events] == ["state", "held"]
    assert view.events[1].detail == {"waiting_for": "time_zone"}
    await office.sql("UPDATE calls SET run_at = now() - interval '2 s', expires_at = now() - interval '1 s'")
    assert await office.queue.expire_calls(10) == [(call_id, EndReason.EXPIRED_IN_QUEUE)]
    assert (await office.calls.show(call_id)).call.outcome.evidence["waited_for"] == "time_zone"


async def test_a_ready_call_whose_window_closes_goes_back_and_leaves_no_trace_in_its_lane(office: Office):
    office.placer = Opens(-HOUR, HOUR)
    ids = await office.ready(3, priority=1)
    await office.ready(2)
    assert await office.queue.close_windows(100) == 0
    await office.sql("UPDATE calls SET window_until = now() WHERE id = ANY ($1)", ids)
    assert await office.queue.close_windows(2) == 2
    assert await office.queue.close_windows(100) == 1
    assert (await office.drift()).total == 0
    assert len(await office.queue.claim_calls(20)) == 2
    due = await office.queue.due_calls(10)
    assert {call.call_id for call in due} == set(ids)
    assert all(call.kept_placement is None for call in due)
    office.placer = Opens(HOUR, 2 * HOUR)
    assert await office.stage() == 0
    assert await office.states(ids[0]) == ["scheduled", "ready", "scheduled"]


async def test_a_window_that_closed_between_finding_and_staging_is_found_again(office: Office):
    await office.enqueue(1)
    due = await office.queue.due_calls(10)
    assert (await office.queue.stage(due, Opens(-HOUR, timedelta(0)).place(due))).ready == 0
    assert len(await office.queue.due_calls(10)) == 1


async def test_a_call_is_staged_only_by_the_hours_that_its_account_has_now(office: Office):
    await office.enqueue(1)
    due = await office.queue.due_calls(10)
    await office.change_account("acme", calling_hours=("mon-fri 9:00-17:00",))
    staged = await office.queue.stage(due, office.placer.place(due))
    assert (staged.ready, staged.held) == (0, 0)
    assert await office.stage() == 1


async def test_a_change_of_hours_reaches_the_calls_that_they_hold(office: Office):
    office.placer = Opens(HOUR, 2 * HOUR)
    await office.enqueue(3)
    assert await office.stage() == 0
    await office.open_account("b")
    await office.enqueue(1, account="b")
    assert await office.stage() == 0
    (row,) = await office.sql("SELECT release_held_calls(1) AS n")
    assert row["n"] == 3
    due = await office.queue.due_calls(10)
    assert len(due) == 3
    office.placer = Opens(-HOUR, HOUR)
    assert await office.stage() == 3


async def test_a_call_that_is_placed_while_its_hours_change_is_released_too(office: Office):
    """Staging holds the account; the release waits for it and then sees what it placed by the old hours."""
    (call_id,) = await office.enqueue(1)
    (due,) = await office.queue.due_calls(1)
    await office.queue.stage([], [])
    await office.sql("SELECT make_routes(ARRAY[$1::bigint])", call_id)
    staging = await office.database.connect()
    transaction = staging.transaction()
    await transaction.start()
    (held,) = await staging.fetch(
        "SELECT held FROM stage_calls(ARRAY[$1::bigint], ARRAY[now() + interval '1 h'], ARRAY[now() + interval '2 h'],"
        " ARRAY[$2::integer], ARRAY['UTC'], ARRAY[''])",
        call_id,
        due.account_version,
    )
    assert held["held"] == 1
    release = asyncio.create_task(office.sql("SELECT release_held_calls(1) AS n"))
    while not await office.sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"):
        await asyncio.sleep(0)
    await transaction.commit()
    await staging.close()
    (row,) = await release
    assert row["n"] == 1
    assert len(await office.queue.due_calls(10)) == 1


async def test_due_calls_of_a_locked_account_hold_up_no_others(office: Office):
    await office.open_account("b")
    await office.enqueue(5)
    await office.enqueue(2, account="b")
    other = await office.database.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM account_slots WHERE account_id = 1 FOR UPDATE")
    async with asyncio.timeout(60):
        first = await office.queue.due_calls(5)
        assert (await office.queue.stage(first, office.placer.place(first))).ready == 0
        second = await office.queue.due_calls(5, after=first[-1])
        assert (await office.queue.stage(second, office.placer.place(second))).ready == 2
    await transaction.rollback()
    await other.close()
    assert await office.stage() == 5


# -- the end of a call that waited for its next attempt -----------------------------------------------------------------------

MACHINE = Outcome(
    state=State.ENDED,
    reason=EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED,
    dialled=Dialled.YES,
    answered_by=AnsweredBy.MACHINE,
    talk_ms=900,
)


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("outcome", [BUSY, MACHINE], ids=lambda outcome: outcome.reason.value)
async def test_a_call_that_expires_before_its_next_attempt_ends_as_the_last_did(office: Office, outcome: Outcome, staged: bool):
    call = await (office.active() if outcome is MACHINE else office.ringing())
    finished = await office.ends.finish(call, outcome, Aftermath(redial_delay_s=60))
    assert (finished.ours, finished.state) == (True, State.SCHEDULED)
    if staged:
        await office.sql("UPDATE calls SET run_at = now()")
        assert await office.stage() == 1
    await office.sql("UPDATE calls SET run_at = now() - interval '2 s', expires_at = now() - interval '1 s'")
    assert await office.queue.expire_calls(10) == [(call.call_id, outcome.reason)]
    row = (await office.calls.show(call.call_id)).call
    assert (row.state, row.end_reason, row.outcome.dialled) == (outcome.state, outcome.reason, Dialled.YES)
    assert row.outcome.answered_by is outcome.answered_by
    assert (row.answered_at is not None) == (outcome is MACHINE)
    assert row.ended_at > datetime.now(UTC) - HOUR
    assert (await office.drift()).total == 0


async def test_a_call_withdrawn_before_its_next_attempt_says_that_it_was_dialled(office: Office):
    call = await office.ringing()
    await office.ends.finish(call, BUSY, Aftermath(redial_delay_s=60))
    await office.calls.request_cancel(call.call_id)
    row = (await office.calls.show(call.call_id)).call
    assert (row.state, row.end_reason, row.outcome.dialled) == (State.CANCELED, EndReason.CANCELED_BY_REQUEST, Dialled.YES)
