"""Calling hours from the queue to the phone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.hours import DAY_NAMES
from orchestrator.outcomes import EndReason
from orchestrator.store.policy import AccountChange
from sip.simulated import scripts
from tests.fixtures.orchestra import Orchestra

TO = scripts.number_of(scripts.HANGS_UP_AT_ONCE, area_code=212)


async def test_a_call_is_dialled_only_once_its_callees_hours_are_open(orchestra: Orchestra):
    in_three_days = DAY_NAMES[(datetime.now(UTC) + timedelta(days=3)).weekday()]
    await orchestra.accounts.update("acme", AccountChange(calling_hours=("zone UTC", f"{in_three_days} 00:00-24:00")))
    call_id = await orchestra.enqueue(to=TO)
    view = await orchestra.wait_until_it(call_id, lambda view: view.call.waiting_for.value == "calling_window")
    assert (view.call.state.value, view.dials) == ("scheduled", ())
    await orchestra.accounts.update("acme", AccountChange(calling_hours=("00:00-24:00",)))
    orchestra.stager.looper.wake()
    ended = await orchestra.wait_until_ended(call_id)
    assert ended.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert len(ended.dials) == 1
    await orchestra.nothing_is_held()


async def test_a_call_that_waits_ready_while_its_hours_close_is_never_dialled(orchestra: Orchestra):
    in_three_days = DAY_NAMES[(datetime.now(UTC) + timedelta(days=3)).weekday()]
    await orchestra.accounts.update("acme", AccountChange(paused=True, calling_hours=("00:00-24:00",)))
    call_id = await orchestra.enqueue(to=TO)
    await orchestra.wait_until(call_id, "ready")
    await orchestra.accounts.update("acme", AccountChange(calling_hours=("zone UTC", f"{in_three_days} 00:00-24:00")))
    await orchestra.accounts.update("acme", AccountChange(paused=False))
    view = await orchestra.wait_until_it(
        call_id,
        lambda view: view.call.state.value == "scheduled" and view.call.run_at > view.call.created_at + timedelta(days=1),
    )
    assert view.call.waiting_for.value == "calling_window"
    assert view.dials == ()
    await orchestra.nothing_is_held()
