"""The simulated carrier under test: callees play in the same process, 40 times as fast as the wall clock."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from uuid import UUID, uuid4

from sip.clock import Clock
from sip.leg import E164, Carrier, RoomName
from sip.simulated.carrier import SimulatedCarrier, World
from sip.simulated.scripts import number_of, script_for
from sip.simulated.steps import Script
from tests.conformance.rig import FarEnd, Received, running

SCALE = 40.0


class SimulatedRig:
    """Its far end is the carrier's own ledger and the scripts."""

    agent_name = "greeter"
    missing_agent_name = "nobody"
    trunk_id = "ST_simulated"
    speed = 1.0
    tolerance_s = 2.0  # 50 ms of the event loop
    quiet_s = 4.0
    at_once = 1000
    told_why_legs_leave = True

    def __init__(self) -> None:
        self.clock = Clock(scale=SCALE)
        self.world = World()
        self.deployment_id = uuid4()
        self.carrier = self._carrier(self.deployment_id)

    def number_for(self, script: Script, *, line: int = 0) -> E164:
        return number_of(script, area_code=212 + line)

    async def far_end(self, dial_id: str) -> FarEnd:
        records = [record for record in self.carrier.ledger if record.plan.dial_id == dial_id]
        taken = [record for record in records if record.taken]
        received = [
            Received(
                to=record.plan.to,
                trunk_id=record.plan.trunk.sip_trunk_id,
                caller_id=record.plan.caller_id or "",
                display_name=record.plan.display_name,
                headers=record.plan.headers,
                dtmf=record.plan.dtmf,
                ring_s=record.plan.request_ring_s,
                max_duration_s=None,
            )
            for record in records
        ]
        if not taken:
            return FarEnd(received, over=True)
        script = script_for(taken[0].plan.to)
        assert script is not None
        rooms = {room.name: room for room in await self.carrier.list_rooms()}
        room = rooms.get(taken[0].room)
        return FarEnd(
            received,
            invites=len(taken) if script.promise.dialled.value != "no" else 0,
            invited_at_s=taken[0].at_s,
            ringing_at_s=None if script.rings_at_s is None else taken[0].at_s + script.rings_at_s,
            answered_at_s=None if script.answers_at_s is None else taken[0].at_s + script.answers_at_s,
            ended_at_s=taken[0].at_s + (taken[0].plan.request_ring_s if script.ends_at_s is None else script.ends_at_s),
            over=room is None or not room.has_leg,
        )

    @contextlib.asynccontextmanager
    async def stranger(self, deployment_id: UUID) -> AsyncIterator[Carrier]:
        async with running(self._carrier(deployment_id)) as carrier:
            yield carrier

    def _carrier(self, deployment_id: UUID) -> SimulatedCarrier:
        return SimulatedCarrier(
            clock=self.clock,
            deployment_id=deployment_id,
            seed=1,
            missing_agents=frozenset({self.missing_agent_name}),
            world=self.world,
        )

    async def agent_signals(self, room: RoomName, reason: str) -> None:
        self.carrier.room(room).agent.give_signal(self.clock.now_s(), reason)

    async def agent_opts_out(self, room: RoomName, reason: str) -> None:
        self.carrier.room(room).agent.report_opt_out(self.clock.now_s(), reason)

    async def agent_leaves(self, room: RoomName) -> None:
        self.carrier.room(room).agent.leave(self.clock.now_s())

    async def until_listening(self) -> None:
        """They always are."""

    async def agent_was_told(self, room: RoomName) -> Mapping[str, str]:
        return self.carrier.room(room).facts

    async def delete_room(self, room: RoomName) -> None:
        self.carrier.room(room).delete(self.clock.now_s())


@contextlib.asynccontextmanager
async def simulated_rig() -> AsyncIterator[SimulatedRig]:
    rig = SimulatedRig()
    async with running(rig.carrier):
        yield rig
