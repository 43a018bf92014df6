"""What a worker writes about a call: guarded, once, with its event, and recognised when its answer was lost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Awaitable

import asyncpg
import pytest

from orchestrator.errors import BadInput, ForbiddenTransition
from orchestrator.lifecycle import TRANSITIONS, State
from orchestrator.outcomes import EndReason
from orchestrator.store.policy import NewTrunk, TrunkChange
from orchestrator.store.pool import Row, Session
from orchestrator.store.records import CancelResult, DialForbidden, DialGranted, Finished, Gate, Outcome, WaitingFor
from sip.events import Dialled
from tests.db.office import BUSY, HUNG_UP, NEVER_DIALLED, Office


async def test_a_conversation_leaves_one_event_for_each_state(office: Office):
    call = await office.active()
    assert (await office.ends.finish(call, HUNG_UP)).ours
    assert await office.states(call.call_id) == ["scheduled", "ready", "claimed", "dialing", "ringing", "active", "ended"]
    view = await office.calls.show(call.call_id)
    assert view.call.outcome == dataclasses.replace(HUNG_UP, pdd_ms=800, ring_error_ms=250)
    assert [(a.number, a.end_reason) for a in view.attempts] == [(1, EndReason.USER_HUNG_UP_IN_CALL)]
    assert [(d.attempt, d.number, d.spent, d.dialled) for d in view.dials] == [(1, 1, True, Dialled.YES)]
    assert await office.held() == (0, 0)
    assert (await office.drift()).total == 0


async def test_a_call_is_shown_as_of_one_moment_though_it_ends_meanwhile(office: Office, monkeypatch: pytest.MonkeyPatch):
    call = await office.active()
    fetch = Session.fetch

    async def ended_meanwhile(session: Session, statement: str, *arguments: object) -> list[Row]:
        if statement == "list_attempts":
            await office.ends.finish(call, HUNG_UP)
        return await fetch(session, statement, *arguments)

    monkeypatch.setattr(Session, "fetch", ended_meanwhile)
    view = await office.calls.show(call.call_id)
    monkeypatch.undo()
    assert view.call.state is State.ACTIVE
    assert [event.state.value for event in view.events if event.state is not None][-1] == "active"
    assert [attempt.ended_at for attempt in view.attempts] == [None]
    assert await office.states(call.call_id) == ["scheduled", "ready", "claimed", "dialing", "ringing", "active", "ended"]


@pytest.mark.parametrize("stage", ["claimed", "dialing", "ringing"])
async def test_a_call_that_never_connected_frees_slot_and_channel_from_every_state(office: Office, stage: str):
    call = await getattr(office, stage)()
    assert await office.held() == (1, 1)
    assert (await office.ends.finish(call, BUSY)).ours
    assert await office.held() == (0, 0)
    assert (await office.drift()).total == 0
    view = await office.calls.show(call.call_id)
    assert view.call.outcome.sip_code == 486
    assert all(attempt.ended_at is not None for attempt in view.attempts)
    assert all(dial.ended_at is not None for dial in view.dials)


async def test_an_answer_without_ringing_is_recorded(office: Office):
    call = await office.dialing()
    assert await office.queue.record_answer(
        call,
        ring_ms=None,
        ring_error_ms=None,
        ids={"sip_call_id": "a@b", "participant_sid": "PA_1"},
        detail={"source": "request"},
    )
    assert (await office.ends.finish(call, HUNG_UP)).ours
    outcome = (await office.calls.show(call.call_id)).call.outcome
    assert (outcome.sip_call_id, outcome.participant_sid) == ("a@b", "PA_1")


async def is_ours(finishing: Awaitable[Finished]) -> bool:
    return (await finishing).ours


# -- epoch guards -----------------------------------------------------------------------------------------------------------


OPERATIONS = {
    "begin_dial": lambda o, c: o.gate.begin_dial(c, room="room", caller_ids=()),
    "record_ringing": lambda o, c: o.queue.record_ringing(c, pdd_ms=1, detail={}),
    "record_answer": lambda o, c: o.queue.record_answer(c, ring_ms=1, ring_error_ms=1, ids={}, detail={}),
    "record_order": lambda o, c: o.queue.record_order(c, "ring_timeout", {}),
    "withdraw_order": lambda o, c: o.queue.withdraw_order(c, "ring_timeout", {}),
    "record_note": lambda o, c: o.queue.record_note(c, "note", {}),
    "finish": lambda o, c: is_ours(o.ends.finish(c, BUSY)),
    "requeue": lambda o, c: o.ends.requeue(c, delay_s=1, waiting_for=WaitingFor.AGENT, detail={}),
}


@pytest.mark.parametrize("stage", ["claimed", "dialing", "ringing", "active"])
async def test_a_wrong_epoch_changes_nothing(office: Office, stage: str):
    call = await getattr(office, stage)()
    before = await office.calls.show(call.call_id)
    for name, operation in OPERATIONS.items():
        for epoch in (call.epoch - 1, call.epoch + 1):
            assert not await operation(office, dataclasses.replace(call, epoch=epoch)), name
    assert await office.calls.show(call.call_id) == before
    assert await office.held() == (1, 1)


async def test_the_holder_of_an_older_claim_changes_nothing(office: Office):
    old = await office.claimed()
    assert await office.ends.requeue(old, delay_s=0, waiting_for=WaitingFor.AGENT, detail={})
    (new,) = await (await office.another_worker()).claim_calls(1)
    assert (new.call_id, new.epoch) == (old.call_id, old.epoch + 1)
    before = await office.calls.show(new.call_id)
    for name, operation in OPERATIONS.items():
        assert not await operation(office, old), name
    # What it put back itself is recognised as its own; nothing changes all the same.
    assert await office.ends.requeue(old, delay_s=0, waiting_for=WaitingFor.AGENT, detail={})
    assert await office.calls.show(new.call_id) == before
    assert (await office.drift()).total == 0


async def test_nothing_changes_after_the_end(office: Office):
    call = await office.active()
    assert (await office.ends.finish(call, HUNG_UP)).ours
    before = await office.calls.show(call.call_id)
    for name, operation in OPERATIONS.items():
        assert not await operation(office, call), name
    assert await office.calls.show(call.call_id) == before


# -- answers that were lost --------------------------------------------------------------------------------------------------


async def test_a_repeated_ringing_is_recognised_and_written_once(office: Office):
    call = await office.ringing()
    assert await office.queue.record_ringing(call, pdd_ms=999, detail={})
    assert (await office.states(call.call_id)).count("ringing") == 1


async def test_a_repeated_answer_is_recognised_and_written_once(office: Office):
    call = await office.active()
    assert await office.queue.record_answer(call, ring_ms=9, ring_error_ms=9, ids={}, detail={})
    assert (await office.states(call.call_id)).count("active") == 1


async def test_a_repeated_order_is_recognised_and_written_once(office: Office):
    call = await office.ringing()
    for _ in range(2):
        assert await office.queue.record_order(call, "ring_timeout", {"ring_s": 30.0})
    events = (await office.calls.show(call.call_id)).events
    assert [(e.kind, dict(e.detail)) for e in events if e.kind == "order"] == [
        ("order", {"order": "ring_timeout", "ring_s": 30.0})
    ]


async def test_a_repeated_withdrawal_is_recognised_and_written_once_and_leaves_other_orders_alone(office: Office):
    call = await office.ringing()
    assert await office.queue.record_order(call, "ring_timeout", {})
    for order in ("cancel", "ring_timeout", "ring_timeout"):
        assert await office.queue.withdraw_order(call, order, {})
    events = (await office.calls.show(call.call_id)).events
    assert [dict(e.detail) for e in events if e.kind == "order_withdrawn"] == [{"order": "ring_timeout"}]
    assert await office.queue.record_order(call, "ring_timeout", {})
    events = (await office.calls.show(call.call_id)).events
    assert [e.kind for e in events].count("order") == 2


async def test_a_repeated_finish_is_recognised_and_frees_once(office: Office):
    other = await office.active(to="+12125550101")
    call = await office.active()
    for _ in range(3):
        assert (await office.ends.finish(call, HUNG_UP)).ours
    assert await office.held() == (1, 1)
    assert (await office.states(call.call_id)).count("ended") == 1
    assert not (await office.ends.finish(call, dataclasses.replace(HUNG_UP, reason=EndReason.AGENT_HUNG_UP))).ours
    assert (await office.calls.show(call.call_id)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert (await office.ends.finish(other, HUNG_UP)).ours


async def test_a_call_that_was_withdrawn_after_it_went_back_is_not_taken_for_our_end(office: Office):
    call = await office.claimed()
    assert await office.ends.requeue(call, delay_s=60, waiting_for=WaitingFor.AGENT, detail={})
    assert await office.calls.request_cancel(call.call_id) is CancelResult.CANCELED
    ours = Outcome(state=State.CANCELED, reason=EndReason.CANCELED_BY_REQUEST, dialled=Dialled.NO)
    assert not (await office.ends.finish(call, ours)).ours


@pytest.mark.parametrize("delay_s", [0.0, 60.0])
async def test_a_repeated_requeue_is_recognised_and_frees_once(office: Office, delay_s: float):
    other = await office.active()
    call = await office.claimed()
    for _ in range(3):
        assert await office.ends.requeue(call, delay_s=delay_s, waiting_for=WaitingFor.AGENT, detail={})
    assert await office.held() == (1, 1)
    assert (await office.drift()).total == 0
    assert (await office.calls.show(call.call_id)).call.deferrals == 1
    assert (await office.ends.finish(other, HUNG_UP)).ours


async def test_an_intent_whose_answer_was_lost_can_be_taken_back(office: Office):
    """Nothing was sent on it, so the call goes back unspent; and the intent cannot be had twice."""
    call = await office.claimed()
    assert isinstance(await office.begin(call), DialGranted)
    assert await office.begin(call) is None
    assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.SLOT, detail={"why": "the answer was lost"})
    assert [dial.spent for dial in (await office.calls.show(call.call_id)).dials] == [False]
    assert await office.held() == (0, 0)


async def test_an_intent_that_is_still_under_way_is_waited_for_when_the_call_goes_back(office: Office, database_url: str):
    call = await office.claimed()
    first = await asyncpg.connect(database_url)
    transaction = first.transaction()
    await transaction.start()
    await first.fetch("SELECT * FROM begin_dial($1, $2, 'room', '{}', 'fixed')", call.call_id, call.epoch)
    back = asyncio.create_task(office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.SLOT, detail={}))
    await until_waiting_for_a_lock(office)
    await transaction.commit()
    assert await back
    view = await office.calls.show(call.call_id)
    assert view.call.state is State.SCHEDULED
    assert [dial.spent for dial in view.dials] == [False]
    await first.close()


@pytest.mark.parametrize(
    ("statement", "repeat"),
    [
        ("UPDATE calls SET state = 'ringing', ringing_at = now() WHERE id = $1", "record_ringing"),
        ("UPDATE calls SET state = 'active', answered_at = now() WHERE id = $1", "record_answer"),
    ],
)
async def test_a_repeat_that_waits_for_its_own_earlier_commit_is_recognised(
    office: Office, database_url: str, statement: str, repeat: str
):

    call = await office.dialing()
    first = await asyncpg.connect(database_url)
    transaction = first.transaction()
    await transaction.start()
    await first.execute(statement, call.call_id)
    second = asyncio.create_task(OPERATIONS[repeat](office, call))
    await until_waiting_for_a_lock(office)
    await transaction.commit()
    assert await second
    assert (await office.states(call.call_id))[-1] == "dialing", "the repeat itself has written nothing"
    await first.close()


@pytest.mark.parametrize("operation", ["finish", "requeue"])
async def test_the_account_is_locked_before_the_call(office: Office, database_url: str, operation: str):
    """The one lock order. A cancel locks account and call; whoever took the call first would deadlock with it."""
    call = await office.claimed()
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM account_slots FOR NO KEY UPDATE")
    waiting = asyncio.create_task(OPERATIONS[operation](office, call))
    await until_waiting_for_a_lock(office)
    await other.execute("SELECT FROM calls WHERE id = $1 FOR NO KEY UPDATE NOWAIT", call.call_id)
    await transaction.commit()
    assert await waiting
    await other.close()


async def until_waiting_for_a_lock(office: Office) -> None:

    while not await office.sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"):
        await asyncio.sleep(0)


# -- the last gate -----------------------------------------------------------------------------------------------------------


async def test_the_last_gate_refuses_what_changed_since_the_claim(office: Office):
    canceled, expired, paused, disabled = [await office.claimed(to=f"+1212555010{n}") for n in range(4)]
    assert await office.calls.request_cancel(canceled.call_id) is CancelResult.REQUESTED
    assert await office.begin(canceled) == DialForbidden(gate=Gate.CANCELED)

    await office.sql(
        "UPDATE calls SET run_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE id = $1", expired.call_id
    )
    assert await office.begin(expired) == DialForbidden(gate=Gate.EXPIRED)

    await office.change_account("acme", paused=True)
    assert await office.begin(paused) == DialForbidden(gate=Gate.ACCOUNT_PAUSED)
    await office.change_account("acme", paused=False)

    await office.trunks.update("main", TrunkChange(enabled=False))
    assert await office.begin(disabled) == DialForbidden(gate=Gate.TRUNK_DISABLED)

    for call in (canceled, expired, paused, disabled):
        view = await office.calls.show(call.call_id)
        assert view.call.state is State.CLAIMED
        assert (view.attempts, view.dials) == ((), ())


async def test_dials_that_rang_nowhere_belong_to_one_attempt(office: Office):
    call = await office.dialing()
    assert await office.ends.requeue(call, delay_s=0, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={"sip_code": 503})
    assert await office.state(call.call_id) is State.SCHEDULED, "a call that dialled goes through staging again"
    assert await office.stage() == 1
    (again,) = await office.queue.claim_calls(1)
    granted = await office.begin(again)
    assert isinstance(granted, DialGranted)
    assert (granted.attempt, granted.dial_number) == (1, 2)
    assert (await office.ends.finish(again, BUSY)).ours
    view = await office.calls.show(call.call_id)
    assert view.call.deferrals == 1
    assert [(d.attempt, d.number, d.epoch, d.spent) for d in view.dials] == [(1, 1, 1, False), (1, 2, 2, True)]
    assert [a.number for a in view.attempts] == [1]


async def test_dial_times_of_one_trunk_keep_its_pace(office: Office):
    await office.trunks.create(NewTrunk(name="slow", sip_trunk_id="ST_slow", max_channels=100, max_cps=20.0, dial_slack_ms=0))
    for n in range(10):
        await office.ready(1, trunk="slow", to=f"+121255501{n:02}")
    calls = await office.queue.claim_calls(20)
    assert len(calls) == 10
    for call in calls:
        assert isinstance(await office.begin(call), DialGranted)
    rows = await office.sql("SELECT dial_at FROM dials ORDER BY dial_at")
    times = [row["dial_at"].timestamp() for row in rows]
    assert all(later - earlier >= 0.05 - 1e-6 for earlier, later in itertools.pairwise(times))


# -- the lifecycle -----------------------------------------------------------------------------------------------------------


# All columns of a call that its state asks for.
FORCED = """
UPDATE calls c
   SET state = $2, epoch = 1, attempt = 1, worker_id = CASE WHEN waits THEN NULL ELSE (SELECT id FROM workers LIMIT 1) END,
       trunk_id = CASE WHEN waits THEN NULL ELSE 1 END, route_id = (SELECT id FROM routes LIMIT 1),
       claimed_at = CASE WHEN waits THEN NULL ELSE now() END,
       dial_at = CASE WHEN waits THEN NULL ELSE now() END, dialed_at = now(), ringing_at = now(),
       answered_at = CASE WHEN $2 IN ('active', 'ended') THEN now() END,
       ended_at = CASE WHEN over THEN now() END, dialled = CASE WHEN over THEN 'yes' END,
       end_reason = CASE WHEN $2 = 'canceled' THEN 'CANCELED_BY_REQUEST' WHEN over THEN 'USER_BUSY' END
  FROM (SELECT $2 IN ('scheduled', 'ready') AS waits, $2 IN ('ended', 'not_connected', 'canceled') AS over) s
 WHERE c.id = $1
