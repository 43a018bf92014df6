"""What goes wrong, drawn from the seed: several things at once, on different workers, as long as there is traffic to spoil."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.places import LEASE_S, Worker
from tests.chaos.steps import INTENT_TO_REQUEST, RARE_STEPS, STEPS
from tests.chaos.world import World

PATIENCE_S = 6.0
"""How long a step that was armed may take to be reached."""
PAUSE_S = (0.1, 0.6)
"""Between the beginnings of two faults."""
DOWN_S = (0.2, 5.0)
"""How long a worker that was killed stays away."""
MOST_AT_ONCE = 3
MOST_DELAY_S = 1.5
AHEAD = 3
"""How many faults may be ahead of the traffic, so that both end together."""
WEIGHTS = {
    "kill at a step": 8,
    "stop past the lease": 3,
    "stop between intent and request": 3,
    "terminate backends": 4,
    "restart postgres": 1,
    "cut the wire to the database": 3,
    "delay the wire to the database": 2,
    "lose answers of the database": 3,
    "cut the wire to livekit": 3,
    "delay the wire to livekit": 2,
    "lose the answer of a request": 4,
}
LOST_DIAL = "lose the answer of a dial"
"""A kind of "lose the answer of a request" that is drawn only where it is asked for."""
OF_POSTGRES = ("terminate backends", "restart postgres")
LOST = (b"CreateSIPParticipant", b"CreateRoom", b"DeleteRoom", b"ListParticipants")


@dataclass(slots=True)
class Faults:
    """Draws faults and makes them happen; what happened is counted."""

    world: World
    total: int
    chance: random.Random
    progress: Callable[[], float]
    """Which part of the traffic is over, from 0 to 1."""
    first: Sequence[str] = ()
    """Kinds that are tried before all others, until each has happened."""
    done: Counter[str] = field(default_factory=Counter)
    steps_hit: Counter[str] = field(default_factory=Counter)
    _steps: list[str] = field(default_factory=list)
    _rare: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    _back_at_s: dict[int, float] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """What is to happen first and has not."""
        return [name for name in self.first if not self.done[name]]

    @property
    def count(self) -> int:
        """How many have happened."""
        return self.done.total()

    async def run(self) -> None:
        """Until `total` faults have happened, and what is to happen `first`. A step that is not reached in time is none."""
        makers: dict[str, Callable[[Worker], Awaitable[bool]]] = {
            "kill at a step": self._kill_at_a_step,
            "stop past the lease": self._stop_past_the_lease,
            "stop between intent and request": self._stop_between_intent_and_request,
            "terminate backends": self._terminate,
            "restart postgres": self._restart,
            "cut the wire to the database": self._cut_database,
            "delay the wire to the database": self._delay_database,
            "lose answers of the database": self._lose_database_answers,
            "cut the wire to livekit": self._cut_livekit,
            "delay the wire to livekit": self._delay_livekit,
            "lose the answer of a request": self._lose_answer,
            LOST_DIAL: lambda worker: self._lose_answer(worker, b"CreateSIPParticipant"),
        }
        busy: dict[int, asyncio.Task[None]] = {}

        async def make(name: str, worker: Worker) -> None:
            if await makers[name](worker):
                self.done[name] += 1

        keeping = asyncio.create_task(self._keep_running())
        try:
            while self.missing or self.count + len(busy) < self.total or busy:
                for key, task in tuple(busy.items()):
                    if task.done():
                        del busy[key]
                        task.result()
                under_way = self.count + len(busy)
                is_time = under_way < min(self.total, self.progress() * self.total + AHEAD)
                self._tend_rare_steps(may_arm=is_time)
                if (is_time or self.missing) and len(busy) < MOST_AT_ONCE:
                    (name,) = self.chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
                    if self.missing:
                        name = self.chance.choice(self.missing)
                    worker = self.chance.choice(self.world.workers)
                    key = 0 if name in OF_POSTGRES else worker.number
                    if key not in busy and (key == 0 or worker.is_running):
                        busy[key] = asyncio.create_task(make(name, worker))
                await asyncio.sleep(self.chance.uniform(*PAUSE_S))
        finally:
            keeping.cancel()
            for task in busy.values():
                task.cancel()
            await asyncio.gather(keeping, *busy.values(), return_exceptions=True)
            self.heal()

    async def _keep_running(self) -> None:
        """Start workers that are gone again, some time later, as systemd would."""
        while True:
            for worker in self.world.workers:
                if not worker.is_running:
                    back_at_s = self._back_at_s.setdefault(worker.number, time.monotonic() + self.chance.uniform(*DOWN_S))
                    if time.monotonic() >= back_at_s:
                        del self._back_at_s[worker.number]
                        worker.start()
            await asyncio.sleep(0.1)

    def heal(self) -> None:
        """End everything that is still wrong."""
        for worker in self.world.workers:
            for wire in (worker.to_database, worker.to_livekit):
                wire.is_cut, wire.is_mute, wire.delay_s, wire.lose_answers_to = False, False, 0.0, b""
            worker.disarm()
            worker.signal(signal.SIGCONT)
            if not worker.is_running:
                worker.start()

    def _tend_rare_steps(self, *, may_arm: bool) -> None:
        """Steps that few calls come to stay armed beside everything else, one on each worker."""
        for worker in self.world.workers:
            step, starts, before = self._rare.get(worker.number, ("", 0, 0))
            if step and any(hit["step"] == step for hit in worker.hit()[before:]):
                self.done["kill at a step"] += 1
                self.steps_hit[step] += 1
                del self._rare[worker.number]
            elif may_arm and worker.is_running and starts != worker.starts:
                step = step or self.chance.choice(RARE_STEPS)
                if worker.arm(step, "kill"):
                    self._rare[worker.number] = (step, worker.starts, len(worker.hit()))

    async def _hit(self, worker: Worker, step: str, what: str) -> bool:
        before = len(worker.hit())
        worker.arm(step, what)
        deadline_s = time.monotonic() + PATIENCE_S
        while not any(hit["step"] == step for hit in worker.hit()[before:]):
            if time.monotonic() > deadline_s or not worker.is_running:
                worker.disarm(step)
                return False
            await asyncio.sleep(0.05)
        self.steps_hit[step] += 1
        return True

    async def _kill_at_a_step(self, worker: Worker) -> bool:
        if not self._steps:
            self._steps = [step for step in STEPS if step not in RARE_STEPS]
            self.chance.shuffle(self._steps)
        return await self._hit(worker, self._steps.pop(), "kill")

    async def _stop_past_the_lease(self, worker: Worker) -> bool:
        worker.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(LEASE_S + self.chance.uniform(0.5, 3))
        finally:
            worker.signal(signal.SIGCONT)
        return worker.is_running

    async def _stop_between_intent_and_request(self, worker: Worker) -> bool:
        try:
            if not await self._hit(worker, self.chance.choice(INTENT_TO_REQUEST), "stop"):
                return False
            await asyncio.sleep(self.chance.choice((0.5, 2.5, LEASE_S + 2)))
        finally:
            worker.signal(signal.SIGCONT)
        return True

    async def _terminate(self, _worker: Worker) -> bool:
        return await self.world.cut_backends(self.chance.randint(1, 6)) > 0

    async def _restart(self, _worker: Worker) -> bool:
        await self.world.restart_postgres()
        return True

    async def _cut_database(self, worker: Worker) -> bool:
        worker.to_database.is_cut = True
        worker.to_database.cut_all()
        await asyncio.sleep(self.chance.choice((0.2, 1.0, LEASE_S + 2)))
        worker.to_database.is_cut = False
        return True

    async def _delay_database(self, worker: Worker) -> bool:
        worker.to_database.delay_s = self.chance.uniform(0.05, 0.8)
        await asyncio.sleep(2)
        worker.to_database.delay_s = 0
        return True

    async def _lose_database_answers(self, worker: Worker) -> bool:
        """What was committed is committed, and nobody has told the worker."""
        wire = worker.to_database
        before = wire.answers_lost
        wire.is_mute = True
        deadline_s = time.monotonic() + PATIENCE_S
        while wire.answers_lost < before + 3 and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
        wire.is_mute = False
        return wire.answers_lost > before

    async def _cut_livekit(self, worker: Worker) -> bool:
        worker.to_livekit.is_cut = True
        worker.to_livekit.cut_all()
        await asyncio.sleep(self.chance.choice((0.2, 1.5, 5)))
        worker.to_livekit.is_cut = False
        return True

    async def _delay_livekit(self, worker: Worker) -> bool:
        worker.to_livekit.delay_s = self.chance.uniform(0.1, MOST_DELAY_S)
        await asyncio.sleep(3)
        worker.to_livekit.delay_s = 0
        return True

    async def _lose_answer(self, worker: Worker, request: bytes = b"") -> bool:
        wire = worker.to_livekit
        before = wire.answers_lost
        wire.lose_answers_to = request or self.chance.choice(LOST)
        deadline_s = time.monotonic() + PATIENCE_S
        with contextlib.suppress(asyncio.CancelledError):
            while wire.answers_lost == before and time.monotonic() < deadline_s:
                await asyncio.sleep(0.05)
        wire.lose_answers_to = b""
        return wire.answers_lost > before
