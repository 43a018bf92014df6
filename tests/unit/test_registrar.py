"""Ends are gathered, and each caller gets its own answer or error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from orchestrator.calls.registrar import MOST_TOGETHER, MOST_UNDER_WAY, Registrar
from orchestrator.errors import BadInput, DatabaseUnavailable
from orchestrator.ids import AccountId, CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.ends import HeldUp
from orchestrator.store.records import End, Finished, Outcome
from sip.events import Dialled

BUSY = Outcome(state=State.NOT_CONNECTED, reason=EndReason.USER_BUSY, dialled=Dialled.YES)
WRITTEN = Finished(ours=True, state=State.NOT_CONNECTED)


@dataclass(frozen=True)
class Call:
    call_id: CallId
    account_id: AccountId
    epoch: int = 1


class Store:
    """Stands for EndsStore: notes what is written together, and can be closed or made to fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.written: set[int] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Callable[[Sequence[End]], BaseException | None] = lambda ends: None

    async def finish_all(self, ends: Sequence[End]) -> list[Finished]:
        self.batches.append([end.call.call_id for end in ends])
        await self.open.wait()
        error = self.fault(ends)
        if error is not None:
            raise error
        self.written.update(end.call.call_id for end in ends)
        return [WRITTEN for _ in ends]


@pytest.fixture
async def store() -> Store:
    return Store()


@pytest.fixture
def registrar(store: Store) -> Registrar:
    return Registrar(store=store)  # type: ignore[arg-type]  # it has what the registrar asks for


def finish(registrar: Registrar, call_id: int, account_id: int = 1) -> asyncio.Task[Finished]:
    return asyncio.create_task(registrar.finish(Call(CallId(call_id), AccountId(account_id)), BUSY))


async def turns(n: int = 10) -> None:
    """Let the event loop turn, which takes no time: no timer fires."""
    for _ in range(n):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_an_end_that_comes_alone_is_written_at_once(registrar: Registrar, store: Store):
    one = finish(registrar, 1)
    await turns()
    assert one.done()
    assert one.result() == WRITTEN


async def test_what_ends_in_the_same_turn_is_written_together(registrar: Registrar, store: Store):
    tasks = [finish(registrar, n) for n in range(10)]
    await turns()
    assert store.batches == [list(range(10))]
    assert all(task.result() == WRITTEN for task in tasks)


async def test_what_comes_while_another_is_written_goes_together_after_it(registrar: Registrar, store: Store):
    store.open.clear()
    first = finish(registrar, 0)
    await turns()
    later = [finish(registrar, n) for n in range(1, 11)]
    await turns()
    assert store.batches == [[0]]
    store.open.set()
    await asyncio.gather(first, *later)
    assert store.batches == [[0], list(range(1, 11))]


async def test_what_is_held_up_does_not_hold_up_all_that_comes_after_it(registrar: Registrar, store: Store):
    store.open.clear()
    tasks = []
    for n in range(MOST_UNDER_WAY + 3):
        tasks.append(finish(registrar, n))
        await until(lambda n=n: len(store.batches) >= min(n + 1, MOST_UNDER_WAY))
    assert len(store.batches) == MOST_UNDER_WAY
    store.open.set()
    await asyncio.gather(*tasks)
    assert sorted(call for batch in store.batches for call in batch) == list(range(MOST_UNDER_WAY + 3))


async def test_no_statement_has_more_than_it_may(registrar: Registrar, store: Store):
    await asyncio.gather(*(finish(registrar, n) for n in range(3 * MOST_TOGETHER + 1)))
    assert max(len(batch) for batch in store.batches) == MOST_TOGETHER
    assert sorted(call for batch in store.batches for call in batch) == list(range(3 * MOST_TOGETHER + 1))


async def test_a_call_that_is_ended_twice_is_in_a_statement_once(registrar: Registrar, store: Store):
    answers = await asyncio.gather(*(finish(registrar, 7) for _ in range(3)), finish(registrar, 8))
    assert answers == [WRITTEN] * 4
    assert all(len(set(batch)) == len(batch) for batch in store.batches)


async def test_who_is_cancelled_loses_nobody_elses_end_nor_its_own(registrar: Registrar, store: Store):
    store.open.clear()
    first = finish(registrar, 1)
    await turns()
    waiting, patient = finish(registrar, 2), finish(registrar, 3)
    await turns()
    first.cancel()
    waiting.cancel()
    store.open.set()
    assert await patient == WRITTEN
    assert first.cancelled()
    assert waiting.cancelled()
    assert store.written == {1, 2, 3}


async def test_a_database_that_is_away_is_told_to_everybody_who_asks_again(registrar: Registrar, store: Store):
    store.fault = lambda ends: DatabaseUnavailable("away")
    results = await asyncio.gather(*(finish(registrar, n) for n in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable] * 5
    assert store.batches == [list(range(5))], "nobody is asked one by one what all were told"
    store.fault = lambda ends: None
    assert await asyncio.gather(*(finish(registrar, n) for n in range(5))) == [WRITTEN] * 5


async def test_a_statement_that_is_torn_down_under_it_is_asked_again_by_those_who_wait(registrar: Registrar, store: Store):
    store.fault = lambda ends: asyncio.CancelledError()
    with pytest.raises(DatabaseUnavailable):
        await finish(registrar, 1)


@pytest.mark.parametrize("error", [BadInput("seven"), RuntimeError("a defect")])
async def test_one_bad_end_poisons_no_other(registrar: Registrar, store: Store, error: Exception):
    store.fault = lambda ends: error if any(end.call.call_id == 7 for end in ends) else None
    results = await asyncio.gather(*(finish(registrar, n) for n in range(10)), return_exceptions=True)
    assert [result for n, result in enumerate(results) if n != 7] == [WRITTEN] * 9
    assert results[7] is error


async def test_an_account_that_is_held_keeps_only_its_own_waiting(registrar: Registrar, store: Store):
    store.fault = lambda ends: HeldUp("two") if any(end.call.account_id == 2 for end in ends) else None
    results = await asyncio.gather(*(finish(registrar, n, account_id=1 + n % 3) for n in range(9)), return_exceptions=True)
    assert [isinstance(result, HeldUp) for result in results] == [n % 3 == 1 for n in range(9)]
    assert store.batches[1:] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


async def test_an_unknown_error_reaches_those_who_wait(registrar: Registrar, store: Store):
    store.fault = lambda ends: RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        await finish(registrar, 1)
