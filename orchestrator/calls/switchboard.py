"""All conductors of this process.

The switchboard takes claimed calls as long as it has seats, passes orders to the conductor that is meant, and empties itself
when the process is told to stop. It must not know how a call is conducted.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

import structlog

from orchestrator.calls.adoption import Adoption
from orchestrator.calls.conductor import CallStores, Conductor, ConductorTimes
from orchestrator.calls.inbox import Release
from orchestrator.calls.messenger import Opinion
from orchestrator.calls.orders import Order
from orchestrator.ids import CallId
from orchestrator.metrics import Metrics
from orchestrator.store.records import ClaimedCall
from orchestrator.store.recovery import AdoptedCall
from sip.clock import Clock
from sip.leg import Carrier, RoomName

log = structlog.get_logger(__name__)


class Switchboard:
    """Holds one conductor for each call that this process has claimed."""

    def __init__(
        self,
        *,
        seats: int,
        carrier: Carrier,
        stores: CallStores,
        clock: Clock,
        times: ConductorTimes,
        on_free: Callable[[], None],
        metrics: Metrics,
        in_doubt: Callable[[], bool] = lambda: False,
        opinion: Opinion | None = None,
    ) -> None:
        """`seats`: most calls at once. `on_free` is called whenever a seat has become free.

        `in_doubt`: whether calls may have been taken over by other workers meanwhile (orchestrator.calls.heart).
        `opinion`: whom conductors ask about verdicts that are not sure.
        """
        self._opinion = opinion
        self._seats = seats
        self._carrier = carrier
        self._stores = stores
        self._clock = clock
        self._times = times
        self._on_free = on_free
        self._metrics = metrics
        self._in_doubt = in_doubt
        self.leftovers: set[RoomName] = set()
        """Rooms of calls that have ended, which the carrier could not close yet."""
        self._conductors: dict[CallId, Conductor] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def free(self) -> int:
        """How many more calls this process takes now; 0 while draining."""
        return max(0, self._seats - len(self._tasks)) if self._open else 0

    @property
    def live(self) -> int:
        """How many calls are being conducted."""
        return len(self._tasks)

    def change(self, *, seats: int, times: ConductorTimes) -> None:
        """Take over new settings: the times hold for calls that come from now on; fewer seats than calls admit none."""
        self._seats = seats
        self._times = times

    @property
    def seats(self) -> int:
        """Most calls at once."""
        return self._seats

    @property
    def draining(self) -> bool:
        """It takes no more calls."""
        return not self._open

    @property
    def held(self) -> list[tuple[CallId, int]]:
        """The claims that are being conducted here, as calls and epochs."""
        return [(call_id, conductor.call.epoch) for call_id, conductor in self._conductors.items()]

    def take(self, calls: list[ClaimedCall]) -> None:
        """Start to conduct these calls. Calls beyond the seats are taken too: they are claimed, and somebody must."""
        for call in calls:
            conductor = Conductor(
                call=call,
                carrier=self._carrier,
                stores=self._stores,
                clock=self._clock,
                times=self._times,
                leftovers=self.leftovers,
                metrics=self._metrics,
                in_doubt=self._in_doubt,
                opinion=self._opinion,
            )
            self._seat(conductor)

    def adopt(self, adopted: AdoptedCall) -> None:
        """Go on conducting a call whose worker died; beyond the seats, too: it is live, and somebody must."""
        adoption = Adoption(
            adopted=adopted,
            carrier=self._carrier,
            stores=self._stores,
            clock=self._clock,
            times=self._times,
            leftovers=self.leftovers,
            metrics=self._metrics,
            in_doubt=self._in_doubt,
        )
        self._seat(adoption)

    def drop(self, call_id: CallId, epoch: int) -> None:
        """This claim is not ours any more; harmless for a call that is not here."""
        conductor = self._conductors.get(call_id)
        if conductor is not None and conductor.call.epoch == epoch:
            conductor.drop()

    def cancel(self, call_id: CallId, epoch: int) -> None:
        """Pass on a request to cancel; harmless for a call that is not here any more, and when repeated."""
        conductor = self._conductors.get(call_id)
        if conductor is not None and conductor.call.epoch == epoch:
            conductor.order(Order.CANCEL)

    def close(self) -> None:
        """Take no more calls, and give back those that have not been dialled."""
        self._open = False
        for conductor in self._conductors.values():
            conductor.order(Release.RELEASE)

    def release_undialled(self) -> None:
        """Give back what has not been dialled: dialling was stopped, and an intent may be waiting for its dial time."""
        for conductor in self._conductors.values():
            conductor.order(Release.RELEASE)

    async def wait_until_empty(self) -> None:
        """Until no call is being conducted."""
        await self._empty.wait()

    def hang_up_all(self) -> None:
        """End all calls now, live conversations too: WORKER_SHUT_DOWN."""
        for conductor in self._conductors.values():
            conductor.order(Order.SHUT_DOWN)

    def _seat(self, conductor: Conductor) -> None:
        call = conductor.call
        # A call may come back while its last conductor still puts things away: it has a new epoch, and the newer counts.
        self._conductors[call.call_id] = conductor
        task = asyncio.create_task(conductor.run(), name=f"call {call.call_id}.{call.epoch}")
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._has_left, conductor))
        if not self._open:
            conductor.order(Release.RELEASE)
        self._empty.clear()
        self._metrics.live_calls(len(self._tasks))

    def _has_left(self, conductor: Conductor, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._conductors.get(conductor.call.call_id) is conductor:
            del self._conductors[conductor.call.call_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("conductor_raised", call_id=conductor.call.call_id, exc_info=error)
        if not self._tasks:
            self._empty.set()
        self._metrics.live_calls(len(self._tasks))
        self._on_free()
