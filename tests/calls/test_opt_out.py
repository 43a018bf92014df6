"""A callee who does not want to be called again: the agent says so, and nobody calls the number any more."""

from __future__ import annotations

import asyncio
import json

import pytest

from orchestrator.errors import DatabaseUnavailable, DestinationForbidden
from orchestrator.outcomes import EndReason
from orchestrator.store.donotcall import DoNotCallStore
from orchestrator.store.policy import AccountChange
from orchestrator.store.records import DialForbidden, Gate
from sip.events import Dialled
from sip.leg import RoomName
from sip.simulated import callees
from sip.simulated.agents import SimulatedAgent
from tests.fixtures.orchestra import Orchestra

OPTS_OUT = json.dumps({"simulated_agent": "opts_out"})


async def test_an_opt_out_lists_the_number_at_once_and_the_call_goes_on(orchestra: Orchestra, database):
    call = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE, metadata=OPTS_OUT)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.AGENT_HUNG_UP, "as without the opt-out"
    kinds = [event.kind if event.state is None else event.state.value for event in view.events]
    assert kinds.index("active") < kinds.index("do_not_call") < kinds.index("ended")
    (listing,) = await DoNotCallStore(database=database).find(callees.AGENT_SAYS_GOODBYE)
    assert (listing.account, listing.source) == ("acme", f"agent, call {call}")
    with pytest.raises(DestinationForbidden):
        await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE)


async def test_a_call_that_waits_when_its_number_opts_out_is_never_dialled(orchestra: Orchestra):
    await orchestra.accounts.update("acme", AccountChange(max_concurrent=1))
    first = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE, metadata=OPTS_OUT)
    second = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE)
    await orchestra.wait_until_ended(first)
    ended = await orchestra.wait_until_ended(second)
    assert ended.call.end_reason is EndReason.BLOCKED_DO_NOT_CALL
    assert ended.dials == ()
    assert len(orchestra.carrier.ledger) == 1
    await orchestra.nothing_is_held()


async def test_an_opt_out_is_not_lost_while_the_database_is_away(orchestra: Orchestra, database, monkeypatch):
    record = orchestra.stores.queue.record_opt_out
    tries = 0

    async def away(*arguments, **named):
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise DatabaseUnavailable("the database is away")
        return await record(*arguments, **named)

    monkeypatch.setattr(orchestra.stores.queue, "record_opt_out", away)
    call = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE, metadata=OPTS_OUT)
    await orchestra.wait_until_ended(call)
    (listing,) = await DoNotCallStore(database=database).find(callees.AGENT_SAYS_GOODBYE)
    assert listing.in_force


async def test_an_opt_out_is_written_before_what_a_lost_claim_leaves_unwritten(orchestra: Orchestra, database, monkeypatch):
    """The answer could not be written, and when the database is back another worker has the call: the callee's wish stands."""
    queue = orchestra.stores.queue
    record = queue.record_opt_out
    opted_out = False

    async def taken_over(*arguments, **named):
        if not opted_out:
            raise DatabaseUnavailable("the database is away")
        return False

    async def away_once(*arguments, **named):
        nonlocal opted_out
        if not opted_out:
            opted_out = True
            raise DatabaseUnavailable("the database is away")
        return await record(*arguments, **named)

    monkeypatch.setattr(queue, "record_answer", taken_over)
    monkeypatch.setattr(queue, "record_opt_out", away_once)
    call = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE, metadata=OPTS_OUT)
    await orchestra.wait_until_it(call, lambda view: any(event.kind == "do_not_call" for event in view.events))
    assert len(await DoNotCallStore(database=database).find(callees.AGENT_SAYS_GOODBYE)) == 1


@pytest.mark.parametrize("step", ["before the gate", "after the intent"])
async def test_an_opt_out_before_the_dial_lists_the_number_and_nobody_is_dialled(
    orchestra: Orchestra, database, monkeypatch, step: str
):
    begin_dial = orchestra.stores.gate.begin_dial

    async def opts_out(call, *, room, **named):
        if step == "before the gate":
            agent_of(orchestra, room).report_opt_out(orchestra.clock.now_s())
            await asyncio.sleep(0)
            return DialForbidden(gate=Gate.TRUNK_PACE, retry_in_s=60.0)  # the agent has all the time it needs
        granted = await begin_dial(call, room=room, **named)
        agent_of(orchestra, room).report_opt_out(orchestra.clock.now_s())
        return granted

    monkeypatch.setattr(orchestra.stores.gate, "begin_dial", opts_out)
    call = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE)
    view = await orchestra.wait_until_ended(call)
    assert view.call.outcome is not None
    assert (view.call.end_reason, view.call.outcome.dialled) == (EndReason.BLOCKED_DO_NOT_CALL, Dialled.NO)
    assert [event.kind for event in view.events].count("do_not_call") == 1
    assert orchestra.carrier.ledger == []
    (listing,) = await DoNotCallStore(database=database).find(callees.AGENT_SAYS_GOODBYE)
    assert (listing.account, listing.source) == ("acme", f"agent, call {call}")
    with pytest.raises(DestinationForbidden):
        await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE)
    await orchestra.nothing_is_held()


async def test_an_opt_out_before_the_dial_is_not_lost_while_the_database_is_away(orchestra: Orchestra, database, monkeypatch):
    """Its call does not end before the list is written, and is not dialled meanwhile."""
    begin_dial, record = orchestra.stores.gate.begin_dial, orchestra.stores.queue.record_opt_out
    tries = 0

    async def opts_out(call, *, room, **named):
        agent_of(orchestra, room).report_opt_out(orchestra.clock.now_s())
        return await begin_dial(call, room=room, **named)

    async def away(*arguments, **named):
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise DatabaseUnavailable("the database is away")
        return await record(*arguments, **named)

    monkeypatch.setattr(orchestra.stores.gate, "begin_dial", opts_out)
    monkeypatch.setattr(orchestra.stores.queue, "record_opt_out", away)
    call = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.BLOCKED_DO_NOT_CALL
    assert orchestra.carrier.ledger == []
    (listing,) = await DoNotCallStore(database=database).find(callees.AGENT_SAYS_GOODBYE)
    assert listing.in_force


def agent_of(orchestra: Orchestra, room: str) -> SimulatedAgent:
    return orchestra.carrier.room(RoomName(room)).agent
