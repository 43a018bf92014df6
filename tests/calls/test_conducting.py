"""One call from its queued row to its one end, on real Postgres with simulated callees."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.policy import AccountChange
from orchestrator.store.records import CancelResult
from sip.errors import CarrierUnavailable
from sip.events import Dialled
from sip.simulated import callees
from sip.simulated.scripts import SCRIPTS, number_of
from sip.simulated.steps import Script
from tests.fixtures.orchestra import Orchestra


def states_of(view) -> list[str]:
    return [event.state.value for event in view.events if event.kind == "state"]


def with_agent(behaviour: str) -> str:
    return json.dumps({"simulated_agent": behaviour})


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda script: script.name)
async def test_every_test_number_ends_as_its_script_promises(orchestra: Orchestra, script: Script):
    expires = 4.0 if script.promise.only_on_expiry else None
    call = await orchestra.enqueue(to=number_of(script), max_duration_s=75.0, expires_in_real_s=expires)
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is not None
    assert ended.end_reason.value == script.promise.end_reason
    assert ended.outcome is not None
    if not script.promise.only_on_expiry:
        assert ended.outcome.sip_code == script.promise.sip_code
    await orchestra.nothing_is_held()


async def test_a_conversation_passes_through_every_state_once(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_8_S)
    view = await orchestra.wait_until_ended(call)
    assert states_of(view) == ["scheduled", "ready", "claimed", "dialing", "ringing", "active", "ended"]
    outcome = view.call.outcome
    assert outcome is not None
    assert outcome.reason is EndReason.USER_HUNG_UP_IN_CALL
    assert outcome.dialled is Dialled.YES
    assert outcome.answered_by is AnsweredBy.UNKNOWN
    assert 6_000 <= outcome.talk_ms <= 11_000
    assert [attempt.number for attempt in view.attempts] == [1]
    assert len(view.dials) == 1


async def test_a_call_rejected_after_ringing_ends_as_hung_up_ringing(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.DECLINES_AFTER_4_S)
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is EndReason.USER_HUNG_UP_RINGING
    assert ended.outcome.sip_code == 603
    assert 2_500 <= ended.outcome.ring_ms <= 7_000
    assert ended.outcome.answered_by is None


async def test_the_ring_timer_counts_from_the_first_18x_and_is_written_down_before_the_hang_up(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.RINGS_OUT, ring_timeout_s=20.0)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_DID_NOT_PICK_UP
    assert [event.detail for event in view.events if event.kind == "order"] != []
    assert view.call.outcome.evidence["order"] == "ring_timeout"
    assert 20_000 <= view.call.outcome.ring_ms <= 26_000


async def test_the_maximum_duration_ends_a_conversation_that_nobody_ends(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_ON, max_duration_s=30.0)
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is EndReason.MAX_DURATION_REACHED
    assert ended.state.value == "ended"
    await orchestra.nothing_is_held()


# -- cancel, at every stage ------------------------------------------------------------------------------------------------


async def test_a_call_canceled_before_it_is_due_never_reaches_the_carrier(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_8_S, run_at=datetime.now().astimezone() + timedelta(hours=1))
    assert await orchestra.calls.request_cancel(call) is CancelResult.CANCELED
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("canceled", EndReason.CANCELED_BY_REQUEST)
    assert orchestra.carrier.ledger == []


async def test_a_call_canceled_while_its_agent_is_awaited_is_not_dialled(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_8_S, agent_name="nobody")
    await orchestra.wait_until(call, "claimed")
    assert await orchestra.calls.request_cancel(call) in (CancelResult.REQUESTED, CancelResult.CANCELED)
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("canceled", EndReason.CANCELED_BY_REQUEST)
    assert ended.outcome.dialled is Dialled.NO
    assert orchestra.carrier.ledger == []
    await orchestra.nothing_is_held()


async def test_a_call_canceled_while_it_rings_stops_ringing(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.RINGS_OUT, ring_timeout_s=60.0)
    await orchestra.wait_until(call, "ringing")
    assert await orchestra.calls.request_cancel(call) is CancelResult.REQUESTED
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("canceled", EndReason.CANCELED_BY_REQUEST)
    assert ended.outcome.dialled is Dialled.YES
    await orchestra.nothing_is_held()


async def test_a_conversation_that_an_operator_cancels_ends_as_operator_hung_up(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_ON)
    await orchestra.wait_until(call, "active")
    await orchestra.calls.request_cancel(call)
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("ended", EndReason.OPERATOR_HUNG_UP)


# -- agents ----------------------------------------------------------------------------------------------------------------


async def test_without_an_agent_nobody_is_dialled_and_the_call_waits_unspent(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_8_S, agent_name="nobody")
    row = (await orchestra.wait_until_it(call, lambda view: view.call.deferrals >= 2)).call
    assert row.attempts == 0
    assert row.waiting_for.value == "agent"
    assert orchestra.carrier.ledger == []


async def test_a_call_whose_agent_never_came_until_it_expired_ends_as_agent_never_joined(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_8_S, agent_name="nobody", expires_in_real_s=4.0)
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("not_connected", EndReason.AGENT_NEVER_JOINED)
    assert orchestra.carrier.ledger == []
    await orchestra.nothing_is_held()


async def test_an_agent_that_gives_the_end_signal_hung_up_on_purpose(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE)
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("ended", EndReason.AGENT_HUNG_UP)


# -- the carrier's limits and faults ---------------------------------------------------------------------------------------


async def test_a_refusal_that_proves_that_nothing_rang_costs_no_attempt(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.SIP_SERVICE_OVERLOADED)
    row = (await orchestra.wait_until_it(call, lambda view: view.call.deferrals >= 2)).call
    assert row.waiting_for.value == "media_server"
    view = await orchestra.calls.show(call)
    assert [attempt.number for attempt in view.attempts] == [1]
    assert all(dial.spent is False for dial in view.dials if dial.ended_at is not None)
    assert all(dial.attempt == 1 for dial in view.dials)
    await orchestra.calls.request_cancel(call)


async def test_a_paused_account_is_not_dialled(orchestra: Orchestra):
    await orchestra.accounts.update("acme", AccountChange(paused=True))
    call = await orchestra.enqueue(to=callees.TALKS_8_S)
    await orchestra.wait_until(call, "ready")
    await orchestra.accounts.update("acme", AccountChange(paused=False))
    await orchestra.wait_until_ended(call)


async def test_a_media_server_that_cannot_open_rooms_sends_the_call_back(orchestra: Orchestra, monkeypatch):
    async def refuse(plan):
        raise CarrierUnavailable("the media server is away")

    monkeypatch.setattr(orchestra.carrier, "open_room", refuse)
    call = await orchestra.enqueue(to=callees.TALKS_8_S, expires_in_real_s=4.0)
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is EndReason.MEDIA_SERVER_UNAVAILABLE
    assert ended.outcome.dialled is Dialled.NO


async def test_a_defect_in_one_call_ends_it_as_internal_error_and_frees_everything(orchestra: Orchestra, monkeypatch):
    async def broken(room, plan):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(orchestra.carrier, "dial", broken)
    call = await orchestra.enqueue(to=callees.TALKS_8_S)
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("not_connected", EndReason.INTERNAL_ERROR)
    assert ended.outcome.error_code == "ZeroDivisionError"
    await orchestra.nothing_is_held()


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("+12120000000", EndReason.INVALID_NUMBER),
        ("+19005550123", EndReason.BLOCKED_DO_NOT_CALL),
        ("+881612345678", EndReason.BLOCKED_DO_NOT_CALL),
        ("+4930901820", EndReason.BLOCKED_DO_NOT_CALL),
    ],
)
async def test_what_the_sql_door_let_in_is_checked_before_the_dial(orchestra: Orchestra, to: str, reason: EndReason):
    call = await orchestra.enqueue(to=to)
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("not_connected", reason)
    assert ended.outcome.error_message
    assert orchestra.carrier.ledger == []


# -- stopping --------------------------------------------------------------------------------------------------------------


async def test_closing_the_switchboard_gives_undialled_calls_back_and_lets_conversations_finish(orchestra: Orchestra):
    waiting = await orchestra.enqueue(to=callees.TALKS_8_S, agent_name="nobody")
    await orchestra.wait_until(waiting, "claimed")
    with orchestra.noticing("ringing") as rings:
        talking = await orchestra.enqueue(to=callees.TALKS_8_S)
        await orchestra.until_noticed(rings)
    orchestra.switchboard.close()
    await orchestra.switchboard.wait_until_empty()
    assert (await orchestra.row(talking)).end_reason is EndReason.USER_HUNG_UP_IN_CALL
    given_back = await orchestra.row(waiting)
    assert given_back.state.value in ("ready", "scheduled")
    assert given_back.attempts == 0
    await orchestra.calls.request_cancel(waiting)


async def test_a_forced_shutdown_hangs_up_and_says_so(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.TALKS_ON)
    await orchestra.wait_until(call, "active")
    orchestra.switchboard.close()
    orchestra.switchboard.hang_up_all()
    ended = (await orchestra.wait_until_ended(call)).call
    assert (ended.state.value, ended.end_reason) == ("ended", EndReason.WORKER_SHUT_DOWN)


async def test_a_call_whose_step_is_cut_off_from_below_ends_as_internal_error(orchestra: Orchestra, monkeypatch):
    async def cut_off(room, plan):
        raise asyncio.CancelledError

    monkeypatch.setattr(orchestra.carrier, "dial", cut_off)
    call = await orchestra.enqueue(to=callees.TALKS_8_S)
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is EndReason.INTERNAL_ERROR
    await orchestra.nothing_is_held()
