"""Why a call is not running now, in sentences that an operator can act on.

A pure function of how the call stands (orchestrator.store.queue_view). What holds everybody up comes first, then what holds up
this call, then its turn.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.lifecycle import State
from orchestrator.store.queue_view import CallStanding, TrunkQueue
from orchestrator.store.records import Gate, WaitingFor


class Holds(enum.Enum):
    """What kind of thing holds a call up."""

    NOTHING = "nothing"
    """It runs, or has ended."""
    STOPPED = "stopped"
    HELD = "held"
    CANCEL = "cancel"
    TIME = "time"
    CALLING_HOURS = "calling_hours"
    TIME_ZONE = "time_zone"
    DO_NOT_CALL = "do_not_call"
    ACCOUNT = "account"
    TRUNK = "trunk"
    AGENTS = "agents"
    NUMBER = "number"
    """Spacing, or another call to the number."""
    CALLER_ID = "caller_id"
    REDIAL = "redial"
    MEDIA_SERVER = "media_server"
    EXPIRY = "expiry"
    WORKERS = "workers"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that the call waits for."""

    holds: Holds
    text: str
    until: datetime | None = None
    """When it may go on, if anybody can tell."""


def reasons(call: CallStanding) -> tuple[Reason, ...]:
    """Everything that keeps the call from running, the widest first; one of kind NOTHING if it runs or has ended."""
    row = call.row
    match call.state:
        case State.ENDED | State.NOT_CONNECTED | State.CANCELED:
            return (Reason(Holds.NOTHING, f"it has ended: {row['end_reason']} at {clock(row['ended_at'])}"),)
        case State.CLAIMED:
            text = f"worker {row['worker']} is preparing it: room and agent; to be dialled over trunk {row['trunk']}"
            return (Reason(Holds.NOTHING, f"{text} at {clock(row['dial_at'])}"),)
        case State.DIALING | State.RINGING | State.ACTIVE:
            since = row["answered_at"] or row["ringing_at"] or row["dialed_at"]
            text = f"it is running: {call.state.value} since {clock(since)} over trunk {row['trunk']}, worker {row['worker']}"
            return (Reason(Holds.NOTHING, text),)
        case State.SCHEDULED:
            return (*_system(call), *_scheduled(call))
        case State.READY:
            found = (*_system(call), *_gate(call), *_account(call), *_trunks(call), *_agents(call), *_workers(call))
            return (*found, *_turn(call, found))
        case _:
            assert_never(call.state)


def clock(moment: datetime) -> str:
    """Date and time, UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def opening(moment: datetime, zone: str, *, now: datetime) -> str:
    """`08:00` in the callee's zone, with the day if it is not within a day."""
    local = moment.astimezone(_zone(zone))
    return f"{local:%H:%M}" if moment - now < timedelta(days=1) else f"{local:%H:%M on %A, %Y-%m-%d}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _system(call: CallStanding) -> Iterator[Reason]:
    row = call.row
    if row["stopped_at"] is not None:
        text = f"the system has been stopped since {clock(row['stopped_at'])} ({row['stopped_why']}): `orchestrator resume`"
        yield Reason(Holds.STOPPED, text)
    if row["held_at"] is not None:
        text = f"dialling has been held since {clock(row['held_at'])} ({row['held_why']}): `orchestrator confirm-restore`"
        yield Reason(Holds.HELD, text)
    elif call.gate is Gate.HELD:
        yield Reason(Holds.HELD, "the database was restored or failed over: `orchestrator confirm-restore`")
    if row["cancel_requested_at"] is not None:
        yield Reason(Holds.CANCEL, "somebody has asked to cancel it")


