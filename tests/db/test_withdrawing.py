"""Calls that end without being dialled: withdrawn, or because their time ran out."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.policy import TrunkChange
from orchestrator.store.records import EXPIRY_REASONS, CancelResult, WaitingFor
from sip.events import Dialled
from tests.db.office import BUSY, HUNG_UP, Office


async def let_expire(office: Office, *ids: int) -> None:
    await office.sql(
        "UPDATE calls SET run_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE id = ANY ($1)", list(ids)
    )


@pytest.mark.parametrize("ready", [False, True])
async def test_a_waiting_call_is_canceled_at_once(office: Office, ready: bool):
    (call_id,) = await (office.ready() if ready else office.enqueue())
    assert await office.calls.request_cancel(call_id) is CancelResult.CANCELED
    assert await office.calls.request_cancel(call_id) is CancelResult.ALREADY_ENDED
    row = (await office.calls.show(call_id)).call
    assert (row.state, row.end_reason, row.outcome.dialled) == (State.CANCELED, EndReason.CANCELED_BY_REQUEST, Dialled.NO)
    assert await office.queue.claim_calls(20) == []
    assert (await office.queue.occupancy()).ready == 0
    assert (await office.drift()).total == 0


@pytest.mark.parametrize("stage", ["claimed", "dialing", "ringing", "active"])
async def test_a_held_call_is_canceled_through_its_worker(office: Office, stage: str):
    call = await getattr(office, stage)()
    assert await office.queue.canceled_calls() == []
    for _ in range(2):
        assert await office.calls.request_cancel(call.call_id) is CancelResult.REQUESTED
    assert await office.queue.canceled_calls() == [(call.call_id, call.epoch)]
    assert await (await office.another_worker()).canceled_calls() == []
    view = await office.calls.show(call.call_id)
    assert view.call.state.value == stage
    assert [event.kind for event in view.events].count("cancel_requested") == 1


async def test_an_ended_call_is_no_longer_to_be_canceled(office: Office):
    call = await office.active()
    await office.calls.request_cancel(call.call_id)
    assert await office.finish(call, HUNG_UP)
    assert await office.queue.canceled_calls() == []
    assert await office.calls.request_cancel(call.call_id) is CancelResult.ALREADY_ENDED


async def test_an_unknown_call_cannot_be_canceled(office: Office):
    assert await office.calls.request_cancel(CallId(4711)) is CancelResult.NOT_FOUND


@pytest.mark.parametrize("stage", ["claimed", "dialing"])
async def test_a_call_that_goes_back_although_somebody_withdrew_it_is_canceled(office: Office, stage: str):
    call = await getattr(office, stage)()
    await office.calls.request_cancel(call.call_id)
    for _ in range(2):
        assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.AGENT, detail={"why": "no agent"})
    view = await office.calls.show(call.call_id)
    assert (view.call.state, view.call.end_reason) == (State.CANCELED, EndReason.CANCELED_BY_REQUEST)
    assert all(attempt.ended_at for attempt in view.attempts)
    assert all(dial.spent is False for dial in view.dials)
    assert await office.held() == (0, 0)
    assert (await office.drift()).total == 0


async def test_a_call_that_expires_ends_with_the_reason_of_what_it_waited_for(office: Office):
    ids = {}
    for waiting_for in WaitingFor:
        for delay_s in (0.0, 60.0):
            call = await office.claimed()
            assert await office.ends.requeue(call, delay_s=delay_s, waiting_for=waiting_for, detail={})
            ids[call.call_id] = waiting_for
            await office.sql("UPDATE calls SET priority = -1 WHERE id = $1", call.call_id)
            await office.stage(10)
    assert await office.queue.expire_calls(100) == []
    await let_expire(office, *ids)
    assert dict(await office.queue.expire_calls(100)) == {call_id: EXPIRY_REASONS[waiting] for call_id, waiting in ids.items()}
    assert await office.queue.expire_calls(100) == []
    for call_id in ids:
        view = await office.calls.show(call_id)
        assert (view.call.state, view.call.outcome.dialled) == (State.NOT_CONNECTED, Dialled.NO)
        assert view.call.outcome.evidence["deferrals"] == 1
        assert view.events[-1].state is State.NOT_CONNECTED
        assert view.events[-1].detail["end_reason"] == view.call.end_reason.value
    assert (await office.queue.occupancy()).ready == 0
    assert (await office.drift()).total == 0


async def test_an_expired_call_says_what_it_waited_for(office: Office):
    async def expire(call_id: int) -> object:
        await let_expire(office, call_id)
        assert await office.queue.expire_calls(100) == [(call_id, EndReason.EXPIRED_IN_QUEUE)]
        return (await office.calls.show(CallId(call_id))).call.outcome.evidence["waited_for"]

    (call_id,) = await office.enqueue()
    assert await expire(call_id) == "its_time"

    (call_id,) = await office.ready()
    await office.trunks.update("main", TrunkChange(enabled=False))
    assert await expire(call_id) == "trunk_channel_or_turn"
    await office.trunks.update("main", TrunkChange(enabled=True))

    (call_id,) = await office.ready()
    await office.change_account("acme", paused=True)
    assert await expire(call_id) == "paused_account"
    await office.change_account("acme", paused=False, max_concurrent=1)

    await office.ready(2)
    (claimed,) = await office.queue.claim_calls(20)
    (other,) = await office.sql("SELECT id FROM calls WHERE state = 'ready'")
    assert await expire(other["id"]) == "account_slot"
    assert await office.finish(claimed, BUSY)


async def test_an_expired_call_closes_the_attempt_whose_dials_rang_nowhere(office: Office):
    call = await office.dialing()
    assert await office.ends.requeue(call, delay_s=60, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={"sip_code": 503})
    await let_expire(office, call.call_id)
    assert await office.queue.expire_calls(10) == [(call.call_id, EndReason.SIP_FAILED_CAPACITY)]
    (attempt,) = (await office.calls.show(call.call_id)).attempts
    assert attempt.end_reason is EndReason.SIP_FAILED_CAPACITY


async def test_a_held_call_does_not_expire(office: Office):
    call = await office.ringing()
    await let_expire(office, call.call_id)
    assert await office.queue.expire_calls(10) == []
    assert await office.state(call.call_id) is State.RINGING


async def test_an_expired_call_is_not_staged(office: Office):
    (call_id,) = await office.enqueue()
    await let_expire(office, call_id)
    assert await office.stage(10) == 0


async def test_a_delay_beyond_the_expiry_ends_in_expiry_and_not_in_another_dial(office: Office):
    call = await office.claimed(expires_at=datetime.now(UTC) + timedelta(seconds=30))
    assert await office.ends.requeue(call, delay_s=600, waiting_for=WaitingFor.AGENT, detail={})
    row = (await office.calls.show(call.call_id)).call
    assert row.run_at > row.expires_at
    await office.sql(
        "UPDATE calls SET run_at = now() - interval '1 s', expires_at = now() - interval '2 s' WHERE id = $1", call.call_id
    )
    assert await office.stage(10) == 0
    assert await office.queue.expire_calls(10) == [(call.call_id, EndReason.AGENT_NEVER_JOINED)]


async def test_a_cancel_that_races_the_claim_has_one_winner(office: Office):
    ids = await office.ready(40)
    await office.change_account("acme", max_concurrent=100)
    claimed, results = await asyncio.gather(
        office.queue.claim_calls(20), asyncio.gather(*(office.calls.request_cancel(call_id) for call_id in ids))
    )
    held = {call.call_id for call in claimed}
    for call_id, result in zip(ids, results, strict=True):
        state = await office.state(call_id)
        if result is CancelResult.CANCELED:
            assert state is State.CANCELED
            assert call_id not in held
        else:
            assert result is CancelResult.REQUESTED
            assert call_id in held
    assert (await office.drift()).total == 0
