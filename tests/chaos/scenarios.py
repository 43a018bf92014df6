"""What goes wrong where one of the database's protections is missing, each told step by step (rehearsal.py).

Those of the gate and of circuits are in gate_scenes.py, those of the sweep in sweep_scenes.py. Every scenario ends with all
calls ended, so that with the protection in place the verdict is clean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from orchestrator.calls.recovery import Recovery
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.metrics import Metrics
from orchestrator.store.calls import CallStore
from orchestrator.store.donotcall import DoNotCallStore, NewListing
from orchestrator.store.records import ClaimedCall, DialForbidden, DialGranted, Gate
from orchestrator.store.recovery import AdoptedCall, Held, RecoveryStore, StrandedCall
from sip.leg import RoomName
from tests.chaos.forbidden import EVERYTHING
from tests.chaos.limits import Limits
from tests.chaos.rehearsal import AGENT, LEASE_S, LOST, NO_ANSWER, Hand, Rehearsal

ROOMY = Limits(accounts={"north": 50, "south": 50}, channels=50, cps=50)


Play = Callable[[Rehearsal, bool], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One protection, and what its absence leads to."""

    breach: str
    """What the verdict must report (verdict.WHATS)."""
    play: Play
    """The second argument: the protection is missing, also from the steps that hands take."""
    limits: Limits = ROOMY


async def _the_claim_was_taken_over(stage: Rehearsal, _missing: bool) -> None:
    one, two = stage.hands
    await stage.enqueue()
    (call,) = await one.claim()
    await stage.die(one)
    assert await two.recovery.requeue(call, lease_s=LEASE_S)
    (again,) = await two.claim()
    granted = await one.begin(call)  # it was stopped, and goes on
    if granted is None:
        await two.conduct(again)
        return
    # The second worker's gate says that the claim is not its own, so that nobody conducts the call: it takes it over.
    assert await two.begin(again) is None
    adopted = await two.recovery.adopt(again, lease_s=LEASE_S)
    assert adopted is not None
    assert adopted.granted is None  # no dial is known under its epoch: nothing to wait for, no room to delete
    assert await two.end(adopted.call, LOST)
    assert isinstance(granted, DialGranted)
    stage.ring(call, granted)
    await one.end(call)


async def _canceled_meanwhile(stage: Rehearsal, _missing: bool) -> None:
    (call_id,) = await stage.enqueue()
    (call,) = await stage.hands[0].claim()
    await CallStore(database=stage.database).request_cancel(call_id)
    await stage.hands[0].conduct(call)


async def _listed_meanwhile(stage: Rehearsal, _missing: bool) -> None:
    await stage.enqueue(to="+442079460001")
    (call,) = await stage.hands[0].claim()
    await DoNotCallStore(database=stage.database).add([NewListing(number=call.to)], source="operator")  # type: ignore[arg-type]
    await stage.hands[0].conduct(call)


async def _stopped_meanwhile(stage: Rehearsal, _missing: bool) -> None:
    await stage.enqueue()
    (call,) = await stage.hands[0].claim()
    await stage.desk.stop(EVERYTHING)
    await stage.hands[0].conduct(call)


async def _two_for_one_number(stage: Rehearsal, _missing: bool) -> None:
    one, two = stage.hands
    await stage.enqueue(account="north", to="+442079460001")
    await stage.enqueue(account="south", to="+442079460001")
    (first,) = await one.claim()
    (second,) = await two.claim()
    granted = await one.begin(first)
    assert isinstance(granted, DialGranted)
    stage.ring(first, granted)
    await two.conduct(second)
    await one.end(first)


async def _more_than_fit(stage: Rehearsal, _missing: bool) -> None:
    await stage.enqueue(5)
    held: list[tuple[Hand, ClaimedCall]] = []
    for hand in stage.hands:
        held += [(hand, call) for call in await hand.claim(5)]
    for hand, call in held:
        granted = await hand.begin(call)
        assert isinstance(granted, DialGranted)
        stage.ring(call, granted)
    await stage.look()
    while held:
        for hand, call in held:
            await hand.end(call)
        held = [(stage.hands[0], call) for call in await stage.hands[0].claim(5)]
        for hand, call in held:
            granted = await hand.begin(call)
            assert isinstance(granted, DialGranted)
            stage.ring(call, granted)


async def _all_prepared_at_once(stage: Rehearsal, _missing: bool) -> None:
    one = stage.hands[0]
    wanted = 3 * stage.limits.cps
    await stage.enqueue(wanted)
    claimed: list[ClaimedCall] = []
    while len(claimed) < wanted:
        claimed += await one.claim(100)
        await asyncio.sleep(0.05)
    for call in claimed:
        while isinstance(granted := await one.begin(call), DialForbidden):
            assert granted.gate is Gate.TRUNK_PACE
            await asyncio.sleep(granted.retry_in_s or 0.01)
        assert isinstance(granted, DialGranted)
        stage.ring(call, granted)
        await one.end(call)


