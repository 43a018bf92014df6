"""Watching: each change once, on a terminal a picture, elsewhere lines."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from orchestrator.cli.watch import Watch, Watcher
from orchestrator.errors import DatabaseUnavailable, NotFound
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.records import WaitingFor
from orchestrator.store.views import BatchSummary, CallFilter, CallRow, CallView
from tests.unit.cli.rows import NINE, call_row


class Calls:
    """A store with the calls that a test puts into it."""

    def __init__(self) -> None:
        self.rows: dict[CallId, CallRow] = {}
        self.looks = 0
        self.away = False
        self.looked = asyncio.Event()

    def put(self, row: CallRow) -> None:
        self.rows[row.call_id] = row

    async def list_calls(self, wanted: CallFilter) -> list[CallRow]:
        self.looks += 1
        self.looked.set()
        if self.away:
            raise DatabaseUnavailable("the database cannot be used: gone")
        return [row for row in self.rows.values() if row.state in wanted.states]

    async def show(self, call_id: CallId) -> CallView:
        if call_id not in self.rows:
            raise NotFound(f"there is no call {call_id}")
        return CallView(call=self.rows[call_id], attempts=(), dials=(), events=())

    async def summary(self, batch: str | None) -> BatchSummary:
        ended = Counter(row.end_reason for row in self.rows.values() if row.end_reason)
        unfinished = Counter(row.state for row in self.rows.values() if not row.state.is_terminal)
        return BatchSummary(total=len(self.rows), unfinished=unfinished, ended=ended)


@pytest.fixture
def calls() -> Calls:
    return Calls()


def live(call_id: int, state: State) -> CallRow:
    return call_row(call_id=call_id, state=state, claimed_at=NINE, dialed_at=NINE + timedelta(seconds=call_id))


async def test_each_change_of_state_is_seen_once_and_an_end_with_its_reason(calls):
    watcher = Watcher(calls=calls, account=None, batch=None)
    calls.put(live(1, State.DIALING))
    assert [call.state for call in (await watcher.look()).changed] == [State.DIALING]
    assert (await watcher.look()).changed == ()
    calls.put(live(1, State.RINGING))
    assert [call.state for call in (await watcher.look()).changed] == [State.RINGING]
    calls.put(call_row(call_id=1, end_reason=EndReason.USER_BUSY))
    assert [call.end_reason for call in (await watcher.look()).changed] == [EndReason.USER_BUSY]
    assert watcher.ended == {EndReason.USER_BUSY: 1}
    assert (await watcher.look()).changed == ()


async def test_a_call_that_goes_back_to_the_queue_has_not_ended(calls):
    watcher = Watcher(calls=calls, account=None, batch=None)
    calls.put(live(1, State.CLAIMED))
    await watcher.look()
    calls.put(call_row(call_id=1, waiting_for=WaitingFor.AGENT))
    (call,) = (await watcher.look()).changed
    assert call.end_reason is None
    assert not watcher.ended


async def test_with_a_batch_the_counts_are_those_of_the_whole_batch(calls):
    watcher = Watcher(calls=calls, account=None, batch="b")
    calls.put(call_row(call_id=1, end_reason=EndReason.USER_BUSY))
    calls.put(call_row(call_id=2))
    await watcher.look()
    assert watcher.ended == {EndReason.USER_BUSY: 1}
    assert watcher.waiting == 1


async def watched(calls: Calls, *, paper: Console, as_json: bool = False, looks: int = 2) -> None:
    watch = Watch(
        watcher=Watcher(calls=calls, account=None, batch=None),
        paper=paper,
        as_json=as_json,
        numbers_in_full=False,
        interval_s=0.001,
    )
    task = asyncio.create_task(watch.run())
    while calls.looks < looks:
        calls.looked.clear()
        await calls.looked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def paper(*, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=100, height=30, markup=False, emoji=False, highlight=False
    )


async def test_without_a_terminal_each_change_is_one_line_with_the_number_masked(calls):
    sheet = paper()
    calls.put(live(1, State.RINGING))
    await watched(calls, paper=sheet, looks=3)
    (line,) = sheet.file.getvalue().splitlines()
    assert line.endswith("call 1 acme ********0100 ringing")


async def test_for_programs_each_change_is_one_document(calls):
    sheet = paper()
    calls.put(live(1, State.RINGING))
    await watched(calls, paper=sheet, as_json=True)
    (line,) = sheet.file.getvalue().splitlines()
    assert json.loads(line)["state"] == "ringing"


async def test_a_database_that_is_away_is_told_and_waited_for(calls):
    sheet = paper()
    calls.away = True
    await watched(calls, paper=sheet)
    assert "the database cannot be used: gone" in sheet.file.getvalue()
    calls.away = False
    calls.put(live(1, State.ACTIVE))
    await watched(calls, paper=sheet, looks=calls.looks + 2)
    assert "active" in sheet.file.getvalue()


async def test_on_a_terminal_live_calls_stand_in_a_table_with_the_counts_below(calls):
    sheet = paper(terminal=True)
    for number in range(1, 60):
        calls.put(replace(live(number, State.ACTIVE), answered_at=NINE))
    await watched(calls, paper=sheet)
    picture = sheet.file.getvalue()
    assert "and 41 more" in picture
    assert "59 live calls" in picture
    assert "nothing has ended yet" in picture