"""


async def test_the_database_allows_exactly_the_lifecycle(office: Office):
    """Every pair of states, by force: the trigger and lifecycle.py are the same list."""
    (call_id,) = await office.ready()
    connection = await office.database.connect()
    allowed = set()
    for before, after in itertools.permutations(State, 2):
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("ALTER TABLE calls DISABLE TRIGGER calls_transition")
        await connection.execute(FORCED, call_id, before.value)
        await connection.execute("ALTER TABLE calls ENABLE TRIGGER calls_transition")
        with contextlib.suppress(asyncpg.CheckViolationError):
            await connection.execute(FORCED, call_id, after.value)
            allowed.add((before, after))
        await transaction.rollback()
    await connection.close()
    assert allowed == {(before, after) for before, afters in TRANSITIONS.items() for after in afters}


async def test_an_end_that_the_lifecycle_does_not_allow_is_an_error(office: Office):
    call = await office.claimed()
    with pytest.raises(ForbiddenTransition, match="claimed to ended"):
        await office.ends.finish(call, HUNG_UP)
    active = await office.active()
    with pytest.raises(ForbiddenTransition, match="active to not_connected"):
        await office.ends.finish(active, NEVER_DIALLED)
    assert await office.held() == (2, 2)


async def test_texts_of_the_far_end_may_hold_anything(office: Office):
    call = await office.dialing()
    outcome = dataclasses.replace(
        BUSY, sip_reason="Busy\0Here", error_message="\0", evidence={"text": "a\0b", "ok": True, "s": 1.5}
    )
    assert (await office.ends.finish(call, outcome)).ours
    stored = (await office.calls.show(call.call_id)).call.outcome
    assert stored.sip_reason == "BusyHere"
    assert stored.evidence == {"text": "ab", "ok": True, "s": 1.5}


async def test_a_note_of_no_kind_is_refused(office: Office):
    call = await office.claimed()
    with pytest.raises(BadInput):
        await office.queue.record_note(call, "Not a kind", {})
