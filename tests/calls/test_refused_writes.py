"""What the database refuses to write is not asked again and again: the call ends as a defect, and what it held is free."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog.testing

from orchestrator.errors import BadInput
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.views import CallView
from sip.events import Dialled
from sip.simulated import callees
from tests.fixtures.orchestra import Orchestra

Operation = Callable[..., Awaitable[Any]]


class Refusing:
    """An operation that the database refuses the first `times` times, for what is a defect of ours."""

    def __init__(self, operation: Operation, *, times: int = 1_000_000, error: Exception | None = None) -> None:
        self.asked = 0
        self._operation = operation
        self._times = times
        self._error = error or BadInput("the database refuses this by its rule")

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        if self.asked <= self._times:
            raise self._error
        return await self._operation(*args, **kwargs)


async def call_whose(
    operation: str, orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch, *, to: str, **fault: Any
) -> tuple[CallView, Refusing, list[Any]]:
    """The end of a call to `to` of which `operation` is refused, and what was logged."""
    store = orchestra.stores.ends if operation == "finish" else orchestra.stores.queue
    refusing = Refusing(getattr(store, operation), **fault)
    monkeypatch.setattr(store, operation, refusing)
    with structlog.testing.capture_logs() as logged:
        view = await orchestra.wait_until_ended(await orchestra.enqueue(to=to))
        await orchestra.nothing_is_held()
    return view, refusing, [line for line in logged if line["event"] == "write_refused"]


def refusals_counted(orchestra: Orchestra) -> float:
    for line in orchestra.metrics.exposition("")[0].decode().splitlines():
        if line.startswith("orchestrator_writes_refused_total "):
            return float(line.split()[1])
    raise AssertionError("not measured")


@pytest.mark.parametrize("error", [BadInput("a rule"), RuntimeError("a defect")])
async def test_a_refused_ringing_ends_the_call_once_and_truthfully(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    view, refusing, logged = await call_whose("record_ringing", orchestra, monkeypatch, to=callees.RINGS_OUT, error=error)
    assert (view.call.state, view.call.end_reason) == (State.NOT_CONNECTED, EndReason.INTERNAL_ERROR)
    assert view.call.outcome is not None
    assert view.call.outcome.dialled is Dialled.YES, "a phone rang, whatever could be written of it"
    assert view.call.outcome.error_code == type(error).__name__
    assert refusing.asked == 1, "asked again it would be refused again"
    assert [line["exc_info"] for line in logged] == [True]
    assert refusals_counted(orchestra) == 1
    assert len(orchestra.carrier.ledger) == 1


async def test_a_refused_answer_ends_the_call_in_the_state_that_its_row_allows(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
):
    """Its row says `ringing`: from there no call can be `ended`, as this one was in truth."""
    view, refusing, logged = await call_whose("record_answer", orchestra, monkeypatch, to=callees.TALKS_ON)
    assert (view.call.state, view.call.end_reason) == (State.NOT_CONNECTED, EndReason.INTERNAL_ERROR)
    assert view.call.outcome is not None
    assert (view.call.outcome.dialled, view.call.outcome.answered_by) == (Dialled.YES, None)
    assert refusing.asked == 1
    assert len(logged) == refusals_counted(orchestra) == 2, "the answer, and the end that it would have led to"


async def test_a_refused_end_is_followed_by_one_that_is_allowed(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch):
    view, refusing, _ = await call_whose("finish", orchestra, monkeypatch, to=callees.TALKS_6_S, times=1)
    assert (view.call.state, view.call.end_reason) == (State.ENDED, EndReason.INTERNAL_ERROR)
    assert refusing.asked == 2
    assert refusals_counted(orchestra) == 1


async def test_nobody_is_hung_up_on_for_a_line_of_the_timeline(orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch):
    view, refusing, logged = await call_whose("record_note", orchestra, monkeypatch, to=callees.PRESSES_DIGITS)
    assert view.call.end_reason is EndReason.USER_HUNG_UP_IN_CALL
    assert refusing.asked >= 3
    assert len(logged) == refusals_counted(orchestra) == refusing.asked
