"""Calls outside their calling hours: back until the window opens, at no cost, and never dialled outside it.

The database's clock cannot be set, so the hours are written around it: today closed, or open all day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from orchestrator.hours import DAY_NAMES
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.scheduling.placer import WindowPlacer
from orchestrator.store.records import DialForbidden, DialGranted, Gate, WaitingFor
from orchestrator.store.views import CallRow
from tests.db.office import Office

SATELLITE = "+882123456789"
ANY_HOUR = ("zone UTC", "00:00-24:00")
DAYS_OFF = 3


@pytest.fixture
async def office(office: Office) -> Office:
    office.placer = WindowPlacer()
    return office


def closed_until(now: datetime) -> tuple[tuple[str, ...], datetime]:
    """Hours that are closed for three days from now, and when they open."""
    opens_at = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=DAYS_OFF)
    return ("zone UTC", f"{DAY_NAMES[opens_at.weekday()]} 00:00-24:00"), opens_at


async def now(office: Office) -> datetime:
    (row,) = await office.sql("SELECT clock_timestamp() AS now")
    moment: datetime = row["now"].astimezone(UTC)
    return moment


async def shown(office: Office, call_id: CallId) -> CallRow:
    return (await office.calls.show(call_id)).call


async def stored(office: Office, call_id: CallId) -> asyncpg.Record:
    (row,) = await office.sql("SELECT * FROM calls WHERE id = $1", call_id)
    return row


async def problems(office: Office, call_id: CallId) -> list[dict[str, object]]:
    """What its timeline says of being held."""
    return [dict(event.detail) for event in (await office.calls.show(call_id)).events if event.kind == "held"]


async def test_a_call_outside_its_window_waits_for_the_next_opening_and_costs_nothing_meanwhile(office: Office):
    hours, opens_at = closed_until(await now(office))
    await office.change_account("acme", calling_hours=hours)
    (call_id,) = await office.ready(1, expires_at=opens_at + timedelta(days=2))
    call = await shown(office, call_id)
    assert (call.state, call.waiting_for, call.run_at) == (State.SCHEDULED, WaitingFor.CALLING_WINDOW, opens_at)
    row = await stored(office, call_id)
    assert (row["window_from"], row["window_until"]) == (opens_at, opens_at + timedelta(days=1))
    assert row["time_zone"] == "UTC"
    assert await office.queue.due_calls(1000) == []
    assert await office.queue.claim_calls(1) == []
    assert await office.held() == (0, 0)
    assert (await office.accounts.get("acme")).ready == 0
    assert (await office.drift()).total == 0
    assert await problems(office, call_id) == []


async def test_a_call_within_its_window_is_ready_and_dialled(office: Office):
    await office.change_account("acme", calling_hours=ANY_HOUR)
    call = await office.dialing()
    row = await stored(office, call.call_id)
    assert row["window_from"] <= row["dialed_at"] < row["window_until"]


async def test_a_call_whose_next_opening_is_after_its_end_expires_having_said_what_it_waited_for(office: Office):
    hours, _ = closed_until(await now(office))
    await office.change_account("acme", calling_hours=hours)
    (call_id,) = await office.ready()
    await office.sql("UPDATE calls SET expires_at = clock_timestamp() WHERE id = $1", call_id)
    await office.queue.expire_calls(10)
    call = await shown(office, call_id)
    assert call.outcome is not None
    assert (call.outcome.reason.value, call.waiting_for) == ("EXPIRED_IN_QUEUE", WaitingFor.CALLING_WINDOW)
    assert call.outcome.evidence["waited_for"] == "calling_window"


async def test_a_call_whose_window_closes_while_it_is_ready_goes_back_and_is_placed_anew(office: Office):
    await office.change_account("acme", calling_hours=ANY_HOUR)
    (call_id,) = await office.ready()
    await office.sql("UPDATE calls SET window_until = clock_timestamp() WHERE id = $1", call_id)
    assert await office.queue.close_windows(100) == 1
    assert await office.state(call_id) is State.SCHEDULED
    assert (await office.accounts.get("acme")).ready == 0
    assert await office.stage() == 1
    assert (await stored(office, call_id))["window_until"] > await now(office)
    assert (await office.drift()).total == 0


async def test_a_claimed_call_whose_window_has_closed_is_never_dialled(office: Office):
    await office.change_account("acme", calling_hours=ANY_HOUR)
    call = await office.claimed()
    await office.sql("UPDATE calls SET window_until = clock_timestamp() WHERE id = $1", call.call_id)
    refused = await office.begin(call)
    assert isinstance(refused, DialForbidden)
    assert refused.gate is Gate.CALLING_WINDOW
    assert (await office.calls.show(call.call_id)).dials == ()


async def test_a_ready_call_is_never_dialled_by_hours_that_have_changed(office: Office):
    await office.change_account("acme", calling_hours=ANY_HOUR)
    call = await office.claimed()
    hours, _ = closed_until(await now(office))
    await office.change_account("acme", calling_hours=hours)
    refused = await office.begin(call)
    assert isinstance(refused, DialForbidden)
    assert refused.gate is Gate.CALLING_WINDOW


async def test_hours_that_change_reach_every_call_that_they_hold(office: Office):
    hours, opens_at = closed_until(await now(office))
    await office.change_account("acme", calling_hours=hours)
    ids = await office.ready(5, expires_at=opens_at + timedelta(days=2))
    assert (await office.accounts.get("acme")).ready == 0
    await office.change_account("acme", calling_hours=ANY_HOUR)
    assert await office.stage() == 5
    for call_id in ids:
        call = await shown(office, call_id)
        assert (call.state, call.waiting_for) == (State.READY, WaitingFor.SLOT)


async def test_a_call_whose_zone_is_not_known_is_held_reported_once_and_never_dialled(office: Office):
    await office.change_account("acme", calling_hours=())
    (call_id,) = await office.ready(to=SATELLITE)
    call = await shown(office, call_id)
    assert (call.state, call.waiting_for, call.run_at) == (State.SCHEDULED, WaitingFor.TIME_ZONE, call.expires_at)
    assert await office.queue.claim_calls(1) == []
    await office.change_account("acme", closed_on_holidays=True)
    assert await office.stage() == 0
    assert (await shown(office, call_id)).waiting_for is WaitingFor.TIME_ZONE
    assert await problems(office, call_id) == [{"waiting_for": "time_zone"}]


async def test_a_call_whose_zone_is_not_known_is_dialled_once_its_account_says_so(office: Office):
    await office.change_account("acme", calling_hours=("00:00-24:00",))
    (call_id,) = await office.ready(to=SATELLITE)
    await office.change_account("acme", dial_unknown_zone=True)
    assert await office.stage() == 1
    (call,) = await office.queue.claim_calls(1)
    assert isinstance(await office.begin(call), DialGranted)
    assert call.call_id == call_id


async def test_hours_that_a_hand_wrote_wrongly_hold_their_calls_and_no_others(office: Office):
    await office.open_account("other", calling_hours=("00:00-24:00",))
    await office.sql("UPDATE accounts SET calling_hours = '{25:00-26:00}' WHERE name = 'acme'")
    (bad,) = await office.enqueue()
    (good,) = await office.enqueue(account="other")
    await office.stage()
    assert await office.state(good) is State.READY
    call = await shown(office, bad)
    assert (call.state, call.waiting_for, call.run_at) == (State.SCHEDULED, WaitingFor.CALLING_WINDOW, call.expires_at)
    (held,) = await problems(office, bad)
    assert held["problem"] == "calling hours '25:00-26:00': 25:00 is no time of day: write 00:00 to 24:00"
    await office.change_account("acme", calling_hours=("00:00-24:00",))
    assert await office.stage() == 1


async def test_hours_that_never_open_hold_their_calls_and_say_so(office: Office):
    await office.change_account("acme", calling_hours=("09:00-10:00",))
    (call_id,) = await office.ready(to="+61491570156")  # anywhere in Australia
    call = await shown(office, call_id)
    assert (call.state, call.waiting_for, call.run_at) == (State.SCHEDULED, WaitingFor.CALLING_WINDOW, call.expires_at)
    (held,) = await problems(office, call_id)
    assert held["problem"] == "the calling hours never open within 370 days"


async def test_a_calls_own_hours_go_over_its_accounts(office: Office):
    hours, opens_at = closed_until(await now(office))
    (kept,) = await office.ready(calling_hours=hours, expires_at=opens_at + timedelta(days=2))
    assert (await shown(office, kept)).run_at == opens_at
    await office.change_account("acme", calling_hours=hours)
    (free,) = await office.ready(calling_hours=("always",))
    assert await office.state(free) is State.READY
