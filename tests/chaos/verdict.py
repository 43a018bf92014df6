"""What must never have happened, looked for in the far end's ledger and in the database after everything has come to rest.

Moments of the ledger are this machine's clock, and so are the database's: both run here.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import asyncpg

from orchestrator.ids import CallId
from sip.simulated.scripts import SCRIPTS
from sip.simulated.steps import Refuse
from tests.chaos.forbidden import Watched, look_for_forbidden
from tests.standin.ledger import Dial

LATE_S = 2.0 + 1.5 + 0.7
"""A request may leave up to 2 s after its dial time, takes up to 1.5 s (faults.MOST_DELAY_S) through a wire that delays, and
the harness itself may be slow."""

TERMINAL_EVENTS = ("ended", "not_connected", "canceled")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Rooms that were ended together since they belong to no live call."""

    at_s: float
    rooms: tuple[str, ...]


class Scene(Watched, Protocol):
    """What is judged."""

    def dials(self) -> Sequence[Dial]:
        """What the far end has seen."""
        ...

    def sweeps(self) -> Sequence[Sweep]:
        """What was swept."""
        ...

    async def rooms(self) -> list[str]:
        """Names of our rooms that exist."""
        ...


@dataclass(slots=True)
class Verdict:
    """Breaches by what was breached, with what was seen."""

    breaches: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    calls: int = 0
    dials: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def found(self, what: str, seen: str) -> None:
        """One breach."""
        self.breaches[what].append(seen)

    @property
    def is_clean(self) -> bool:
        """Nothing that must not happen has happened."""
        return not any(self.breaches.values())


WHATS = (
    "requested twice",
    "rung although it had ended",
    "rung although it was withdrawn",
    "rung although it was listed",
    "rung although all dialling was stopped",
    "rung although it was paused",
    "rung although its time had run out",
    "rung outside its calling window",
    "claimed or rung although a circuit was open",
    "a number again within its gap",
    "a number more often than its cap",
    "a caller id more often than its cap",
    "two calls to one number at once",
    "request later than its dial time allows",
    "lost",
    "without exactly one end",
    "slot, channel or counter leaked",
    "room left",
    "room of a live call swept",
    "more rooms swept at once than allowed",
    "over an account's limit",
    "over what is not reserved",
    "over what agents can take",
    "over the trunk's channels",
    "over the trunk's rate",
)


async def come_to_rest(scene: Scene, *, patience_s: float) -> bool:
    """Until no call waits or lives and no room of ours is left, or the patience is over."""
    deadline_s = asyncio.get_running_loop().time() + patience_s
    while asyncio.get_running_loop().time() < deadline_s:
        (row,) = await scene.query("SELECT count(*) FROM calls WHERE ended_at IS NULL")
        if not row[0] and not await scene.rooms():
            return True
        await asyncio.sleep(0.5)
    return False


async def judge(scene: Scene, queued: Sequence[CallId], verdict: Verdict) -> None:
    """Look for every breach; `queued`: the calls whose enqueuers were told that they are queued."""
    dials = scene.dials()
    verdict.dials = len(dials)
    await _dials(scene, dials, verdict)
    await look_for_forbidden(scene, dials, verdict)
    await _sweeps(scene, verdict)
    await _ends(scene, queued, verdict)
    await _leaks(scene, verdict)


def _may_have_rung(dial: Dial) -> bool:
    """Whether an INVITE left: a request into a room that is gone dials nobody."""
    return dial.invited_at_s is not None


async def _dials(scene: Scene, dials: Sequence[Dial], verdict: Verdict) -> None:
    rows = await scene.query(
        """SELECT d.id::text AS dial, d.call_id, d.attempt, d.room, d.intent_at, d.dial_at, d.spent, c.ended_at, c.to_number,
                  c.cancel_requested_at,
                  (SELECT min(n.created_at) FROM do_not_call n
                    WHERE n.number_key = number_key(c.to_number) AND n.account_id IN (0, c.account_id)) AS listed_at
             FROM dials d
             JOIN calls c ON c.id = d.call_id
            WHERE c.id > $1""",
        scene.after_call,
    )
    by_room = {row["room"]: row for row in rows}
    requests = Counter(dial.request.identity for dial in dials)
    for identity, count in requests.items():
        if count > 1:
            verdict.found("requested twice", f"{identity}: {count} requests")
    rung: dict[tuple[int, int], list[Dial]] = defaultdict(list)
    for dial in dials:
        row = by_room.get(dial.request.room)
        if row is None:
            verdict.found("requested twice", f"a request without an intent: {dial}")
            continue
        if not _may_have_rung(dial):
            continue
        rung[row["call_id"], row["attempt"]].append(dial)
        assert dial.invited_at_s is not None
        if row["ended_at"] is not None and dial.invited_at_s > _s(row["ended_at"]):
            verdict.found("rung although it had ended", _shown(row, dial))
        # What commits before the intent forbids it; what comes later ends a call that is under way.
        if row["cancel_requested_at"] is not None and row["intent_at"] > row["cancel_requested_at"]:
            verdict.found("rung although it was withdrawn", _shown(row, dial))
        if row["listed_at"] is not None and row["intent_at"] > row["listed_at"]:
            verdict.found("rung although it was listed", _shown(row, dial))
        if dial.received_at_s > _s(row["dial_at"]) + LATE_S:
            verdict.found("request later than its dial time allows", _shown(row, dial))
    for (call_id, attempt), again in rung.items():
        if any(not _proves_nothing_rang(dial) for dial in again[:-1]):
            verdict.found("requested twice", f"call {call_id} attempt {attempt}: {[(dial.number, dial.how) for dial in again]}")
    _numbers_at_once(dials, verdict)
    _rate([row["dial_at"] for row in rows], scene.limits.cps, verdict)
    _channels(dials, {row["room"]: row for row in rows}, scene.limits.channels, verdict)


