"""A file is queued once, however often it is run and wherever it was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from orchestrator.cli import importing
from orchestrator.cli.callfile import CallFile
from orchestrator.cli.importing import CallImport
from orchestrator.enqueue import NewCallRequest, Refused
from orchestrator.errors import BadInput, DatabaseUnavailable
from orchestrator.ids import E164, CallId
from orchestrator.store.views import Enqueued, NewCall


class Queue:
    """An intake that takes numbers as they are, and refuses those that end in 99."""

    def __init__(self, *, goes_away_after: int | None = None) -> None:
        self.calls: dict[str, NewCall] = {}
        self.stored_without_key: list[NewCall] = []
        self.goes_away_after = goes_away_after
        self._ids = count(1)

    async def check(
        self, requests: Sequence[NewCallRequest], *, key_of: Callable[[E164], str] | None = None
    ) -> list[NewCall | Refused]:
        assert key_of is not None
        return [
            Refused(BadInput("no such number"), to=E164(request.to))
            if request.to.endswith("99")
            else NewCall(
                account=request.account,
                to=request.to,
                idempotency_key=key_of(E164(request.to)) if request.key is None else request.key,
                batch=request.batch,
            )
            for request in requests
        ]

    async def store(self, checked: Sequence[NewCall | Refused]) -> list[Enqueued | Refused]:
        results: list[Enqueued | Refused] = []
        for call in checked:
            if isinstance(call, Refused):
                results.append(call)
                continue
            assert call.idempotency_key is not None
            created = call.idempotency_key not in self.calls
            self.calls.setdefault(call.idempotency_key, call)
            results.append(Enqueued(call_id=CallId(next(self._ids)), created=created))
        if self.goes_away_after is not None and len(self.calls) >= self.goes_away_after:
            self.goes_away_after = None
            raise DatabaseUnavailable("the answer to the commit was lost")
        return results


class Desk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.refused: list[tuple[int, str]] = []

    def bring(self, queue: Queue, content: str, *, batch: str = "b", allow_duplicates: bool = False) -> CallImport:
        self.path.write_text(content)
        self.refused = []
        done = CallImport(
            file=CallFile(path=self.path),
            intake=queue,
            batch=batch,
            defaults={"account": "acme"},
            allow_duplicates=allow_duplicates,
            on_refused=lambda line, reason: self.refused.append((line, reason)),
            on_progress=lambda: None,
        )
        asyncio.run(done.run())
        return done


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Desk:
    monkeypatch.setattr(importing, "CHUNK", 3)
    return Desk(tmp_path / "calls.csv")


NUMBERS = [f"+1212555{1000 + n}" for n in range(10)]
TEN = "\n".join(["to", *NUMBERS]) + "\n"


def test_good_lines_are_queued_and_bad_ones_reported_in_the_order_of_the_file(desk):
    done = desk.bring(Queue(), "to,priority\n+12125550100,\n+12125550199,\n+12125550101,x\n+12125550102,7\n")
    assert (done.tally.queued, done.tally.refused, done.tally.lines) == (2, 2, 4)
    assert desk.refused == [(3, "no such number"), (4, "'priority' must be a number, not \"x\"")]


def test_the_same_file_run_again_queues_nothing(desk):
    queue = Queue()
    assert desk.bring(queue, TEN).tally.queued == 10
    again = desk.bring(queue, TEN).tally
    assert (again.queued, again.already_queued) == (0, 10)
    assert len(queue.calls) == 10


@pytest.mark.parametrize("committed", [1, 4, 7, 10])
def test_a_file_that_was_interrupted_goes_on_where_it_stopped_even_when_a_commits_answer_was_lost(desk, committed):
    queue = Queue(goes_away_after=committed)
    with pytest.raises(DatabaseUnavailable):
        desk.bring(queue, TEN)
    before = len(queue.calls)
    again = desk.bring(queue, TEN).tally
    assert again.already_queued == before
    assert sorted(call.to for call in queue.calls.values()) == NUMBERS


def test_a_line_that_is_put_in_at_the_top_calls_nobody_else_again(desk):
    queue = Queue()
    desk.bring(queue, TEN)
    again = desk.bring(queue, TEN.replace("to\n", "to\n+12125559000\n"))
    assert (again.tally.queued, again.tally.already_queued) == (1, 10)


def test_another_batch_is_another_list(desk):
    queue = Queue()
    desk.bring(queue, TEN)
    assert desk.bring(queue, TEN, batch="next week").tally.queued == 10


def test_a_number_that_stands_twice_is_refused_with_the_line_where_it_stood_first(desk):
    queue = Queue()
    done = desk.bring(queue, "to\n" + "".join(f"{number}\n" for number in [*NUMBERS, NUMBERS[1]]))
    assert done.tally.queued == 10
    assert desk.refused == [(12, f"{NUMBERS[1]} stands on line 3 already: remove one, or say --allow-duplicates")]


def test_a_number_counts_as_standing_there_when_its_first_line_was_refused_for_something_else(desk):
    # Whoever mends that line and runs the file again must not have called this number already.
    desk.bring(Queue(), "to\n+12125550199\n+12125550199\n")
    assert [line for line, _ in desk.refused] == [2, 3]


def test_duplicates_that_are_allowed_are_queued_once_each_however_often_the_file_is_run(desk):
    queue = Queue()
    content = "to\n" + "+12125550100\n" * 5
    assert desk.bring(queue, content, allow_duplicates=True).tally.queued == 5
    assert desk.bring(queue, content, allow_duplicates=True).tally.already_queued == 5


def test_a_lines_own_key_goes_before_ours(desk):
    queue = Queue()
    desk.bring(queue, "to,key\n+12125550100,order-7\n+12125550101,\n")
    assert set(queue.calls) == {"order-7", "b:+12125550101"}


def test_a_batch_name_leaves_room_for_the_number_in_the_key(desk):
    with pytest.raises(BadInput, match="at most 200 characters"):
        desk.bring(Queue(), TEN, batch="b" * 201)