def _scheduled(call: CallStanding) -> Iterator[Reason]:
    row, run_at = call.row, call.row["run_at"]
    due = run_at <= row["now"]
    when = "due, and about to be tried" if due else f"tried again at {clock(run_at)}"
    until = None if due else run_at
    match call.waiting_for:
        case WaitingFor.SLOT:
            text = "due, and about to be moved into its lane" if due else f"not due before {clock(run_at)}"
            yield Reason(Holds.TIME, text, until)
        case WaitingFor.CALLING_WINDOW:
            zones = row["time_zone"] or "UTC"
            zone = zones.split(",")[0].strip()
            also = f" ({zone})" if "," in zones else ""
            yield Reason(
                Holds.CALLING_HOURS,
                f"outside calling hours in {zones} until {opening(run_at, zone, now=row['now'])}{also}",
                until,
            )
        case WaitingFor.TIME_ZONE:
            text = f"the time zone of its number is not known, and account {row['account']} does not dial without"
            remedy = f"`orchestrator accounts set {row['account']} --dial-unknown-zone`"
            yield Reason(Holds.TIME_ZONE, f"{text} ({remedy}); it expires at {clock(row['expires_at'])}", row["expires_at"])
        case WaitingFor.AGENT:
            yield Reason(Holds.AGENTS, f"no agent {row['agent_name']} came; {when}", until)
            yield from _agents(call)
        case WaitingFor.MEDIA_SERVER:
            yield Reason(Holds.MEDIA_SERVER, f"the media server could not take it; {when}", until)
        case WaitingFor.TRUNK_CAPACITY | WaitingFor.TRUNK_AUTH | WaitingFor.TRUNK_CONFIG | WaitingFor.TRUNK_UNREACHABLE:
            yield Reason(Holds.TRUNK, f"{_TRUNK_TROUBLE[call.waiting_for]}; {when}", until)
            yield from _trunks(call)
        case WaitingFor.SPACING:
            found = [reason for reason in _gate(call) if reason.holds in {Holds.NUMBER, Holds.DO_NOT_CALL}]
            yield from found or (Reason(Holds.NUMBER, f"its number was called too often or too lately; {when}", until),)
        case WaitingFor.CALLER_ID:
            text = f"every caller id that it may show has been used as often as it may be today; {when}"
            yield Reason(Holds.CALLER_ID, text, until)
        case WaitingFor.PAUSED:
            yield from (*_account_paused(call), *_trunks(call), *_agents(call))
            yield Reason(Holds.TIME, f"it was put back because something was paused; {when}", until)
        case WaitingFor.REDIAL:
            ended = f", which ended as {call.last_reason.value}" if call.last_reason else ""
            text = f"attempt {row['attempt'] + 1} of {row['max_attempts']} follows attempt {row['attempt']}{ended}; {when}"
            yield Reason(Holds.REDIAL, text, until)
        case _:
            assert_never(call.waiting_for)


_TRUNK_TROUBLE = {
    WaitingFor.TRUNK_CAPACITY: "the trunk's own limit refused it",
    WaitingFor.TRUNK_AUTH: "the trunk refused our credentials",
    WaitingFor.TRUNK_CONFIG: "the trunk refused how we call",
    WaitingFor.TRUNK_UNREACHABLE: "the trunk could not be reached",
}


def _gate(call: CallStanding) -> Iterator[Reason]:
    """What only the last gate knows: lists, spacing, hours, caller ids."""
    row, until = call.row, call.retry_at
    after = f" until {clock(until)}" if until else ""
    match call.gate:
        case Gate.DO_NOT_CALL:
            yield Reason(Holds.DO_NOT_CALL, "its number is on a do-not-call list; it ends when its turn comes")
        case Gate.CALLING_WINDOW:
            yield Reason(
                Holds.CALLING_HOURS, "its calling hours are over or have changed; they are being looked up again", until
            )
        case Gate.NUMBER_BUSY:
            yield Reason(Holds.NUMBER, "another call of ours to its number is running", until)
        case Gate.NUMBER_GAP:
            yield Reason(Holds.NUMBER, f"account {row['account']} called its number a moment ago; not again{after}", until)
        case Gate.NUMBER_CAP:
            cap = f"{row['number_most_dials']} times in {_span(row['number_window_s'])}"
            yield Reason(Holds.NUMBER, f"account {row['account']} has called its number {cap}; not again{after}", until)
        case Gate.CALLER_ID_CAP:
            yield Reason(Holds.CALLER_ID, f"every caller id has been used as often as it may be today{after}", until)
        case Gate.EXPIRED:
            yield Reason(Holds.EXPIRY, "its time has run out; it is about to end")
        case _:
            pass  # the others are told with their names and figures


def _account_paused(call: CallStanding) -> Iterator[Reason]:
    if call.row["paused"]:
        name = call.row["account"]
        yield Reason(Holds.ACCOUNT, f"account {name} is paused: `orchestrator accounts set {name} --no-paused`")


