"""Rooms without a call: found and ended (DESIGN.md, I6).

A room of ours that belongs to no live call is somebody on the line with nobody in charge. Seen so in two sweeps it is deleted,
leg and all. Rooms that do not carry this deployment's id are never listed to us. A sweep that would end unusually many rooms is
more likely a mistake of ours than anything else: it stops, says so, and waits for an operator. It also waits while a restored
database is to be confirmed, since live calls may be missing in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from orchestrator.looper import Looper
from orchestrator.metrics import Metrics
from orchestrator.store.upkeep import UpkeepStore
from sip.errors import CarrierUnavailable
from sip.leg import Carrier, RoomName

log = structlog.get_logger(__name__)

STOPPED = "sweep_stopped"
"""Kind of the system's event of a sweep that stopped."""


class Leading(Protocol):
    """Who knows whether this worker leads; `orchestrator.scheduling.leadership.Leadership` is one."""

    @property
    def leads(self) -> bool:
        """Whether it does, now."""
        ...


class Sweeper:
    """Ends rooms without a call. Works on the leader only; harmless if two did."""

    def __init__(
        self,
        *,
        store: UpkeepStore,
        carrier: Carrier,
        leadership: Leading,
        most_rooms: int,
        interval_s: float,
        metrics: Metrics,
    ) -> None:
        """`most_rooms`: a sweep that would end more asks first."""
        self._store = store
        self._carrier = carrier
        self._leadership = leadership
        self.most_rooms = most_rooms
        self._metrics = metrics
        self._lost: frozenset[RoomName] = frozenset()
        """By the last sweep."""
        self._stopped = False
        self.looper = Looper(name="sweeper", interval_s=interval_s, step=self._sweep, watch=metrics)

    async def run(self) -> None:
        """Loop until stopped or cancelled."""
        await self.looper.run()

    async def _sweep(self) -> None:
        state = await self._store.sweep_state() if self._leadership.leads else None
        if state is None or state.held:
            self._lost = frozenset()
            self._metrics.sweep_stopped(0)
            return
        names = await self._carrier.room_names()
        seen_before, self._lost = self._lost, frozenset(await self._store.lost_rooms(names) if names else ())
        doomed = sorted(self._lost & seen_before)
        if len(doomed) > self.most_rooms and not state.allowed:
            await self._stop(doomed)
            return
        self._stopped = False
        self._metrics.sweep_stopped(0)
        failed: CarrierUnavailable | None = None
        for name in doomed:
            if not self._leadership.leads:
                return
            try:
                await self._carrier.close_room(name)
            except CarrierUnavailable as error:
                failed = error  # one room's trouble is not the others'
                continue
            self._metrics.room_swept()
            log.warning("room_swept", room=name)
        if failed is not None:
            raise failed
        if doomed and state.allowed:
            await self._store.end_sweep_permit()

    async def _stop(self, doomed: Sequence[RoomName]) -> None:
        self._metrics.sweep_stopped(len(doomed))
        log.error(
            "sweep_stopped",
            rooms=len(doomed),
            example=list(doomed[:5]),
            most=self.most_rooms,
            remedy="look at them, then `orchestrator sweep --allow`",
        )
        if not self._stopped:
            await self._store.record_event(
                STOPPED, detail={"rooms": len(doomed), "most": self.most_rooms, "example": doomed[0]}
            )
            self._stopped = True
