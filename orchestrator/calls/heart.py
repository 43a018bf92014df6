"""This worker's sign of life, and what follows when it came too late. The database's clock decides whether it is late.

A process may stand still for longer than its lease, stopped by a signal or on a machine that was suspended, and go on as if
nothing had happened, while others have taken its calls over. So with each beat it asks which of its claims are still its own,
and drops the conductors of those that are not; and from a standstill until that answer it is in doubt: nothing is done to a
call without the database's word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from orchestrator.calls.switchboard import Switchboard
from orchestrator.ids import WorkerId
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.cluster import ClusterStore
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.workers import WorkerStore
from sip.clock import boot_time_s

log = structlog.get_logger(__name__)

TICK_S = 0.25
STANDSTILL_S = 1.0
"""Without a tick for so long, the process stood still, or its event loop did."""
MARGIN = 0.1
"""Share of the lease by which we doubt before others may act."""


class Standing:
    """Whether this process may still act on its calls without asking; by a clock that counts suspended time."""

    def __init__(self, *, lease_s: float, now_s: Callable[[], float] = boot_time_s) -> None:
        self._lease_s = lease_s * (1 - MARGIN)
        self._now_s = now_s
        self._ticked_s = self._confirmed_s = now_s()
        self._doubt = False

    def in_doubt(self) -> bool:
        """Whether it stood still for so long that others may have taken its calls over, and nobody has looked since."""
        now_s = self._now_s()
        if now_s - self._ticked_s > STANDSTILL_S and now_s - self._confirmed_s > self._lease_s:
            self._doubt = True
        return self._doubt

    def tick(self) -> None:
        """The event loop turns."""
        if self.in_doubt():
            log.warning("stood_still", for_s=round(self._now_s() - self._ticked_s, 1))
        self._ticked_s = self._now_s()

    def confirm(self, asked_s: float) -> None:
        """The database was asked at `asked_s` (this clock) and has told which claims are ours."""
        if self._now_s() - asked_s <= self._lease_s:  # else others may have come in between again
            self._confirmed_s, self._doubt = asked_s, False

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(TICK_S)


class Heart:
    """Beats in this worker's row, until the last call has ended."""

    def __init__(
        self,
        *,
        store: WorkerStore,
        recovery: RecoveryStore,
        cluster: ClusterStore,
        worker_id: WorkerId,
        switchboard: Switchboard,
        standing: Standing,
        interval_s: float,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._recovery = recovery
        self._cluster = cluster
        self._worker_id = worker_id
        self._switchboard = switchboard
        self._standing = standing
        self._metrics = metrics
        self._held_why = ""
        self.looper = Looper(name="heart", interval_s=interval_s, step=self._beat, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def _beat(self) -> None:
        asked_s = boot_time_s()
        board = self._switchboard
        await self._store.heartbeat(self._worker_id, live_calls=board.live, capacity=board.seats, draining=board.draining)
        # After the beat, which waits for whoever is taking calls over: what is ours now stays ours for a lease.
        for call_id, epoch in await self._recovery.lost_claims(board.held):
            log.warning("claim_taken_over", call_id=call_id, epoch=epoch)
            board.drop(call_id, epoch)
        self._standing.confirm(asked_s)
        held_why = await self._cluster.watch()
        if held_why and held_why != self._held_why:
            log.error(
                "dialling_held", why=held_why, remedy="see that nobody is called twice, then `orchestrator confirm-restore`"
            )
        self._held_why = held_why
        self._metrics.dialling_held(bool(held_why))
