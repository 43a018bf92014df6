"""The watchdog is fed while the loops make progress, and while it is the database's fault that they do not."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import DatabaseUnavailable
from orchestrator.looper import MAX_PAUSE_S, Looper
from orchestrator.metrics import Metrics
from orchestrator.systemd import ServiceManager
from orchestrator.watchdog import STATEMENTS_OF_A_STEP, Watchdog

COMMAND_TIMEOUT_S = 10.0
STEP_S = STATEMENTS_OF_A_STEP * COMMAND_TIMEOUT_S
PATIENCE_S = STEP_S + MAX_PAUSE_S


class Post:
    """A watchdog over two loops that stand still, a database that answers or not, and a clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.metrics = Metrics()
        self.database_answers = True
        self.probes = 0
        self.claimer, self.heart = self._loop("claimer", 0.5), self._loop("heart", 5.0)
        self.watchdog = Watchdog(
            manager=ServiceManager(),
            status=lambda: "",
            loops=lambda: (self.claimer, self.heart),
            metrics=self.metrics,
            probe=self._probe,
            command_timeout_s=COMMAND_TIMEOUT_S,
            now_s=lambda: self.now_s,
        )

    def _loop(self, name: str, interval_s: float) -> Looper:
        async def step() -> None:
            return

        looper = Looper(name=name, interval_s=interval_s, step=step, watch=self.metrics)
        looper.last_success_s = self.now_s
        return looper

    async def _probe(self) -> None:
        self.probes += 1
        if not self.database_answers:
            raise DatabaseUnavailable("away")

    async def after(self, duration_s: float, *, succeeding: tuple[Looper, ...] = ()) -> str | None:
        """What it finds after so long, when it has looked every second."""
        fault = None
        for _ in range(round(duration_s)):
            self.now_s += 1.0
            for looper in succeeding:
                looper.last_success_s = self.now_s
            fault = await self.watchdog.fault()
        return fault


@pytest.fixture
def post() -> Post:
    return Post()


async def test_it_is_fed_while_steps_succeed_and_nobody_asks_the_database(post: Post):
    assert await post.after(300, succeeding=(post.claimer, post.heart)) is None
    assert post.probes == 0


async def test_a_step_that_does_not_end_is_a_fault_even_while_the_database_is_away(post: Post):
    post.database_answers = False
    post.heart.step_began_s = post.now_s
    assert await post.after(STEP_S, succeeding=(post.claimer,)) is None
    fault = await post.after(2, succeeding=(post.claimer,))
    assert fault == "heart: a step has not ended for 42 s"


async def test_a_claimer_that_goes_on_finding_calls_makes_progress_although_its_step_goes_on(post: Post, monkeypatch):
    post.claimer.step_began_s = post.now_s
    monkeypatch.setattr("orchestrator.metrics.time.monotonic", lambda: post.now_s)
    for _ in range(30):
        post.metrics.claimed(calls=20, took_s=0.001)
        assert await post.after(10, succeeding=(post.heart,)) is None
    assert "claimer: a step has not ended" in (await post.after(STEP_S, succeeding=(post.heart,)) or "")


async def test_steps_that_fail_while_the_database_answers_are_a_fault(post: Post):
    assert await post.after(STEP_S + PATIENCE_S - 5, succeeding=(post.claimer,)) is None
    fault = await post.after(15, succeeding=(post.claimer,))
    assert fault is not None
    assert fault.startswith("heart: no step has succeeded for ")
    post.heart.last_success_s = post.now_s
    assert await post.after(1, succeeding=(post.claimer, post.heart)) is None


async def test_a_database_that_is_away_is_no_reason_to_end_live_calls(post: Post):
    post.database_answers = False
    assert await post.after(3600) is None


async def test_after_the_database_has_come_back_the_loops_have_time_to_notice(post: Post):
    post.database_answers = False
    await post.after(600)
    post.database_answers = True
    assert await post.after(PATIENCE_S - 1) is None
    assert await post.after(3) is not None


async def test_one_probe_that_fails_in_a_busy_moment_does_not_start_the_count_anew(post: Post):
    await post.after(STEP_S + PATIENCE_S - 5, succeeding=(post.claimer,))
    post.database_answers = False
    await post.after(2, succeeding=(post.claimer,))
    post.database_answers = True
    assert await post.after(10, succeeding=(post.claimer,)) is not None


async def test_a_database_that_hangs_counts_as_away(post: Post, monkeypatch):
    monkeypatch.setattr("orchestrator.watchdog.PROBE_TIMEOUT_S", 0.001)

    async def hang() -> None:
        await asyncio.Event().wait()

    post.watchdog._probe = hang
    assert await post.after(200) is None
