"""Calls that lost their worker: finding them, and taking them over from it.

A worker is dead when it has stopped, or when its last sign of life is older than the lease, by the database's clock. What is
done to its calls is guarded by their epoch and checks, under a lock that a sign of life would wait for, that it is still dead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from orchestrator.ids import E164, AccountId, CallId, DialId, WorkerId
from orchestrator.lifecycle import State
from orchestrator.store.pool import Database, Row
from orchestrator.store.queue import claimed_of
from orchestrator.store.records import Claim, ClaimedCall, DialGranted
from orchestrator.store.rows import facts
from sip.clock import boot_time_s
from sip.events import Fact

Held = Collection[tuple[CallId, int]]
"""Claims as calls and epochs."""


@dataclass(frozen=True, slots=True)
class StrandedCall:
    """A call that holds a slot and that nobody conducts."""

    call_id: CallId
    account_id: AccountId
    epoch: int
    deferrals: int
    state: State
    since_intent_s: float
    """Seconds since its intent was written, by the database's clock; 0 for a call that is only claimed."""


@dataclass(frozen=True, slots=True)
class AdoptedCall:
    """A dialled call that this worker has taken over from a dead one. Ages are real seconds, by the database's clock."""

    call: ClaimedCall
    """Under its new epoch."""
    state: State
    """As it was written last: dialing, ringing or active."""
    granted: DialGranted | None
    """The dial that is under way; None only for a call that we did not dial."""
    room: str
    """Where its leg is, or was: the name is that of the epoch that dialled."""
    since_dial_s: float
    since_ringing_s: float | None
    """Since its first 18x was known; None: none was seen."""
    ringing_error_s: float
    """So much before that it may have happened, in the clock's seconds."""
    since_answer_s: float | None
    answer_error_s: float
    ordered_end: str | None
    """What the dead worker had decided to end it by, and may or may not have done."""
    pdd_ms: int | None
    verdict: Mapping[str, Fact] = field(default_factory=dict)
    """The last verdict on who answered, as it was noted; empty: there was none."""


class RecoveryStore:
    """Recovery as one worker sees it."""

    def __init__(self, *, database: Database, worker_id: WorkerId) -> None:
        self._database = database
        self._worker_id: UUID = worker_id

    async def stranded_calls(self, *, lease_s: float, held: Held, up_s: float = 0.0) -> list[StrandedCall]:
        """Calls that hold a slot and that nobody conducts: of dead workers, and of this one unless it holds their claims.

        `up_s`: until the server has been up for so long, the silence of workers does not count: they could not be heard.
        """
        rows = await self._database.fetch("stranded_calls", self._worker_id, lease_s, *_columns(held), up_s)
        return [
            StrandedCall(
                call_id=CallId(row["id"]),
                account_id=AccountId(row["account_id"]),
                epoch=row["epoch"],
                deferrals=row["deferrals"],
                state=State(row["state"]),
                since_intent_s=row["since_intent_s"],
            )
            for row in rows
        ]

    async def requeue(self, call: Claim, *, lease_s: float) -> bool:
        """Put a call back that was claimed and not dialled. False: it is not stranded any more."""
        row = await self._database.fetch_one(
            "requeue_stranded", call.account_id, call.call_id, call.epoch, self._worker_id, lease_s
        )
        return row is not None and bool(row["moved"])

    async def adopt(self, call: Claim, *, lease_s: float) -> AdoptedCall | None:
        """Take over a call that was dialled; it has a new epoch from here on. None: it is not stranded any more.

        When the answer is lost, it is this worker's without a conductor, and is found as such.
        """
        async with self._database.transaction() as session:
            adopted = await session.fetch_one("adopt_call", call.call_id, call.epoch, self._worker_id, lease_s)
            if adopted is None or adopted["epoch"] is None:
                return None
            epoch: int = adopted["epoch"]
            seen = await session.fetch_one("describe_adopted", call.call_id, epoch)
            if seen is None:
                raise LookupError(f"call {call.call_id} is gone")
            claim = await session.fetch_one("describe_claims", [call.call_id], [seen["trunk_id"]], [epoch])
        if claim is None:
            raise LookupError(f"call {call.call_id} has no account or trunk")
        return _adopted(claim, seen)

    async def lost_claims(self, held: Held) -> list[tuple[CallId, int]]:
        """Which of these claims are not this worker's any more; ask right after a sign of life."""
        rows = await self._database.fetch("lost_claims", self._worker_id, *_columns(held))
        return [(CallId(row["call_id"]), row["epoch"]) for row in rows]


def _columns(held: Held) -> tuple[list[int], list[int]]:
    return [call_id for call_id, _ in held], [epoch for _, epoch in held]


def _adopted(claim: Row, seen: Row) -> AdoptedCall:
    granted = None
    if seen["dial_id"] is not None:
        granted = DialGranted(
            dial_id=DialId(seen["dial_id"]),
            attempt=seen["attempt"],
            dial_number=seen["dial_number"],
            dial_in_s=0.0,
            asked_at_boot_s=boot_time_s(),
            caller_id=None if seen["caller_id"] is None else E164(seen["caller_id"]),
        )
    return AdoptedCall(
        call=claimed_of(claim),
        state=State(seen["state"]),
        granted=granted,
        room=seen["room"] or "",
        since_dial_s=seen["since_dial_s"],
        since_ringing_s=seen["since_ringing_s"],
        ringing_error_s=seen["ringing_error_s"] or 0.0,
        since_answer_s=seen["since_answer_s"],
        answer_error_s=seen["answer_error_s"] or 0.0,
        ordered_end=seen["ordered_end"],
        pdd_ms=seen["pdd_ms"],
        verdict=facts(seen["verdict"] or "{}"),
    )
