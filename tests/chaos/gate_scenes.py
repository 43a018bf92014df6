"""What goes wrong where the last gate, or a circuit, does not forbid one thing: a call is claimed, and then it is forbidden.

The harness cannot bring all of this about by itself: a calling window that closes opens again hours later, so that its calls
would never come to rest, and circuits, caps of a day and a call's own time are as long. Here time is moved instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from orchestrator.store.policy import Circuit
from orchestrator.store.records import ClaimedCall, DialForbidden, Gate
from orchestrator.store.switches import SwitchStore
from orchestrator.store.trunks import TrunkStore
from tests.chaos.forbidden import ACCOUNT, AGENTS, EVERYTHING
from tests.chaos.forbidden import TRUNK as A_TRUNK
from tests.chaos.limits import Limits, Spacing
from tests.chaos.rehearsal import AGENT, TRUNK, Hand, Rehearsal
from tests.chaos.scenarios import Play, Scenario

TO = "+442079460001"
FAILURES, ABSENCES = 5, 3
"""That open the circuit of a trunk, of agents."""


def _forbidden_meanwhile(gate: Gate, forbid: Callable[[Rehearsal, ClaimedCall], Awaitable[None]]) -> Play:
    """One call is claimed, and then forbidden; with the protection in place by this gate and no other."""

    async def play(stage: Rehearsal, missing: bool) -> None:
        hand = stage.hands[0]
        await stage.enqueue()
        (call,) = await hand.claim()
        await forbid(stage, call)
        await _try(stage, hand, call, None if missing else gate)

    return play


async def _try(stage: Rehearsal, hand: Hand, call: ClaimedCall, forbidden_by: Gate | None) -> None:
    answer = await hand.conduct(call)
    found = answer.gate if isinstance(answer, DialForbidden) else None
    if found is not forbidden_by:
        raise AssertionError(f"forbidden by {found}, not by {forbidden_by}")
    await stage.look()


async def _its_time_runs_out(stage: Rehearsal, call: ClaimedCall) -> None:
    await stage.query(
        "UPDATE calls SET run_at = now() - interval '2 s', expires_at = now() - interval '1 s' WHERE id = $1", call.call_id
    )


async def _its_window_closes(stage: Rehearsal, call: ClaimedCall) -> None:
    await stage.query(
        "UPDATE calls SET window_from = now() - interval '1 h', window_until = now() - interval '1 s' WHERE id = $1",
        call.call_id,
    )


async def _a_restore_is_noticed(stage: Rehearsal, _call: ClaimedCall) -> None:
    await SwitchStore(database=stage.database).hold("another timeline")
    stage.desk.note(EVERYTHING)


def _stopped(what: str, name: str) -> Callable[[Rehearsal, ClaimedCall], Awaitable[None]]:
    async def stop(stage: Rehearsal, _call: ClaimedCall) -> None:
        await stage.desk.stop(what, name)

    return stop


def _one_after_the_other(gate: Gate, *, to: str | None) -> Play:
    """The second dial is one too many."""

    async def play(stage: Rehearsal, missing: bool) -> None:
        hand = stage.hands[0]
        for forbidden_by in (None, None if missing else gate):
            await stage.enqueue(to=to)
            (call,) = await hand.claim()
            await _try(stage, hand, call, forbidden_by)

    return play


async def _fail(stage: Rehearsal, times: int) -> None:
    for n in range(times):
        await stage.query("SELECT judge_trunk(id, $1::bigint, $2, 'trunk', '503') FROM trunks", -1 - n, f"+4420794601{n:02d}")


async def _trunk_fails_meanwhile(stage: Rehearsal, missing: bool) -> None:
    hand = stage.hands[0]
    await stage.enqueue(2)
    claimed = await hand.claim(2)
    await _fail(stage, FAILURES)
    status = await TrunkStore(database=stage.database).get(TRUNK)
    assert status.circuit.state is Circuit.OPEN
    for call in claimed:
        await _try(stage, hand, call, None if missing else Gate.TRUNK_CIRCUIT)


async def _stay_away(stage: Rehearsal) -> None:
    for _ in range(ABSENCES):
        await stage.query("SELECT judge_pool(id, 0, false) FROM agent_pools")


async def _agents_stay_away(stage: Rehearsal, missing: bool) -> None:
    hand = stage.hands[0]
    await stage.enqueue()
    await hand.stage()
    await _stay_away(stage)
    claimed = await hand.claim()
    assert len(claimed) == missing
    if not claimed:
        await _half_open(stage)
        claimed = await hand.claim()
    await hand.conduct(claimed[0])


async def _half_open(stage: Rehearsal) -> None:
    """The time of every open circuit passes, and so it is written in the events."""
    for table in ("trunk_channels", "agent_pools"):
        await stage.query(
            f"""UPDATE {table} SET circuit_opened_at = now() - interval '2 s', circuit_until = now() - interval '1 s'
                 WHERE circuit_until IS NOT NULL"""  # noqa: S608  constants
        )
    await stage.query(
        """UPDATE system_events SET at = now() - interval '2 s',
                  detail = detail || jsonb_build_object('until', now() - interval '1 s')
            WHERE kind LIKE '%.circuit_opened'"""
    )


def _more_than_a_probe(break_it: Callable[[Rehearsal], Awaitable[None]]) -> Play:
    """Three calls wait behind a circuit that is half open: one may try."""

    async def play(stage: Rehearsal, missing: bool) -> None:
        hand = stage.hands[0]
        await stage.enqueue(3)
        await hand.stage()
        await break_it(stage)
        await _half_open(stage)
        claimed = await hand.claim(3)
        assert len(claimed) == (3 if missing else 1)
        while claimed:
            for call in claimed:
                await hand.conduct(call)
            claimed = await hand.claim(3)

    return play


SPACED = Limits(accounts={"north": 50}, channels=50, cps=50, spacing={"north": Spacing(gap_s=60, most=9, within_s=600)})
CAPPED = Limits(accounts={"north": 50}, channels=50, cps=50, spacing={"north": Spacing(gap_s=0, most=1, within_s=600)})
FEW_SHOWN = Limits(accounts={"north": 50}, channels=50, cps=50, caller_id_cap=1)
CIRCUIT = "claimed or rung although a circuit was open"

GATE_SCENES = {
    "expiry in the gate": Scenario(
        "rung although its time had run out", _forbidden_meanwhile(Gate.EXPIRED, _its_time_runs_out)
    ),
    "calling window in the gate": Scenario(
        "rung outside its calling window", _forbidden_meanwhile(Gate.CALLING_WINDOW, _its_window_closes)
    ),
    "hold after a restore in the gate": Scenario(
        "rung although all dialling was stopped", _forbidden_meanwhile(Gate.HELD, _a_restore_is_noticed)
    ),
    "pause of an account in the gate": Scenario(
        "rung although it was paused", _forbidden_meanwhile(Gate.ACCOUNT_PAUSED, _stopped(ACCOUNT, "north"))
    ),
    "pause of a trunk in the gate": Scenario(
        "rung although it was paused", _forbidden_meanwhile(Gate.TRUNK_DISABLED, _stopped(A_TRUNK, TRUNK))
    ),
    "pause of agents in the gate": Scenario(
        "rung although it was paused", _forbidden_meanwhile(Gate.AGENTS_PAUSED, _stopped(AGENTS, AGENT))
    ),
    "gap between dials of a number": Scenario(
        "a number again within its gap", _one_after_the_other(Gate.NUMBER_GAP, to=TO), limits=SPACED
    ),
    "cap of dials to a number": Scenario(
        "a number more often than its cap", _one_after_the_other(Gate.NUMBER_CAP, to=TO), limits=CAPPED
    ),
    "cap of dials with a caller id": Scenario(
        "a caller id more often than its cap", _one_after_the_other(Gate.CALLER_ID_CAP, to=None), limits=FEW_SHOWN
    ),
    "circuit of a trunk in the gate": Scenario(CIRCUIT, _trunk_fails_meanwhile),
    "circuit of agents in the claim": Scenario(CIRCUIT, _agents_stay_away),
    "one probe of a trunk": Scenario(CIRCUIT, _more_than_a_probe(lambda stage: _fail(stage, FAILURES))),
    "one probe of agents": Scenario(CIRCUIT, _more_than_a_probe(_stay_away)),
}
"""By the names of statements.CUTS."""
