"""What happens to a call is written in order; what the database refuses is not asked again, and nothing waits behind it."""

from __future__ import annotations

import pytest

from orchestrator.calls.pen import ClaimLost, Pen, Write
from orchestrator.errors import BadInput, DatabaseUnavailable
from orchestrator.logs import call_logger
from orchestrator.metrics import Metrics

REFUSALS = [BadInput("a rule"), RuntimeError("a defect")]


class Paper:
    """What was written, in order; while `away`, nothing can be."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.written: list[str] = []
        self.away = False

    def line(self, text: str, *, error: Exception | None = None, ours: bool = True) -> Write:
        async def write() -> bool:
            if self.away:
                raise DatabaseUnavailable("away")
            self.asked.append(text)
            if error is not None:
                raise error
            self.written.append(text)
            return ours

        return write


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture
def pen() -> Pen:
    return Pen(pause_real_s=0.001, metrics=Metrics(), log=call_logger(__name__, call_id=1, account="acme", epoch=1))


@pytest.mark.parametrize("error", REFUSALS)
async def test_a_refusal_is_told_once_and_what_waits_behind_it_is_still_written(pen: Pen, paper: Paper, error: Exception):
    paper.away = True
    await pen.write(paper.line("ringing", error=error))
    await pen.write(paper.line("answer"))
    paper.away = False
    with pytest.raises(type(error)):
        await pen.catch_up()
    await pen.write_until_done(paper.line("end"))
    assert paper.asked == ["ringing", "answer", "end"]
    assert paper.written == ["answer", "end"]
    assert pen.retry_in_real_s is None


async def test_an_end_that_is_refused_is_told_and_does_not_wait(pen: Pen, paper: Paper):
    with pytest.raises(BadInput):
        await pen.write_until_done(paper.line("end", error=BadInput("a rule")))
    await pen.write_until_done(paper.line("another end"))
    assert paper.written == ["another end"]


@pytest.mark.parametrize("error", REFUSALS)
async def test_a_refused_note_disturbs_nobody(pen: Pen, paper: Paper, error: Exception):
    await pen.note(paper.line("a digit", error=error))
    await pen.note_first(paper.line("an opt-out", error=error))
    await pen.write(paper.line("answer"))
    assert paper.asked == ["a digit", "an opt-out", "answer"]
    assert paper.written == ["answer"]


async def test_what_counts_even_if_the_claim_is_lost_is_written_first(pen: Pen, paper: Paper):
    paper.away = True
    await pen.write(paper.line("answer", ours=False))
    await pen.note_first(paper.line("an opt-out"))
    paper.away = False
    with pytest.raises(ClaimLost):
        await pen.catch_up()
    assert paper.written == ["an opt-out", "answer"]
