"""The carrier that dials through LiveKit's SIP service. The port's `Carrier`.

A dial is one request in a task of its own that nobody cancels while the carrier is open: cancelling it would not end the dial
at the far end, it would only blind us. Legs are ended by deleting their room.

Knows nothing of accounts, queues or Postgres.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog
from livekit.protocol import models as proto_models
from livekit.protocol import sip as proto_sip

from sip.clock import Clock
from sip.errors import BadPlan, CarrierUnavailable, RoomRefused
from sip.events import ListeningLost, Moment
from sip.leg import DialPlan, Finding, Leg, LegRecord, LiveRoom, Room, RoomName, RoomPlan
from sip.livekit.adopted import AdoptedLeg
from sip.livekit.api import LiveKitRefusal, LiveKitServer
from sip.livekit.checks import LiveKitChecks
from sip.livekit.failures import DialFailure, result_unknown
from sip.livekit.leg import LiveKitLeg
from sip.livekit.listening.listeners import Listeners
from sip.livekit.orders import RoomOrders
from sip.livekit.requests import dial_request, leg_identity, room_request
from sip.livekit.room import LiveKitRoom
from sip.livekit.rooms import Deployment, Role, Span, read_view
from sip.livekit.timings import LiveKitTimings, Observer, Unobserved
from sip.livekit.watch import Watch
from sip.livekit.webhooks import WebhookInbox

log = structlog.get_logger(__name__)

FENCE_AGE_S = 60.0
"""For so long is believed what was found out about the fence: to ask takes seconds, and a server is seldom configured anew."""


class LiveKitCarrier:
    """Dials through one LiveKit. Safe for thousands of rooms in one event loop."""

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        api_secret: str,
        deployment_id: UUID,
        clock: Clock,
        timings: LiveKitTimings | None = None,
        listeners: Listeners | None = None,
        observer: Observer | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` must run at real speed, as telephones do. `wall_clock`: seconds since the epoch, for ages.

        `listeners`: run and closed with the carrier; None: nobody listens, and rooms that are to be listened to are told so.
        """
        if clock.scale != 1:
            raise ValueError("real telephones do not run faster: the LiveKit carrier needs a clock of scale 1")
        self._clock = clock
        self._wall_clock = wall_clock
        self._timings = timings or LiveKitTimings()
        self._observer = observer or Unobserved()
        self._deployment = Deployment(deployment_id=deployment_id)
        self._server = LiveKitServer(
            url=url, api_key=api_key, api_secret=api_secret, timings=self._timings, observer=self._observer
        )
        self._watch = Watch(server=self._server, clock=clock, timings=self._timings, observer=self._observer)
        self.webhooks = WebhookInbox(
            api_key=api_key,
            api_secret=api_secret,
            deployment=self._deployment,
            clock=clock,
            timings=self._timings,
            observer=self._observer,
            hint=self._watch.hint,
            notice=self._watch.notice,
            wall_clock=wall_clock,
        )
        """Where the HTTP door brings LiveKit's webhooks."""
        self._checks = LiveKitChecks(server=self._server, deployment=self._deployment, inbox=self.webhooks, clock=clock)
        self._listeners = listeners
        self._dials: set[asyncio.Task[None]] = set()
        self._adoptions = asyncio.Semaphore(self._timings.looks_at_once)
        self._fence_lock = asyncio.Lock()
        self._fence = False
        self._fence_s: float | None = None  # when that was looked at

    @property
    def is_real(self) -> bool:
        """A real phone can ring."""
        return True

    def room_name(self, *, call_id: str, epoch: int) -> RoomName:
        """`oc-<8 hex digits of the deployment>-<call>-<epoch>`."""
        return self._deployment.room_name(call_id=call_id, epoch=epoch)

    async def open_room(self, plan: RoomPlan) -> Room:
        """Make the room and have the agent asked to join it, in one request. Raises CarrierUnavailable or RoomRefused."""
        if not self._deployment.named_ours(plan.name):
            raise RoomRefused(f"room {plan.name} is not named by this deployment")
        if not plan.agent_name:
            raise RoomRefused("a room needs the name of an agent; without one LiveKit would send any agent that has no name")
        try:
            await self._server.create_room(room_request(plan, deployment=self._deployment, timings=self._timings))
        except LiveKitRefusal as refusal:
            raise RoomRefused(f"LiveKit will not make room {plan.name}: {refusal.message} ({refusal.code})") from None
        room = LiveKitRoom(
            name=plan.name,
            clock=self._clock,
            timings=self._timings,
            webhooks_work=lambda: self.webhooks.work,
            changed=self._watch.reschedule,
        )
        self._watch.add(room)
        if plan.listening is not None and self._listeners is None:
            room.tell(ListeningLost(at=Moment(self._clock.now_s()), why="there are no listeners"))
        elif plan.listening is not None and self._listeners is not None:
            # While the agent is on its way.
            await self._listeners.listen(plan.name, plan.listening, lasts_s=plan.max_duration_s, tell=room.tell_heard)
        return room

    async def dial(self, room: Room, plan: DialPlan) -> Leg:
        """Send the one request and return at once. Raises BadPlan, before anything was sent."""
        if not isinstance(room, LiveKitRoom) or self._watch.find(room.name) is not room:
            raise BadPlan(f"room {room.name} is closed or not of this carrier")
        if room.leg is not None:
            raise BadPlan(f"room {room.name} has a leg already; each dial has a room of its own")
        request = dial_request(plan, room=room.name, timings=self._timings)
        leg = LiveKitLeg(
            plan=plan,
            identity=leg_identity(plan),
            clock=self._clock,
            timings=self._timings,
            tell=room.tell,
            orders=self._orders(room, leg_identity(plan)),
            webhooks_work=lambda: self.webhooks.work,
        )
        room.leg = leg
        task = asyncio.create_task(self._send(room, leg, plan, request), name=f"livekit-dial {room.name}")
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        room.moved()
        return leg

    async def _send(
        self, room: LiveKitRoom, leg: LiveKitLeg, plan: DialPlan, request: proto_sip.CreateSIPParticipantRequest
    ) -> None:
        timeout_s = plan.request_ring_s + self._timings.dial_margin_s

        def may_leave() -> bool:
            return leg.may_be_sent and (plan.not_after_s is None or self._clock.now_s() <= plan.not_after_s)

        try:
            answer = await self._server.dial(request, timeout_s=timeout_s, may_leave=may_leave)
        except Exception as error:
            # A defect of ours; whether the request left is not known, so the room must tell.
            self._observer.carrier_error("defect")
            log.exception("livekit_dial_failed", room=room.name, call_id=plan.call_id)
            answer = result_unknown(f"defect: {type(error).__name__}")
        if isinstance(answer, DialFailure):
            if not answer.over:
                self._observer.carrier_error("dial_unknown")
                log.warning("livekit_dial_unknown", room=room.name, call_id=plan.call_id, text=answer.signal.text)
            leg.request_failed(answer)
        else:
            leg.request_answered({"livekit_sip_call_id": answer.sip_call_id, "participant_sid": answer.participant_id})
            if leg.room_must_go and self._watch.find(room.name) is None:
                # Given up long ago, and somebody picks up nevertheless.
                log.warning("livekit_answer_after_the_end", room=room.name, call_id=plan.call_id)
                try:
                    await self._server.delete_room(room.name)
                except (CarrierUnavailable, LiveKitRefusal) as error:
                    log.warning("livekit_room_not_deleted", room=room.name, error=str(error))
        room.moved()

    async def adopt(self, record: LegRecord) -> tuple[Room, Leg] | None:
        """Look at the room, and watch over its leg from now on; None if it is not there. Raises CarrierUnavailable."""
        async with self._adoptions:  # the calls of a dead worker are looked for all at once
            sent_s = self._clock.now_s()
            try:
                view = read_view(await self._server.list_participants(record.room), Span(sent_s, self._clock.now_s()))
            except LiveKitRefusal as refusal:
                raise CarrierUnavailable(f"LiveKit would not show {record.room}: {refusal.message} ({refusal.code})") from None
        identity = leg_identity(record.plan)
        if identity not in view.occupants:
            return None
        room = LiveKitRoom(
            name=record.room,
            clock=self._clock,
            timings=self._timings,
            webhooks_work=lambda: self.webhooks.work,
            changed=self._watch.reschedule,
        )
        leg = AdoptedLeg(
            record=record,
            identity=identity,
            clock=self._clock,
            timings=self._timings,
            tell=room.tell,
            orders=self._orders(room, identity),
        )
        room.leg = leg
        self._watch.add(room)
        room.see(view)
        room.moved()
        return room, leg

    async def has_fence(self) -> bool:
        """Whether the server's `room.auto_create` is off, as far as that can be told; looked at anew every `FENCE_AGE_S`."""
        async with self._fence_lock:
            if self._fence_s is None or self._clock.now_s() - self._fence_s > FENCE_AGE_S:
                self._fence = (await self._checks.fence()).ok
                self._fence_s = self._clock.now_s()
            return self._fence

    async def close_room(self, name: RoomName) -> None:
        """Delete the room with all that is in it; no error if there is none. Raises CarrierUnavailable."""
        room = self._watch.find(name)
        if room is not None and room.leg is not None:
            room.leg.order_end()
        try:
            await self._server.delete_room(name)
        except LiveKitRefusal as refusal:
            raise CarrierUnavailable(f"LiveKit would not delete room {name}: {refusal.message} ({refusal.code})") from None
        if self._listeners is not None:
            self._listeners.leave(name)
        if room is None:
            return
        if room.leg is None:
            room.closed = True
        else:
            room.leg.room_deleted()
        room.moved()

    def _orders(self, room: LiveKitRoom, identity: str) -> RoomOrders:
        return RoomOrders(
            room=room,
            identity=identity,
            server=self._server,
            listeners=self._listeners,
            close=lambda: self.close_room(room.name),
        )

    async def list_rooms(self) -> Sequence[LiveRoom]:
        """All rooms that carry this deployment's id, and no others. Raises CarrierUnavailable."""
        gate = asyncio.Semaphore(self._timings.looks_at_once)
        try:
            rooms = await self._server.list_rooms()
            ours = [room for room in rooms if self._deployment.is_ours(name=room.name, metadata=room.metadata)]
            return await asyncio.gather(*(self._describe(room, gate) for room in ours))
        except LiveKitRefusal as refusal:
            raise CarrierUnavailable(f"LiveKit would not list rooms: {refusal.message} ({refusal.code})") from None

    async def room_names(self) -> Sequence[RoomName]:
        """Their names alone, by one request. Raises CarrierUnavailable."""
        try:
            rooms = await self._server.list_rooms()
        except LiveKitRefusal as refusal:
            raise CarrierUnavailable(f"LiveKit would not list rooms: {refusal.message} ({refusal.code})") from None
        return [RoomName(room.name) for room in rooms if self._deployment.is_ours(name=room.name, metadata=room.metadata)]

    async def _describe(self, room: proto_models.Room, gate: asyncio.Semaphore) -> LiveRoom:
        async with gate:
            now_s = self._clock.now_s()
            view = read_view(await self._server.list_participants(room.name), Span(now_s, now_s))
        legs = view.with_role(Role.LEG)
        return LiveRoom(
            name=RoomName(room.name),
            call_id=self._deployment.split(room.name)[0],
            has_leg=bool(legs),
            has_agent=bool(view.with_role(Role.AGENT)),
            leg_state=legs[0].call_status if legs else "",
            age_s=max(0.0, self._wall_clock() - room.creation_time),
        )

    async def reach(self) -> None:
        """Make one small request, whatever the number of rooms. Raises CarrierUnavailable."""
        try:
            await self._server.list_rooms([self._deployment.probe_name("reach")])
        except LiveKitRefusal as refusal:
            raise CarrierUnavailable(f"LiveKit would not list rooms: {refusal.message} ({refusal.code})") from None

    async def check(self, *, trunk_ids: Sequence[str]) -> Sequence[Finding]:
        """Connection, key, fence, trunks, webhooks. Never raises, rings no phone."""
        return await self._checks.findings(trunk_ids=trunk_ids)

    async def run(self) -> None:
        """Watch over all rooms, and have listeners, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run(), name="livekit-watch")
            if self._listeners is not None:
                tasks.create_task(self._listeners.run(), name="livekit-listeners")

    async def aclose(self) -> None:
        """Release connections. Rooms and legs stay as they are."""
        dials = list(self._dials)
        for task in dials:
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        if self._listeners is not None:
            await self._listeners.aclose()
        await self._server.aclose()
