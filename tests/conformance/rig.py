"""What the suite needs of a carrier and of whoever plays its far end. One `Rig` for each carrier; the tests know nothing else.

All times are seconds of the carrier's clock, as in the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import pytest

from sip.causes import TrunkRules
from sip.clock import Clock
from sip.leg import E164, Carrier, DialPlan, RoomName, RoomPlan, TrunkRoute
from sip.simulated.steps import Script

SIMULATED = pytest.param("simulated", marks=pytest.mark.xdist_group("conformance-simulated"))
LIVEKIT = pytest.param("livekit", marks=[pytest.mark.livekit, pytest.mark.xdist_group("livekit")])
"""The rigs, as parameters of tests."""

PATIENCE_REAL_S = 90.0
"""Bounds a test that fails; no test that passes waits for it."""


@dataclass(frozen=True, slots=True)
class Received:
    """One dial request as the far end received it."""

    to: str
    trunk_id: str
    caller_id: str
    display_name: str | None
    headers: Mapping[str, str]
    dtmf: str
    ring_s: float
    """For how long it may ring."""
    max_duration_s: float | None
    """When the far end ends an answered call; None: it does not keep what was asked."""


@dataclass(frozen=True, slots=True)
class FarEnd:
    """What the far end knows of one dial."""

    received: Sequence[Received]
    """Every request that carried the dial's id."""
    invites: int = 0
    """In how many of them a phone may have rung."""
    invited_at_s: float | None = None
    ringing_at_s: float | None = None
    answered_at_s: float | None = None
    heard_s: float | None = None
    """For how long the callee heard somebody; None: this far end hears nothing, or does not say yet."""
    ended_at_s: float | None = None
    """When the callee's side was through with it, unless we ended it."""
    over: bool = False
    """Nobody rings or talks there any more, or ever did."""


class Rig(Protocol):
    """A carrier under test."""

    clock: Clock
    deployment_id: UUID
    agent_name: str
    """An agent of this name comes."""
    missing_agent_name: str
    """An agent of this name never comes."""
    trunk_id: str
    speed: float
    """How much faster than their scripts callees are, in seconds of the carrier's clock."""
    tolerance_s: float
    """How much further off than it says a moment may be: this machine's slowness."""
    quiet_s: float
    """After so long without an event there will be none."""
    at_once: int
    """So many calls at once do not yet hold up the far end's callees."""
    told_why_legs_leave: bool
    """Without that, a callee's hang-up may count as a lost leg."""

    @property
    def carrier(self) -> Carrier: ...

    def number_for(self, script: Script, *, line: int = 0) -> E164:
        """A number at which this script answers; another one for each `line` below 100."""
        ...

    async def far_end(self, dial_id: str) -> FarEnd:
        """What became of a dial, as the far end has it."""
        ...

    async def agent_signals(self, room: RoomName, reason: str) -> None:
        """The agent in the room gives the end signal, and stays."""
        ...

    async def agent_opts_out(self, room: RoomName, reason: str) -> None:
        """The agent in the room reports that the callee wants no more calls, and stays."""
        ...

    async def agent_leaves(self, room: RoomName) -> None:
        """The agent leaves the room."""
        ...

    async def until_listening(self) -> None:
        """Until listeners are there."""
        ...

    async def agent_was_told(self, room: RoomName) -> Mapping[str, str]:
        """What the agent in the room knows of the callee, by the attributes that begin with `orchestrator.`."""
        ...

    async def delete_room(self, room: RoomName) -> None:
        """Somebody who is not this carrier deletes the room."""
        ...

    def stranger(self, deployment_id: UUID) -> AbstractAsyncContextManager[Carrier]:
        """A carrier of another deployment, or another worker's of this one, at the same media server. It hears no webhooks."""
        ...


class RigMaker(Protocol):
    """Puts up a rig with its carrier running."""

    def __call__(self) -> AbstractAsyncContextManager[Rig]: ...


@contextlib.asynccontextmanager
async def running(carrier: Carrier) -> AsyncIterator[Carrier]:
    """The carrier, watching over its rooms; its rooms are gone afterwards."""
    watching = asyncio.create_task(carrier.run())
    try:
        yield carrier
        assert not watching.done(), watching
    finally:
        for room in await carrier.list_rooms():
            await carrier.close_room(room.name)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await carrier.aclose()


def script_here(rig: Rig, script: Script) -> Script:
    """The script as fast as this rig's callees play it."""
    return script.faster(rig.speed)


def room_plan(rig: Rig, **changes: Any) -> RoomPlan:
    """A room for a call of its own."""
    call_id = f"c{secrets.token_hex(5)}"
    plan = RoomPlan(
        name=rig.carrier.room_name(call_id=call_id, epoch=1),
        call_id=call_id,
        agent_name=rig.agent_name,
        agent_metadata=json.dumps({"call_id": call_id}),
        max_duration_s=120.0,
    )
    return dataclasses.replace(plan, **changes)


def dial_plan(rig: Rig, script: Script, *, call_id: str, line: int = 0, **changes: Any) -> DialPlan:
    """A dial to a callee of this script; it may ring for long enough."""
    plan = DialPlan(
        call_id=call_id,
        dial_id=f"d{secrets.token_hex(6)}",
        to=rig.number_for(script, line=line),
        # A callee who is as much faster rings as much shorter before a 480.
        trunk=TrunkRoute(
            name="main", sip_trunk_id=rig.trunk_id, rules=TrunkRules(min_ring_s=TrunkRules().min_ring_s / rig.speed)
        ),
        caller_id=E164("+12025550143"),
        ring_timeout_s=30.0,
        post_dial_allowance_s=1.0,
        max_duration_s=120.0,
    )
    return dataclasses.replace(plan, **changes)
