"""The system's switches: nothing new is claimed or dialled while one is set, and live calls go on."""

from __future__ import annotations

import pytest

from orchestrator.lifecycle import State
from orchestrator.store.records import DialForbidden, DialGranted, Gate
from orchestrator.store.switches import SwitchStore
from tests.db.office import HUNG_UP, Office


async def set_switch(office: Office, gate: Gate) -> SwitchStore:
    switches = SwitchStore(database=office.database)
    match gate:
        case Gate.STOPPED:
            await switches.stop("a wrong list was imported")
        case _:
            await switches.hold("another timeline")
    return switches


@pytest.mark.parametrize("gate", [Gate.STOPPED, Gate.HELD], ids=lambda gate: gate.value)
async def test_nothing_is_claimed_or_dialled_and_live_calls_go_on(office: Office, gate: Gate):
    live = await office.active(to="+12125550101")
    claimed = await office.claimed(to="+12125550102")
    (waiting,) = await office.ready(1, to="+12125550103")
    await set_switch(office, gate)
    assert await office.queue.claim_calls(10) == []
    refused = await office.begin(claimed)
    assert isinstance(refused, DialForbidden)
    assert refused.gate is gate
    assert await office.state(claimed.call_id) is State.CLAIMED
    assert await office.finish(live, HUNG_UP)
    assert await office.state(waiting) is State.READY


async def test_all_goes_on_when_the_kill_switch_is_taken_back(office: Office):
    claimed = await office.claimed(to="+12125550102")
    await office.ready(1, to="+12125550103")
    switches = await set_switch(office, Gate.STOPPED)
    assert await switches.resume()
    assert not await switches.resume()
    assert isinstance(await office.begin(claimed), DialGranted)
    assert len(await office.queue.claim_calls(10)) == 1


async def test_a_second_stop_changes_the_reason_and_not_the_time(office: Office):
    switches = SwitchStore(database=office.database)
    first = await switches.stop("one")
    second = await switches.stop("two")
    assert (second.stopped_at, second.stopped_why) == (first.stopped_at, "two")
    assert await switches.get() == second


async def test_a_hold_stays_as_it_was_first(office: Office):
    switches = await set_switch(office, Gate.HELD)
    before = await switches.get()
    assert not await switches.hold("something else")
    await switches.stop("one")
    await switches.resume()
    assert await switches.get() == before
