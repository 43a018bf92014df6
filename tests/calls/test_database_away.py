"""A database that goes away in the middle: conversations go on, nothing is lost, nothing happens twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orchestrator.errors import DatabaseUnavailable
from orchestrator.outcomes import EndReason
from sip.simulated import callees
from tests.fixtures.orchestra import Orchestra


def away(times: int, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The operation, unreachable the first `times` times."""
    left = times

    async def unreachable(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise DatabaseUnavailable("the database is away")
        return await operation(*args, **kwargs)

    return unreachable


def answer_lost(times: int, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The operation, committed, whose answer is lost the first `times` times."""
    left = times

    async def committed(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        result = await operation(*args, **kwargs)
        if left:
            left -= 1
            raise DatabaseUnavailable("the connection was lost before the answer came")
        return result

    return committed


@pytest.mark.parametrize("operation", ["record_ringing", "record_answer", "record_order", "finish"])
@pytest.mark.parametrize("fault", [away, answer_lost])
async def test_a_conversation_does_not_wait_for_the_database_and_is_written_when_it_is_back(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch, operation: str, fault: Callable[..., Any]
):
    store = orchestra.stores.ends if operation == "finish" else orchestra.stores.queue
    monkeypatch.setattr(store, operation, fault(3, getattr(store, operation)))
    call = await orchestra.enqueue(to=callees.AGENT_SAYS_GOODBYE)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.AGENT_HUNG_UP
    states = [event.state.value for event in view.events if event.state is not None]
    assert states == ["scheduled", "ready", "claimed", "dialing", "ringing", "active", "ended"]
    assert [event.kind for event in view.events].count("order") == 1
    assert len(orchestra.carrier.ledger) == 1
    await orchestra.nothing_is_held()


@pytest.mark.parametrize("fault", [away, answer_lost])
async def test_an_intent_whose_commit_is_unknown_is_never_dialled_on(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., Any]
):
    monkeypatch.setattr(orchestra.stores.gate, "begin_dial", fault(1, orchestra.stores.gate.begin_dial))
    call = await orchestra.enqueue(to=callees.TALKS_6_S)
    view = await orchestra.wait_until_ended(call)
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert view.call.epoch == 2, "it went back to the queue and was claimed again"
    assert len(orchestra.carrier.ledger) == 1, "only the second intent was followed by a request"
    assert [attempt.number for attempt in view.attempts] == [1], "nothing was spent"
    await orchestra.nothing_is_held()


async def test_a_return_to_the_queue_whose_answer_is_lost_happens_once(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(orchestra.stores.ends, "requeue", answer_lost(2, orchestra.stores.ends.requeue))
    call = await orchestra.enqueue(to=callees.TALKS_6_S, agent_name="nobody")
    await orchestra.wait_until_it(call, lambda view: view.call.deferrals > 0)
    await orchestra.calls.request_cancel(call)
    ended = await orchestra.wait_until_ended(call)
    assert ended.call.end_reason is EndReason.CANCELED_BY_REQUEST
    await orchestra.nothing_is_held()
