"""Calls that lost their worker.

A worker is dead when its heartbeat is older than the lease, by the database's clock. Its calls that were only claimed go back
to the queue. Those that were dialled are never dialled again: they are taken over, under a new epoch, by exactly one worker,
which goes on with them or ends them (orchestrator.calls.adoption).

It also finds calls that the database counts as this worker's and that no conductor here holds, since a claim's answer was lost,
and closes rooms that could not be closed when their calls ended.
"""

from __future__ import annotations

import random

import structlog

from orchestrator.calls.switchboard import Switchboard
from orchestrator.errors import DatabaseUnavailable
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.recovery import RecoveryStore, StrandedCall
from sip.clock import boot_time_s
from sip.errors import CarrierUnavailable
from sip.leg import Carrier

log = structlog.get_logger(__name__)

NEVER_S = 1e9
"""No server has been up for so long."""


class Recovery:
    """Gives back, or takes over, the calls of workers that are dead. Runs on every worker; the database lets one win."""

    def __init__(
        self,
        *,
        store: RecoveryStore,
        carrier: Carrier,
        switchboard: Switchboard,
        lease_s: float,
        interval_s: float,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._switchboard = switchboard
        self._lease_s = lease_s
        self._metrics = metrics
        self._seen: set[tuple[CallId, int]] = set()
        self._away = False
        self._back_s = float("-inf")
        """When the database could be reached again, by a clock that counts suspended time."""
        self.looper = Looper(name="recovery", interval_s=interval_s, step=self._recover, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def _recover(self) -> None:
        stranded = await self._find()
        # Seen so by two looks in a row: a claim of this worker may have been committed and not have reached its conductor yet.
        seen_before, self._seen = self._seen, {(call.call_id, call.epoch) for call in stranded}
        mine = [
            call
            for call in stranded
            if (call.call_id, call.epoch) in seen_before and (call.call_id, call.epoch) not in set(self._switchboard.held)
        ]
        random.shuffle(mine)  # several workers find the same calls at the same moment, and share them so
        for call in mine:
            if call.state is State.CLAIMED:
                if await self._store.requeue(call, lease_s=self._lease_s):
                    log.info("call_recovered", call_id=call.call_id, epoch=call.epoch)
                    self._metrics.recovered("requeued")
                    # An agent may wait in it; nobody was dialled into it, and nobody will be.
                    name = self._carrier.room_name(call_id=str(call.call_id), epoch=call.epoch)
                    self._switchboard.leftovers.add(name)
            else:
                adopted = await self._store.adopt(call, lease_s=self._lease_s)
                if adopted is not None:
                    self._switchboard.adopt(adopted)
        await self._close_leftovers()

    async def _find(self) -> list[StrandedCall]:
        """What is stranded. After an outage of the database nobody's silence counts for a lease: they could not be heard."""
        up_s = self._lease_s if boot_time_s() >= self._back_s + self._lease_s else NEVER_S
        try:
            found = await self._store.stranded_calls(lease_s=self._lease_s, held=self._switchboard.held, up_s=up_s)
        except DatabaseUnavailable:
            self._away = True
            raise
        if self._away:
            self._away, self._back_s, self._seen = False, boot_time_s(), set()
            return []
        return found

    async def _close_leftovers(self) -> None:
        failed: CarrierUnavailable | None = None
        for name in tuple(self._switchboard.leftovers):
            try:
                await self._carrier.close_room(name)
            except CarrierUnavailable as error:
                failed = error  # one room's trouble is not the others'
                continue
            self._switchboard.leftovers.discard(name)
            log.info("room_closed_late", room=name)
        if failed is not None:
            raise failed
