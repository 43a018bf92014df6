"""Pacing of one trunk: 4 workers, 20 calls a second, 60 s. Preparing a call takes as long as rooms and agents take.

What the trunk's operator would count is the far end's own window: a process of its own notes when each request comes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import socket
import time
from multiprocessing.connection import Connection

import asyncpg

from orchestrator.store.ends import EndsStore
from orchestrator.store.gate import GateStore
from orchestrator.store.pool import Database
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import ClaimedCall, DialForbidden, End, WaitingFor
from orchestrator.store.workers import WorkerStore
from tests.bench.queue.layout import Layout, drop_database, furnish, new_database
from tests.bench.queue.ours import NEVER_DIALLED

WORKERS = 4
CPS = 20
FOR_S = 60.0
LEAST_MEAN = 19.0
PREPARING_S = (0.1, 0.6)
POLL_S = 0.1
Rows = list[tuple[str, str, str]]


def far_end(door: Connection) -> None:
    """Tells its port, notes when each datagram comes, and sends the times when an empty one has come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        door.send(listening.getsockname()[1])
        came_s = []
        while listening.recv(64):
            came_s.append(time.perf_counter())
    door.send(came_s)


class Worker:
    """Claims, prepares, passes the gate, keeps the dial time, sends, ends."""

    def __init__(self, *, database: Database, queue: QueueStore, chance: random.Random, trunk: socket.socket) -> None:
        """`trunk`: connected to the far end."""
        self._trunk = trunk
        self.sent_back = 0
        """Calls that the gate sent back, since the trunk's dial times were too far ahead."""
        self._queue = queue
        self._gate = GateStore(database=database)
        self._ends = EndsStore(database=database)
        self._chance = chance
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self, until_s: float) -> None:
        """Until then; calls that are under way end first."""
        while time.perf_counter() < until_s:
            for call in await self._queue.claim_calls(20):
                task = asyncio.create_task(self._conduct(call))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
            await asyncio.sleep(POLL_S)
        if self._calls:
            await asyncio.gather(*self._calls)

    async def _conduct(self, call: ClaimedCall) -> None:
        await asyncio.sleep(self._chance.uniform(*PREPARING_S))
        answer = await self._gate.begin_dial(call, room=f"room-{call.call_id}-{call.epoch}", caller_ids=[])
        if isinstance(answer, DialForbidden):
            self.sent_back += 1
            await self._ends.requeue(call, delay_s=answer.retry_in_s or 0.0, waiting_for=WaitingFor.SLOT, detail={})
            return
        if answer is None:
            raise RuntimeError(f"call {call.call_id} was taken away")
        await asyncio.sleep(answer.dial_in_s)
        self._trunk.send(str(call.call_id).encode())
        (finished,) = await self._ends.finish_all([End(call=call, outcome=NEVER_DIALLED)])
        if not finished.ours:
            raise RuntimeError(f"call {call.call_id} could not be ended")


def worst_window(times_s: list[float]) -> int:
    """Most of these moments in any one second."""
    ordered = sorted(times_s)
    worst = first = 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= 1.0 - 1e-6:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


async def run(server_url: str) -> Rows:
    """Rows of (what, measured, wanted)."""
    url = await new_database(server_url, "pacing")
    await furnish(url, Layout(calls=4_000, accounts=500, groups=1, trunks_per_group=1))
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE trunk_channels SET max_cps = $1", CPS)
    database = Database(url, min_size=WORKERS, max_size=4 * WORKERS)
    await database.open()
    context = multiprocessing.get_context("spawn")
    door, other = context.Pipe()
    listening = context.Process(target=far_end, args=(other,), daemon=True)
    listening.start()
    trunk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    trunk.connect(("127.0.0.1", door.recv()))
    workers = []
    for number in range(WORKERS):
        worker_id = await WorkerStore(database=database).register(name=f"worker-{number}", version="0", capacity=100)
        queue = QueueStore(database=database, worker_id=worker_id)
        workers.append(Worker(database=database, queue=queue, chance=random.Random(number), trunk=trunk))
    until_s = time.perf_counter() + FOR_S
    await asyncio.gather(*(worker.run(until_s) for worker in workers))
    granted_s = [row[0].timestamp() for row in await connection.fetch("SELECT dial_at FROM dials ORDER BY dial_at")]
    await connection.close()
    await database.close()
    await drop_database(server_url, "pacing")
    trunk.send(b"")
    came_s = door.recv()
    listening.join(timeout=10)
    trunk.close()
    # From the first grant to the last: what comes before is the preparing of the first call.
    mean = (len(granted_s) - 1) / (granted_s[-1] - granted_s[0])
    return [
        (f"most grants in any second, {CPS} calls a second, {WORKERS} workers", f"{worst_window(granted_s)}", f"at most {CPS}"),
        ("mean of the grants, calls a second", f"{mean:.2f}", f"at least {LEAST_MEAN:g}"),
        ("most requests in any second as the far end sees them", f"{worst_window(came_s)}", f"{CPS} if it arrives as sent"),
    ]