def _proves_nothing_rang(dial: Dial) -> bool:
    steps = [step for script in SCRIPTS.values() if script.name == dial.request.script for step in script.steps]
    first = steps[0] if steps else None
    return isinstance(first, Refuse) and dial.ringing_at_s is None and dial.how.startswith("refused")


def _numbers_at_once(dials: Sequence[Dial], verdict: Verdict) -> None:
    busy_until: dict[str, tuple[float, int]] = {}
    for dial in sorted(filter(_may_have_rung, dials), key=lambda dial: dial.invited_at_s or 0):
        assert dial.invited_at_s is not None
        until, other = busy_until.get(dial.request.to, (0.0, 0))
        if dial.invited_at_s < until:
            verdict.found("two calls to one number at once", f"{dial.request.to}: dials {other} and {dial.number}")
        busy_until[dial.request.to] = (dial.ended_at_s or float("inf"), dial.number)


def _rate(dial_times: Sequence[datetime], cps: int, verdict: Verdict) -> None:
    times = sorted(_s(at) for at in dial_times)
    for index in range(len(times) - cps):
        if times[index + cps] - times[index] < 1 - 1e-6:
            verdict.found("over the trunk's rate", f"more than {cps} grants in the second from {times[index]}")


def _channels(dials: Sequence[Dial], rows: Mapping[str, asyncpg.Record], channels: int, verdict: Verdict) -> None:
    moments = []
    for dial in filter(_may_have_rung, dials):
        moments.append((dial.invited_at_s or 0.0, 1))
        if dial.ended_at_s is not None:
            moments.append((dial.ended_at_s, -1))
    live = 0
    for _, change in sorted(moments, key=lambda moment: (moment[0], moment[1])):
        live += change
        if live > channels:
            verdict.found("over the trunk's channels", f"{live} legs at the far end")
            return


async def _sweeps(scene: Scene, verdict: Verdict) -> None:
    rows = await scene.query(
        """SELECT room, date_part('epoch', intent_at) AS from_s, date_part('epoch', ended_at) AS until_s
             FROM dials WHERE call_id > $1""",
        scene.after_call,
    )
    lives = {row["room"]: (row["from_s"], row["until_s"] or float("inf")) for row in rows}
    for sweep in scene.sweeps():
        if len(sweep.rooms) > scene.limits.rooms_swept:
            verdict.found("more rooms swept at once than allowed", str(sweep))
        for room in sweep.rooms:
            from_s, until_s = lives.get(room, (float("inf"), 0.0))
            if from_s < sweep.at_s < until_s:
                verdict.found("room of a live call swept", f"{room} at {sweep.at_s}")


async def _ends(scene: Scene, queued: Sequence[CallId], verdict: Verdict) -> None:
    rows = await scene.query(
        """SELECT c.id, c.state, c.end_reason, c.ended_at,
                  (SELECT count(*) FROM call_events e WHERE e.call_id = c.id AND e.state = ANY ($1)) AS ends,
                  (SELECT count(*) FROM attempts t WHERE t.call_id = c.id AND t.ended_at IS NULL) AS open_attempts,
                  (SELECT count(*) FROM dials d WHERE d.call_id = c.id AND d.ended_at IS NULL) AS open_dials
             FROM calls c
            WHERE c.id > $2""",
        list(TERMINAL_EVENTS),
        scene.after_call,
    )
    verdict.calls = len(rows)
    known = {row["id"] for row in rows}
    for call_id in queued:
        if call_id not in known:
            verdict.found("lost", f"call {call_id} was queued and is not there")
    for row in rows:
        if row["ended_at"] is None:
            verdict.found("lost", f"call {row['id']} is {row['state']}")
        else:
            verdict.reasons[row["end_reason"]] += 1
            if row["ends"] != 1 or row["open_attempts"] or row["open_dials"]:
                verdict.found("without exactly one end", str(dict(row)))


async def _leaks(scene: Scene, verdict: Verdict) -> None:
    for name in await scene.rooms():
        verdict.found("room left", name)
    (row,) = await scene.query(
        """SELECT (SELECT sum(inflight) FROM account_slots) AS slots, (SELECT sum(channels) FROM trunk_channels) AS channels,
                  (SELECT sum(inflight) FROM agent_pools) AS agents, (SELECT sum(ready) FROM lanes) AS ready,
                  (SELECT count(*) FROM calls WHERE worker_id IS NOT NULL AND ended_at IS NULL) AS live"""
    )
    if any(row.values()):
        verdict.found("slot, channel or counter leaked", str(dict(row)))
    repaired = await scene.query("SELECT at, detail::text FROM system_events WHERE kind LIKE 'counters%'")
    for line in repaired:
        verdict.found("slot, channel or counter leaked", f"repaired: {dict(line)}")


def _s(at: datetime) -> float:
    return at.timestamp()


def _shown(row: object, dial: Dial) -> str:
    return f"dial {dial.number} to {dial.request.to}, invited at {dial.invited_at_s}, ended {dial.how!r}: {dict(row)}"  # type: ignore[call-overload]