def _account(call: CallStanding) -> Iterator[Reason]:
    row = call.row
    yield from _account_paused(call)
    used, most, reserved = row["inflight"], row["max_concurrent"], row["reserved"]
    if used >= most:
        yield Reason(Holds.ACCOUNT, f"account {row['account']}: {used} of {most} slots in use; {position(call)}")
    elif row["priority"] <= 0 and used >= most - reserved:
        kept = f"the other {most - used} are kept for urgent calls"
        yield Reason(Holds.ACCOUNT, f"account {row['account']}: {used} of {most} slots in use, {kept}; {position(call)}")


def _trunks(call: CallStanding) -> Iterator[Reason]:
    """What holds up every trunk that the call may take; nothing if one of them is free."""
    if not call.trunks:
        yield Reason(Holds.TRUNK, f"trunk group {call.row['trunk_group']} has no trunk")
        return
    found = [trunk_trouble(trunk, now=call.row["now"]) for trunk in call.trunks]
    if all(found):
        untils = [until for trouble in found if trouble and (until := trouble[1])]
        text = "; ".join(
            f"trunk {trunk.name}: {trouble[0]}" for trunk, trouble in zip(call.trunks, found, strict=True) if trouble
        )
        yield Reason(Holds.TRUNK, text, min(untils, default=None))


def trunk_trouble(trunk: TrunkQueue, *, now: datetime) -> tuple[str, datetime | None] | None:
    """Why a trunk takes no call now, and until when; None: it takes one."""
    if not trunk.enabled:
        return "disabled", None
    circuit = circuit_text(trunk.circuit_until, trunk.circuit_why, probing=trunk.probing, now=now)
    if circuit:
        return circuit, trunk.circuit_until
    if trunk.running >= trunk.max_channels:
        return f"{trunk.running} of {trunk.max_channels} channels in use", None
    if trunk.next_dial_in_s > 1.0:
        until = now + timedelta(seconds=trunk.next_dial_in_s)
        return f"paced at {trunk.max_cps:g} dials a second, the next in {trunk.next_dial_in_s:.1f} s", until
    return None


def circuit_text(until: datetime | None, why: str, *, probing: bool, now: datetime) -> str:
    """What a circuit does, empty when it is closed."""
    if until is None:
        return ""
    if until > now:
        return f"circuit open until {clock(until)} ({why})"
    return f"circuit half open ({why}): {'one call is trying' if probing else 'the next call tries'}"


def _agents(call: CallStanding) -> Iterator[Reason]:
    row = call.row
    if not row["has_pool"]:
        return
    name, capacity = row["agent_name"], row["pool_capacity"]
    if row["pool_paused"]:
        yield Reason(Holds.AGENTS, f"agent pool {name} is paused: `orchestrator agents resume {name}`")
    circuit = circuit_text(row["pool_circuit_until"], row["pool_circuit_why"], probing=False, now=row["now"])
    if circuit:
        yield Reason(Holds.AGENTS, f"agent pool {name}: {circuit}", row["pool_circuit_until"])
    if capacity is not None and row["pool_inflight"] >= capacity:
        yield Reason(Holds.AGENTS, f"agent pool {name}: {row['pool_inflight']} of {capacity} agents in use; {position(call)}")


def _workers(call: CallStanding) -> Iterator[Reason]:
    seats, live = call.row["seats"], call.row["live"]
    if not seats:
        yield Reason(Holds.WORKERS, "no worker takes calls: `orchestrator run`")
    elif live >= seats:
        yield Reason(Holds.WORKERS, f"the workers are full: {live:,} of {seats:,} seats taken")


def _turn(call: CallStanding, found: Sequence[Reason]) -> Iterator[Reason]:
    if not found:
        text = f"it is its account's turn as soon as a worker claims: {position(call)}; accounts with less in use go first"
        yield Reason(Holds.TURN, text)
    elif position(call) not in " ".join(reason.text for reason in found):
        yield Reason(Holds.TURN, f"{position(call)} in the lane of account {call.row['account']}")


def position(call: CallStanding) -> str:
    """`position 41`: 40 calls are ahead of it in its lane."""
    if call.ahead is None:
        return "not in its lane yet"
    return f"position beyond {call.ahead.calls:,}" if call.ahead.more else f"position {call.ahead.calls + 1:,}"


def _span(duration_s: float) -> str:
    for unit_s, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if duration_s >= unit_s:
            count = duration_s / unit_s
            return f"{count:g} {unit}" + ("" if count == 1 else "s")
    return f"{duration_s:g} s"
