"""Calls that somebody makes to us: counted by themselves, in nobody's way, and ended like all others."""

from __future__ import annotations

import asyncio
import dataclasses

import asyncpg
import pytest

from orchestrator.errors import BadInput, NotFound
from orchestrator.ids import E164
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.inbound import InboundStore, NewInbound
from orchestrator.store.records import Aftermath, CancelResult, Outcome, TrunkVerdict
from sip.events import Dialled
from tests.db.office import TO, Office

RINGS = NewInbound(
    account="acme",
    key="call-1@provider",
    state=State.RINGING,
    to=E164("+12125550199"),
    caller=E164(TO),
    agent_name="agent",
    ids={"sip_call_id": "call-1@provider"},
    detail={"room": "inbound-1"},
)
HUNG_UP = Outcome(state=State.ENDED, reason=EndReason.USER_HUNG_UP_IN_CALL, dialled=Dialled.NO, talk_ms=9000)
MISSED = Outcome(state=State.NOT_CONNECTED, reason=EndReason.AGENT_NEVER_JOINED, dialled=Dialled.NO)


@pytest.fixture
async def inbound(office: Office) -> InboundStore:
    return await store_of_a_worker(office)


async def store_of_a_worker(office: Office) -> InboundStore:
    worker_id = await office.workers.register(name="switchboard", version="1", capacity=100)
    return InboundStore(database=office.database, worker_id=worker_id)


async def counted(office: Office) -> tuple[int, int]:
    """The account's inbound calls, and its slots in use."""
    account = await office.accounts.get("acme")
    assert (await office.drift()).total == 0
    return account.inbound, account.inflight


async def test_an_inbound_call_is_counted_from_its_ring_to_its_end(office: Office, inbound: InboundStore):
    call = await inbound.begin(RINGS)
    assert call.ours
    assert await counted(office) == (1, 0)
    assert await office.held() == (0, 0)
    assert await office.queue.record_answer(call, ring_ms=3000, ring_error_ms=0, ids={}, detail={})
    assert await counted(office) == (1, 0)
    # What is said about trunks and redial has no meaning for it.
    aftermath = Aftermath(trunk_verdict=TrunkVerdict.ANSWERED, redial_delay_s=5.0, suppress_number_s=60.0)
    for _ in range(2):
        finished = await office.ends.finish(call, HUNG_UP, aftermath)
        assert (finished.ours, finished.state) == (True, State.ENDED)
    assert await counted(office) == (0, 0)
    view = await office.calls.show(call.call_id)
    assert [event.state.value for event in view.events if event.state is not None] == ["ringing", "active", "ended"]
    assert view.events[0].detail == {"direction": "inbound", "room": "inbound-1"}
    assert (view.call.to, view.call.caller_id, view.attempts, view.dials) == (RINGS.to, RINGS.caller, (), ())


async def test_an_inbound_call_that_was_answered_elsewhere_begins_active(office: Office, inbound: InboundStore):
    call = await inbound.begin(dataclasses.replace(RINGS, state=State.ACTIVE, caller=None))
    assert await office.state(call.call_id) is State.ACTIVE
    assert (await office.ends.finish(call, HUNG_UP)).ours
    assert await counted(office) == (0, 0)


async def test_a_call_that_nobody_takes_ends_unconnected(office: Office, inbound: InboundStore):
    call = await inbound.begin(RINGS)
    assert (await office.ends.finish(call, MISSED)).state is State.NOT_CONNECTED
    assert await counted(office) == (0, 0)


async def test_the_same_call_is_begun_once(office: Office, inbound: InboundStore):
    calls = await asyncio.gather(*(inbound.begin(RINGS) for _ in range(5)))
    assert len({call.call_id for call in calls}) == 1
    assert all(call.ours for call in calls)
    assert not (await (await store_of_a_worker(office)).begin(RINGS)).ours, "another worker was asked, too"
    assert await counted(office) == (1, 0)
    assert (await office.ends.finish(calls[0], MISSED)).ours
    assert not (await inbound.begin(RINGS)).ours, "it is over"
    assert await counted(office) == (0, 0)


async def test_inbound_calls_take_no_slot_and_are_not_limited(office: Office, inbound: InboundStore):
    await office.change_account("acme", max_concurrent=1)
    await office.dialing(to="+12125550101")
    calls = [await inbound.begin(dataclasses.replace(RINGS, key=f"call-{n}")) for n in range(3)]
    assert await counted(office) == (3, 1)
    await office.change_account("acme", max_concurrent=2)
    await office.dialing(to="+12125550102")
    assert await counted(office) == (3, 2)
    for call in calls:
        assert (await office.ends.finish(call, MISSED)).ours
    assert await counted(office) == (0, 2)


async def test_a_caller_may_be_called_while_they_call(office: Office, inbound: InboundStore):
    """Never two of our calls to a number at once; that they call one of ours is another matter."""
    await inbound.begin(dataclasses.replace(RINGS, to=E164(TO)))
    assert await office.dialing(to=TO)


async def test_an_inbound_call_can_be_ended_by_an_operator(office: Office, inbound: InboundStore):
    call = await inbound.begin(RINGS)
    assert await office.calls.request_cancel(call.call_id) is CancelResult.REQUESTED


async def test_what_cannot_be_an_inbound_call_is_refused(office: Office, inbound: InboundStore):
    with pytest.raises(NotFound, match="no account 'nobody'"):
        await inbound.begin(dataclasses.replace(RINGS, account="nobody"))
    with pytest.raises(BadInput):
        await inbound.begin(dataclasses.replace(RINGS, to=E164("anonymous")))
    with pytest.raises(ValueError, match="ringing or active"):
        await inbound.begin(dataclasses.replace(RINGS, state=State.READY))
    assert await counted(office) == (0, 0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("state = 'scheduled', ringing_at = NULL, worker_id = NULL", "calls_inbound_hold_nothing"),
        ("trunk_id = 1", "calls_inbound_hold_nothing"),
        ("dialed_at = now()", "calls_inbound_hold_nothing"),
        ("attempt = 1", "calls_inbound_hold_nothing"),
        ("worker_id = NULL", "calls_live_hold_everything"),
        ("direction = 'outbound', trunk_group_id = 1, attempt = 1, dialed_at = now()", "calls_live_hold_everything"),
        ("direction = 'outbound', trunk_group_id = 1", "calls_dialing_have_an_attempt"),
    ],
)
async def test_an_inbound_call_in_an_impossible_state_is_refused(office: Office, inbound: InboundStore, change: str, rule: str):
    await inbound.begin(RINGS)
    await office.sql("ALTER TABLE calls DISABLE TRIGGER calls_transition")
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await office.sql(f"UPDATE calls SET {change} WHERE direction = 'inbound'")  # noqa: S608
    assert refusal.value.constraint_name == rule


async def test_a_call_of_ours_needs_a_trunk_group(office: Office):
    await office.enqueue()
    with pytest.raises(asyncpg.CheckViolationError) as refusal:
        await office.sql("UPDATE calls SET trunk_group_id = NULL")
    assert refusal.value.constraint_name == "calls_outbound_have_a_trunk_group"
