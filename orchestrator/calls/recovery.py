"""Calls that lost their worker.

A worker is dead when its heartbeat is older than the lease, by the database's clock. Its calls that were only claimed go back
to the queue. Those that may have rung are never dialled again: their rooms are looked at, a leg that is alive is left to talk,
and what is gone is fenced (its room deleted) and ended as WORKER_LOST, or LEG_LOST once it had been answered (DESIGN.md,
Postgres and The fence).

It also closes rooms that could not be closed when their calls ended, and finds calls that the database counts as this worker's
and that no conductor here holds, since a claim's answer was lost.
"""

from __future__ import annotations

import structlog

from orchestrator.calls.switchboard import Switchboard
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.outcomes import EndReason, answered_by, final_state
from orchestrator.store.queue import QueueStore
from orchestrator.store.records import Outcome, StrandedCall, WaitingFor
from sip.leg import Carrier, Dialled, LiveRoom

log = structlog.get_logger(__name__)

UNCERTAIN_S = 95.0
"""How long after its intent a dial may still reach the carrier or ring: the longest ring time of a request (75 s), the server's
own patience with a dial (80 s) and a margin. Until then a dial without a room is not taken for dead."""


class Recovery:
    """Gives back, or ends, the calls of workers that are dead. Runs on every worker; the writes are guarded by the epoch."""

    def __init__(
        self,
        *,
        store: QueueStore,
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
        self._unheld: set[tuple[CallId, int]] = set()
        self.looper = Looper(name="recovery", interval_s=interval_s, step=self._recover, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def _recover(self) -> None:
        await self._close_leftovers()
        stranded = await self._store.stranded_calls(lease_s=self._lease_s)
        unheld = [call for call in stranded if not self._switchboard.holds(call.call_id, call.epoch)]
        # Seen so by two looks in a row: a claim of this worker may have been committed and not have reached its conductor yet.
        seen_before, self._unheld = self._unheld, {(call.call_id, call.epoch) for call in unheld}
        stranded = [call for call in unheld if (call.call_id, call.epoch) in seen_before]
        claimed = [call for call in stranded if call.state is State.CLAIMED]
        dialled = [call for call in stranded if call.state is not State.CLAIMED]
        for call in claimed:
            moved = await self._store.requeue(
                call, delay_s=0.0, waiting_for=WaitingFor.SLOT, detail={"why": "its worker is gone, nobody was dialled"}
            )
            if moved:
                log.info("call_recovered", call_id=call.call_id, epoch=call.epoch, state=call.state.value)
                self._metrics.recovered("requeued")
        if dialled:
            rooms = {room.name: room for room in await self._carrier.list_rooms()}
            for call in dialled:
                name = self._carrier.room_name(call_id=str(call.call_id), epoch=call.epoch)
                await self._recover_dialled(call, rooms.get(name))

    async def _close_leftovers(self) -> None:
        for name in tuple(self._switchboard.leftovers):
            await self._carrier.close_room(name)
            self._switchboard.leftovers.discard(name)
            log.info("room_closed_late", room=name)

    async def _recover_dialled(self, call: StrandedCall, room: LiveRoom | None) -> None:
        if room is not None and room.has_leg:
            return  # somebody may be talking; the dial's own limits end it, and then we come by again
        if call.state is not State.ACTIVE and call.since_intent_s < UNCERTAIN_S:
            return  # the request may still be on its way
        await self._carrier.close_room(self._carrier.room_name(call_id=str(call.call_id), epoch=call.epoch))
        if room is not None:
            return  # looked at once more after the fence: LiveKit can revive a room that is deleted while a leg joins it
        answered = call.state is State.ACTIVE
        reason = EndReason.LEG_LOST if answered else EndReason.WORKER_LOST
        outcome = Outcome(
            state=final_state(reason, answered=answered),
            reason=reason,
            dialled=Dialled.UNKNOWN if call.state is State.DIALING else Dialled.YES,
            answered_by=answered_by(reason, answered=answered),
            error_message="the worker that conducted this call is gone, and so is its leg",
            evidence={"found_by": "recovery"},
        )
        if await self._store.finish(call, outcome):
            log.info("call_ended", call_id=call.call_id, epoch=call.epoch, end_reason=reason.value)
            self._metrics.recovered("ended")
            self._metrics.call_ended(reason.value)