async def _the_old_worker_ends_it(stage: Rehearsal, _missing: bool) -> None:
    one, two = stage.hands
    await stage.enqueue()
    (call,) = await one.claim()
    granted = await one.begin(call)
    assert isinstance(granted, DialGranted)
    stage.ring(call, granted)
    await stage.die(one)
    adopted = await two.recovery.adopt(call, lease_s=LEASE_S)
    assert adopted is not None
    await stage.enqueue()
    await one.ends.finish(call, NO_ANSWER)  # it was stopped, and its ring timer is over; the phone rings on for the adopter
    for other in await two.claim():  # on the only channel
        await two.conduct(other)
    await two.end(adopted.call)
    for other in await two.claim():
        await two.conduct(other)


async def _one_call(stage: Rehearsal, _missing: bool) -> None:
    await stage.enqueue()
    (call,) = await stage.hands[0].claim()
    await stage.hands[0].conduct(call)


async def _dialled_and_stranded(stage: Rehearsal, missing: bool) -> None:
    one, two = stage.hands
    await stage.enqueue()
    (call,) = await one.claim()
    granted = await one.begin(call)
    assert isinstance(granted, DialGranted)
    stage.ring(call, granted)
    await stage.die(one)
    board = _Board()
    recovery = Recovery(
        store=_Blind(database=stage.database, worker_id=two.worker_id) if missing else two.recovery,
        carrier=board,  # type: ignore[arg-type]  # there are no rooms to close
        switchboard=board,  # type: ignore[arg-type]  # it only takes what was adopted
        lease_s=LEASE_S,
        interval_s=1.0,
        metrics=Metrics(),
    )
    for _ in range(2):  # seen so in two looks
        await recovery._recover()
    for adopted in board.adopted:
        await two.end(adopted.call)
    for again in await two.claim():
        granted = await two.begin(again)
        assert isinstance(granted, DialGranted)
        stage.hang_up(call.call_id)
        stage.ring(again, granted)
        await two.end(again)


class _Board:
    """Takes what recovery adopts."""

    def __init__(self) -> None:
        self.held: list[tuple[CallId, int]] = []
        self.leftovers: set[RoomName] = set()
        self.adopted: list[AdoptedCall] = []

    def adopt(self, adopted: AdoptedCall) -> None:
        self.adopted.append(adopted)

    def room_name(self, *, call_id: str, epoch: int) -> RoomName:
        return RoomName(f"oc-paper-{call_id}-{epoch}")

    async def close_room(self, name: RoomName) -> None:
        """There is none."""


class _Blind(RecoveryStore):
    """Does not see that a call was dialled."""

    async def stranded_calls(self, *, lease_s: float, held: Held, up_s: float = 0.0) -> list[StrandedCall]:
        calls = await super().stranded_calls(lease_s=lease_s, held=held, up_s=up_s)
        return [replace(call, state=State.CLAIMED) for call in calls]


CLAIM_SCENES = {
    "epoch guard of begin_dial": Scenario("rung although it had ended", _the_claim_was_taken_over),
    "cancel check in the gate": Scenario("rung although it was withdrawn", _canceled_meanwhile),
    "do-not-call check in the gate": Scenario("rung although it was listed", _listed_meanwhile),
    "kill switch in the gate": Scenario("rung although all dialling was stopped", _stopped_meanwhile),
    "one call to a number at once": Scenario("two calls to one number at once", _two_for_one_number),
    "account limit in the claim": Scenario(
        "over an account's limit", _more_than_fit, limits=Limits(accounts={"north": 2}, channels=50, cps=50)
    ),
    "channels in the claim": Scenario(
        "over the trunk's channels", _more_than_fit, limits=Limits(accounts={"north": 50}, channels=2, cps=50)
    ),
    "capacity of agents in the claim": Scenario(
        "over what agents can take",
        _more_than_fit,
        limits=Limits(accounts={"north": 50}, channels=50, cps=50, agents={AGENT: 2}),
    ),
    "reserve for urgent calls in the claim": Scenario(
        "over what is not reserved",
        _more_than_fit,
        limits=Limits(accounts={"north": 3}, channels=50, cps=50, reserved={"north": 1}),
    ),
    "pace in the intent": Scenario(
        "over the trunk's rate", _all_prepared_at_once, limits=Limits(accounts={"north": 100}, channels=100, cps=20)
    ),
    "epoch guard of finish": Scenario(
        "over the trunk's channels", _the_old_worker_ends_it, limits=Limits(accounts={"north": 50}, channels=1, cps=50)
    ),
    "release of the slot in finish": Scenario("slot, channel or counter leaked", _one_call),
    "release of the channel in finish": Scenario("slot, channel or counter leaked", _one_call),
    "recovery reconciles dialled calls": Scenario("requested twice", _dialled_and_stranded),
}
"""By the names of statements.CUTS."""
