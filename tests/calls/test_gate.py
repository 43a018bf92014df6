"""Conductors at the last gate: no room for what cannot be dialled, no dial once something forbids it, and the next attempt."""

from __future__ import annotations

import ast
import asyncio
import datetime as dt
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.calls import preparation
from orchestrator.calls.refusals import TRUNK_MATTERS, WHY, EndUndialled, GoBack, refusal
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.policy import AccountChange
from orchestrator.store.pool import Database
from orchestrator.store.records import CancelResult, DialForbidden, Gate, WaitingFor
from orchestrator.store.views import CallView
from sip.events import Dialled
from sip.simulated import callees
from tests.fixtures.claims import a_claimed_call
from tests.fixtures.orchestra import PATIENCE_S, SCALE, Orchestra

ROOT = Path(preparation.__file__).parents[1]


async def sql(database: Database, query: str, *arguments: object) -> None:
    connection = await database.connect()
    try:
        await connection.execute(query, *arguments)
    finally:
        await connection.close()


def states_of(view: CallView) -> list[str]:
    return [event.state.value for event in view.events if event.state is not None]


def waited_for(view: CallView) -> list[str]:
    return [str(event.detail["waiting_for"]) for event in view.events if "waiting_for" in event.detail]


def count_rooms(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    opened: list[object] = []
    open_room = orchestra.carrier.open_room

    async def counted(plan: Any) -> Any:
        opened.append(plan)
        return await open_room(plan)

    monkeypatch.setattr(orchestra.carrier, "open_room", counted)
    return opened


def before_the_intent(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch, change: Callable[[], Awaitable[object]]) -> None:
    """Have something committed after the agent has come and before the first intent is written."""
    begin_dial = orchestra.stores.gate.begin_dial
    changes = iter([change])

    async def changed(*args: Any, **kwargs: Any) -> Any:
        for one in changes:
            await one()
        return await begin_dial(*args, **kwargs)

    monkeypatch.setattr(orchestra.stores.gate, "begin_dial", changed)


# -- the gate's answers ----------------------------------------------------------------------------------------------------


def test_every_gate_sends_back_or_ends_the_call_and_says_why():
    ends = {Gate.CANCELED: EndReason.CANCELED_BY_REQUEST, Gate.DO_NOT_CALL: EndReason.BLOCKED_DO_NOT_CALL}
    assert set(WHY) == set(Gate)
    for gate in Gate:
        answer = refusal(a_claimed_call(), DialForbidden(gate), gate_delay_s=4.0, scale=SCALE)
        if gate is Gate.EXPIRED:
            assert isinstance(answer, EndUndialled)
            assert answer.reason is EndReason.EXPIRED_IN_QUEUE
        elif gate in ends:
            assert isinstance(answer, EndUndialled)
            assert answer.reason is ends[gate]
        else:
            assert isinstance(answer, GoBack)
            assert answer.why
            assert answer.delay_s == (0.0 if gate in (Gate.TRUNK_DISABLED, Gate.TRUNK_CIRCUIT) else 4.0)


def test_the_gates_real_seconds_become_the_clocks():
    told = DialForbidden(Gate.NUMBER_GAP, retry_in_s=3.0)
    answer = refusal(a_claimed_call(), told, gate_delay_s=4.0, scale=SCALE)
    assert isinstance(answer, GoBack)
    assert (answer.waiting_for, answer.delay_s) == (WaitingFor.SPACING, 3.0 * SCALE)


def test_a_number_that_stays_busy_is_tried_more_and_more_seldom():
    delays = []
    for deferrals in range(8):
        answer = refusal(a_claimed_call(deferrals=deferrals), DialForbidden(Gate.NUMBER_BUSY), gate_delay_s=4.0, scale=SCALE)
        assert isinstance(answer, GoBack)
        delays.append(answer.delay_s)
    assert delays == [4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0, 64.0]


@pytest.mark.parametrize("gate", [Gate.TRUNK_DISABLED, Gate.TRUNK_CIRCUIT])
def test_a_call_whose_trunk_is_shut_goes_to_another_at_once_but_not_again_and_again(gate: Gate):
    answer = refusal(a_claimed_call(deferrals=3), DialForbidden(gate), gate_delay_s=4.0, scale=SCALE)
    assert isinstance(answer, GoBack)
    assert (answer.waiting_for, answer.delay_s) == (WaitingFor.PAUSED, 4.0)
    for waiting_for in TRUNK_MATTERS:
        call = a_claimed_call(waiting_for=waiting_for)
        answer = refusal(call, DialForbidden(gate), gate_delay_s=4.0, scale=SCALE)
        assert isinstance(answer, GoBack)
        assert answer.waiting_for is waiting_for, "should it expire, it ends as what the trunk said"


def test_a_call_that_expires_after_an_attempt_is_left_to_end_as_that_did():
    call = a_claimed_call(earlier_ends=(EndReason.USER_BUSY,), waiting_for=WaitingFor.REDIAL)
    answer = refusal(call, DialForbidden(Gate.EXPIRED), gate_delay_s=4.0, scale=SCALE)
    assert isinstance(answer, GoBack)
    assert answer.waiting_for is WaitingFor.REDIAL
    waiting = a_claimed_call(waiting_for=WaitingFor.AGENT)
    ended = refusal(waiting, DialForbidden(Gate.EXPIRED), gate_delay_s=4.0, scale=SCALE)
    assert isinstance(ended, EndUndialled)
    assert ended.reason is EndReason.AGENT_NEVER_JOINED


# -- before a room is opened -----------------------------------------------------------------------------------------------


async def held_back(orchestra: Orchestra, **fields: Any) -> Any:
    """A call that is ready and not claimed, since its account is paused."""
    await orchestra.accounts.update("acme", AccountChange(paused=True))
    call = await orchestra.enqueue(**fields)
    await orchestra.wait_until(call, "ready")
    return call


async def test_a_number_that_was_put_on_the_list_meanwhile_ends_the_call_without_a_room(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    rooms = count_rooms(orchestra, monkeypatch)
    call = await held_back(orchestra, to=callees.TALKS_8_S)
    await sql(
        database,
        "INSERT INTO do_not_call (account_id, number_key, kind, source) VALUES (0, number_key($1), 'do_not_call', 'test')",
        callees.TALKS_8_S,
    )
    await orchestra.accounts.update("acme", AccountChange(paused=False))
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is EndReason.BLOCKED_DO_NOT_CALL
    assert ended.outcome is not None
    assert ended.outcome.dialled is Dialled.NO
    assert (rooms, orchestra.carrier.ledger) == ([], [])
    await orchestra.nothing_is_held()


async def test_a_call_outside_its_window_goes_back_without_a_room_and_is_dialled_in_its_window(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    rooms = count_rooms(orchestra, monkeypatch)
    call = await held_back(orchestra, to=callees.TALKS_6_S)
    await sql(database, "UPDATE accounts SET hours_version = hours_version + 1")
    await orchestra.accounts.update("acme", AccountChange(paused=False))
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert "calling_window" in waited_for(view)
    assert len(rooms) == 1


# -- before the intent -----------------------------------------------------------------------------------------------------


async def test_the_kill_switch_stops_a_call_whose_agent_is_there_already(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    stop = "UPDATE switches SET stopped_at = now(), stopped_why = 'fire'"
    before_the_intent(orchestra, monkeypatch, lambda: sql(database, stop))
    call = await orchestra.enqueue(to=callees.TALKS_6_S)
    view = await orchestra.wait_until_it(call, lambda view: view.call.waiting_for is WaitingFor.PAUSED)
    assert (view.dials, orchestra.carrier.ledger) == ((), [])
    assert view.call.state in (State.SCHEDULED, State.READY)
    await sql(database, "UPDATE switches SET stopped_at = NULL, stopped_why = ''")
    ended = await orchestra.wait_until_ended(call)
    assert ended.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert len(orchestra.carrier.ledger) == 1


async def test_a_number_that_is_listed_while_the_agent_comes_is_not_dialled(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    listed = "INSERT INTO do_not_call (account_id, number_key, kind, source) VALUES (0, number_key($1), 'do_not_call', 'test')"
    before_the_intent(orchestra, monkeypatch, lambda: sql(database, listed, callees.TALKS_8_S))
    call = await orchestra.enqueue(to=callees.TALKS_8_S)
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is EndReason.BLOCKED_DO_NOT_CALL
    assert orchestra.carrier.ledger == []
    await orchestra.nothing_is_held()


LATE_TRUNK = "UPDATE trunk_channels SET next_invite_at = clock_timestamp() + interval '1.5 s'"


async def test_a_call_whose_trunk_is_paced_waits_with_its_agent_and_without_an_intent(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    rooms = count_rooms(orchestra, monkeypatch)
    before_the_intent(orchestra, monkeypatch, lambda: sql(database, LATE_TRUNK))
    call = await orchestra.enqueue(to=callees.TALKS_6_S)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    (dial,) = view.dials
    assert (dial.dial_at - dial.intent_at).total_seconds() <= 1.0
    assert len(rooms) == 1


async def test_the_kill_switch_reaches_a_call_that_waits_for_its_trunks_pace(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    later = LATE_TRUNK.replace("1.5 s", "4 s")  # the stop must come before it asks again
    before_the_intent(orchestra, monkeypatch, lambda: sql(database, later))
    call = await orchestra.enqueue(to=callees.TALKS_6_S)
    async with asyncio.timeout(PATIENCE_S):
        while b'gate="trunk_pace"' not in orchestra.metrics.exposition("")[0]:
            await asyncio.sleep(0.005)
    await sql(database, "UPDATE switches SET stopped_at = now(), stopped_why = 'fire'")
    view = await orchestra.wait_until_it(call, lambda view: view.call.waiting_for is WaitingFor.PAUSED)
    assert (view.dials, orchestra.carrier.ledger) == ((), [])
    await orchestra.calls.request_cancel(call)


async def test_the_kill_switch_reaches_a_call_whose_intent_is_written_and_whose_dial_time_has_not_come(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    soon = "UPDATE trunk_channels SET next_invite_at = clock_timestamp() + interval '0.9 s'"
    before_the_intent(orchestra, monkeypatch, lambda: sql(database, soon))
    begin_dial = orchestra.stores.gate.begin_dial

    async def stopped_after(*arguments: Any, **named: Any) -> Any:
        granted = await begin_dial(*arguments, **named)
        await sql(database, "UPDATE switches SET stopped_at = now(), stopped_why = 'fire'")
        orchestra.switchboard.release_undialled()  # as the listener does when it hears of the stop
        return granted

    monkeypatch.setattr(orchestra.stores.gate, "begin_dial", stopped_after)
    call = await orchestra.enqueue(to=callees.TALKS_6_S)
    back = (State.SCHEDULED, State.READY)
    view = await orchestra.wait_until_it(call, lambda view: bool(view.dials) and view.call.state in back)
    assert [dial.spent for dial in view.dials] == [False]
    assert orchestra.carrier.ledger == []
    await orchestra.calls.request_cancel(call)


async def test_a_request_that_would_leave_later_than_the_trunks_rate_allows_does_not_leave(
    orchestra: Orchestra, database: Database, monkeypatch: pytest.MonkeyPatch
):
    await sql(database, "UPDATE trunk_channels SET dial_slack_ms = 100")
    boot_time_s = preparation.boot_time_s
    looks: list[float] = []

    def late_s() -> float:
        looks.append(boot_time_s())
        return looks[-1] + (0.2 if len(looks) == 1 else 0.0)

    monkeypatch.setattr(preparation, "boot_time_s", late_s)
    monkeypatch.setattr(preparation, "LEAST_SLACK_S", 0.1)
    call = await orchestra.enqueue(to=callees.TALKS_6_S)
    view = await orchestra.wait_until(call, "ringing", "active", "ended")
    assert next(dial.spent for dial in view.dials) is False
    assert len(orchestra.carrier.ledger) == 1
    await orchestra.calls.request_cancel(call)


async def test_a_worker_that_was_stopped_between_intent_and_request_does_not_send_it(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    boot_time_s = preparation.boot_time_s
    looks: list[float] = []

    def suspended_s() -> float:
        looks.append(boot_time_s())
        return looks[-1] + (10.0 if len(looks) == 1 else 0.0)

    monkeypatch.setattr(preparation, "boot_time_s", suspended_s)
    call = await orchestra.enqueue(to=callees.TALKS_6_S)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert [dial.spent for dial in view.dials] == [False, True]
    assert [attempt.number for attempt in view.attempts] == [1]
    assert len(orchestra.carrier.ledger) == 1


async def at_once(orchestra: Orchestra, calls: int) -> list[CallId]:
    """So many calls to one number, claimed together: none is over before another is claimed."""
    await orchestra.accounts.update("acme", AccountChange(paused=True))
    ids = [await orchestra.enqueue(to=callees.TALKS_6_S) for _ in range(calls)]
    for call in ids:
        await orchestra.wait_until(call, "ready")
    await orchestra.accounts.update("acme", AccountChange(paused=False))
    return ids


async def test_two_calls_to_one_number_take_turns(orchestra: Orchestra):
    calls = await at_once(orchestra, 3)
    views = [await orchestra.wait_until_ended(call) for call in calls]
    assert {view.call.end_reason for view in views} == {EndReason.USER_HUNG_UP_IN_CALL}
    assert any("spacing" in waited_for(view) for view in views)
    spans = sorted((view.call.dialed_at, view.call.ended_at) for view in views)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    await orchestra.nothing_is_held()


# -- another dial of the same attempt --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "waiting_for", "reason"),
    [
        (callees.FORBIDDEN, WaitingFor.TRUNK_CONFIG, EndReason.SIP_FAILED_TRUNK_CONFIG),
        (callees.CREDENTIALS_REFUSED, WaitingFor.TRUNK_AUTH, EndReason.SIP_FAILED_TRUNK_AUTH),
        (callees.TRUNK_OVERLOADED, WaitingFor.TRUNK_CAPACITY, EndReason.SIP_FAILED_CAPACITY),
    ],
)
async def test_a_trunk_that_refuses_is_dialled_again_in_the_same_attempt_until_the_call_expires(
    orchestra: Orchestra, database: Database, to: str, waiting_for: WaitingFor, reason: EndReason
):
    call = await orchestra.enqueue(to=to, expires_in_real_s=600.0)
    view = await orchestra.wait_until_it(call, lambda view: view.call.deferrals >= 2)
    assert view.call.waiting_for is waiting_for
    await sql(database, "UPDATE calls SET expires_at = greatest(run_at, clock_timestamp()) + interval '0.3 s'")
    ended = await orchestra.wait_until_ended(call)
    assert ended.call.end_reason is reason
    assert [attempt.number for attempt in ended.attempts] == [1]
    assert {dial.spent for dial in ended.dials} == {False}
    assert len(ended.dials) == len(orchestra.carrier.ledger) >= 2
    await orchestra.nothing_is_held()


# -- the next attempt ------------------------------------------------------------------------------------------------------

THRICE = 'UPDATE accounts SET max_attempts = 3, redial_jitter = 0, redial_delays = \'{"soon": [20], "later": [40]}\''


async def test_a_call_that_nobody_picks_up_is_tried_as_often_as_its_account_wants(orchestra: Orchestra, database: Database):
    await sql(database, THRICE)
    call = await orchestra.enqueue(to=callees.RINGS_OUT, ring_timeout_s=5.0)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_DID_NOT_PICK_UP
    assert [(attempt.number, attempt.end_reason) for attempt in view.attempts] == [
        (number, EndReason.USER_DID_NOT_PICK_UP) for number in (1, 2, 3)
    ]
    assert states_of(view) == [*(["scheduled", "ready", "claimed", "dialing", "ringing"] * 3), "not_connected"]
    assert waited_for(view) == []
    for earlier, later in pairwise(view.dials):
        assert earlier.ended_at is not None
        assert (later.intent_at - earlier.ended_at).total_seconds() >= 40.0 / SCALE
    assert len(orchestra.carrier.ledger) == 3
    await orchestra.nothing_is_held()


async def test_a_call_may_have_a_redial_policy_of_its_own(orchestra: Orchestra):
    call = await orchestra.enqueue(to=callees.BUSY_AT_ONCE, redial={"max_attempts": 2, "delays": {"soon": [4]}, "jitter": 0})
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_BUSY
    assert len(view.attempts) == 2


async def test_a_call_that_waits_for_its_next_attempt_can_be_canceled(orchestra: Orchestra, database: Database):
    await sql(database, THRICE.replace("[20]", "[100000]"))
    call = await orchestra.enqueue(to=callees.BUSY_AT_ONCE)
    view = await orchestra.wait_until_it(call, lambda view: view.call.waiting_for is WaitingFor.REDIAL)
    assert view.call.state is State.SCHEDULED
    assert await orchestra.calls.request_cancel(call) is CancelResult.CANCELED
    ended = (await orchestra.wait_until_ended(call)).call
    assert ended.end_reason is EndReason.CANCELED_BY_REQUEST
    assert len(orchestra.carrier.ledger) == 1
    await orchestra.nothing_is_held()


@pytest.mark.parametrize("to", [callees.TALKS_6_S, callees.AGENT_SAYS_GOODBYE, callees.WRONG_NUMBER])
async def test_what_served_its_purpose_or_cannot_be_helped_is_not_tried_again(
    orchestra: Orchestra, database: Database, to: str
):
    await sql(database, THRICE)
    call = await orchestra.enqueue(to=to)
    view = await orchestra.wait_until_ended(call)
    assert len(view.attempts) == len(orchestra.carrier.ledger) == 1


async def test_redials_and_refusals_are_counted(orchestra: Orchestra, database: Database):
    await sql(database, THRICE)
    redialled = await orchestra.enqueue(to=callees.BUSY_AT_ONCE)
    await orchestra.wait_until_ended(redialled)
    first, second = await at_once(orchestra, 2)
    await orchestra.wait_until_ended(first)
    await orchestra.wait_until_ended(second)
    text = orchestra.metrics.exposition("")[0].decode()
    assert 'orchestrator_calls_redialled_total{redial="soon"} 2.0' in text
    assert 'orchestrator_gate_refusals_total{at="' in text
    assert 'gate="number_busy"' in text


# -- clocks ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[-900, 900], ids=["15 min slow", "15 min fast"])
def wrong_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's wall clock is wrong for all code of ours."""
    wrong_by = dt.timedelta(seconds=request.param)
    right = dt.datetime
    right_s = time.time

    class WrongDatetime(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return right.now(tz) + wrong_by

    monkeypatch.setattr(time, "time", lambda: right_s() + request.param)
    for name, module in sys.modules.items():
        if name.startswith(("orchestrator.", "sip.")) and getattr(module, "datetime", None) is right:
            monkeypatch.setattr(module, "datetime", WrongDatetime)


@pytest.mark.usefixtures("wrong_clock")
async def test_a_worker_whose_clock_is_wrong_by_minutes_dials_in_time_and_lets_expire_in_time(orchestra: Orchestra):
    due = await orchestra.enqueue(to=callees.TALKS_6_S, expires_in_real_s=60.0)
    later = await orchestra.enqueue(to=callees.TALKS_8_S, run_at=dt.datetime.now().astimezone() + dt.timedelta(minutes=10))
    expiring = await orchestra.enqueue(to=callees.TALKS_8_S, agent_name="nobody", expires_in_real_s=5.0)
    assert (await orchestra.wait_until_ended(due)).call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert (await orchestra.wait_until_ended(expiring)).call.end_reason is EndReason.AGENT_NEVER_JOINED
    assert (await orchestra.row(later)).state is State.SCHEDULED
    assert len(orchestra.carrier.ledger) == 1


def test_nothing_that_admits_or_dials_looks_at_the_wall_clock():
    """`datetime.now`, `time.time` and the like are for people; calls know the database's clock and durations."""
    for package in ("calls", "scheduling", "store"):
        for file in (ROOT / package).glob("**/*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    asked = (getattr(node.value, "id", getattr(node.value, "attr", "")), node.attr)
                    assert asked not in {
                        ("datetime", "now"),
                        ("datetime", "utcnow"),
                        ("datetime", "today"),
                        ("date", "today"),
                        ("time", "time"),
                        ("time", "time_ns"),
                    }, f"{file}:{node.lineno}"
