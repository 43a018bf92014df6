"""What a worker asks of the queue: staging, claiming, the intent to dial, what happened to a call, and its end.

Every operation is one round trip and one transaction. Every write after a claim is guarded by (id, epoch, state): False or None
says that the claim is no longer ours, and the caller stops. An operation whose commit took place but whose answer was lost may
be asked again: it is recognised as done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.ids import E164, AccountId, CallId, DialId, WorkerId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.pool import Database, Row
from orchestrator.store.records import (
    Claim,
    ClaimedCall,
    CounterDrift,
    DialForbidden,
    DialGranted,
    Gate,
    Occupancy,
    Outcome,
    StrandedCall,
    WaitingFor,
)
from orchestrator.store.rows import json_text, trunk_of
from sip.clock import boot_time_s
from sip.leg import Fact

MOST_CLAIMED_AT_ONCE = 100
MOST_STAGED_AT_ONCE = 1000


class QueueStore:
    """The queue as one worker sees it."""

    def __init__(self, *, database: Database, worker_id: WorkerId) -> None:
        self._database = database
        self._worker_id = worker_id

    async def stage_due_calls(self, limit: int) -> int:
        """Move up to `limit` (at most 1,000) due calls into the ready queue; repeat while it returns `limit`."""
        _check_limit(limit, MOST_STAGED_AT_ONCE)
        return _whole(await self._database.fetch_value("stage_due_calls", limit))

    async def expire_calls(self, limit: int) -> list[tuple[CallId, EndReason]]:
        """End up to `limit` (at most 1,000) waiting calls whose time has run out; repeat while as many come back."""
        _check_limit(limit, MOST_STAGED_AT_ONCE)
        rows = await self._database.fetch("expire_calls", limit)
        return [(CallId(row["call_id"]), EndReason(row["end_reason"])) for row in rows]

    async def next_due_in_s(self) -> float | None:
        """Seconds until the next scheduled call is due, 0 if one is; None without any."""
        due = await self._database.fetch_value("next_due")
        return due if isinstance(due, float) else None

    async def claim_calls(self, limit: int) -> list[ClaimedCall]:
        """Claim up to `limit` (at most 100) ready calls of one trunk group; repeat until it returns none.

        Two statements: what the claim chose may be younger than the snapshot of the statement that made it.
        """
        _check_limit(limit, MOST_CLAIMED_AT_ONCE)
        async with self._database.session() as session:
            claims = await session.fetch("claim_calls", limit, self._worker_id)
            if not claims:
                return []
            rows = await session.fetch(
                "describe_claims",
                [claim["call_id"] for claim in claims],
                [claim["trunk_id"] for claim in claims],
                [claim["epoch"] for claim in claims],
            )
        return [_claimed(row) for row in rows]

    async def stranded_calls(self, *, lease_s: float) -> list[StrandedCall]:
        """Calls that hold a slot and whose worker has stopped, or not given a sign of life for `lease_s`, or is this worker."""
        rows = await self._database.fetch("stranded_calls", self._worker_id, lease_s)
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

    async def begin_dial(self, call: Claim, *, room: str, caller_id: E164 | None) -> DialGranted | DialForbidden | None:
        """The last gate and the intent. None: the claim is not ours.

        Not to be repeated: when its answer is lost, send nothing and requeue.
        """
        async with self._database.session() as session:
            asked_at_boot_s = boot_time_s()
            row = await session.fetch_one("begin_dial", call.call_id, call.epoch, room, caller_id)
        if row is None:
            return None
        if row["refused"] is not None:
            return DialForbidden(gate=Gate(row["refused"]))
        return _granted(row, asked_at_boot_s=asked_at_boot_s)

    async def record_ringing(self, call: Claim, *, pdd_ms: int | None, detail: Mapping[str, Fact]) -> bool:
        """dialing -> ringing."""
        return await self._is_ours("record_ringing", call.call_id, call.epoch, pdd_ms, json_text(detail))

    async def record_answer(
        self,
        call: Claim,
        *,
        ring_ms: int | None,
        ring_error_ms: int | None,
        ids: Mapping[str, str],
        detail: Mapping[str, Fact],
    ) -> bool:
        """dialing or ringing -> active. `ids` as in `sip.leg.Answered`."""
        return await self._is_ours(
            "record_answer",
            call.call_id,
            call.epoch,
            ring_ms,
            ring_error_ms,
            ids.get("sip_call_id", ""),
            ids.get("livekit_sip_call_id", ""),
            ids.get("participant_sid", ""),
            json_text(detail),
        )

    async def record_order(self, call: Claim, order: str, detail: Mapping[str, Fact]) -> bool:
        """What we are about to do to end the call, written before it is done."""
        return await self._is_ours("record_order", call.call_id, call.epoch, order, json_text(detail))

    async def record_note(self, call: Claim, kind: str, detail: Mapping[str, Fact]) -> bool:
        """A line of the timeline. `kind`: lower-case letters, digits, `_` and `.`. Asked twice, written twice."""
        return await self._is_ours("record_note", call.call_id, call.epoch, kind, json_text(detail))

    async def finish(self, call: Claim, outcome: Outcome) -> bool:
        """Write the one end, free slot and channel. Raises ForbiddenTransition if the lifecycle forbids the state."""
        return await self._is_ours(
            "finish_call",
            call.account_id,
            call.call_id,
            call.epoch,
            outcome.state.value,
            outcome.reason.value,
            outcome.dialled.value,
            None if outcome.answered_by is None else outcome.answered_by.value,
            outcome.sip_code,
            _text(outcome.sip_reason),
            outcome.q850_cause,
            _text(outcome.hangup_cause),
            _text(outcome.error_code),
            _text(outcome.error_message),
            outcome.pdd_ms,
            outcome.ring_ms,
            outcome.ring_error_ms,
            outcome.talk_ms,
            _text(outcome.sip_call_id),
            _text(outcome.livekit_sip_call_id),
            _text(outcome.participant_sid),
            json_text(outcome.evidence),
        )

    async def requeue(self, call: Claim, *, delay_s: float, waiting_for: WaitingFor, detail: Mapping[str, Fact]) -> bool:
        """Put a claimed call back, or a dialing one whose request rang no phone; free slot and channel.

        `delay_s`: real seconds. A call whose cancel was requested meanwhile is canceled instead, which also counts as done.
        """
        return await self._is_ours(
            "requeue_call", call.account_id, call.call_id, call.epoch, float(delay_s), waiting_for.value, json_text(detail)
        )

    async def canceled_calls(self) -> list[tuple[CallId, int]]:
        """This worker's calls, with their epochs, that somebody wants canceled and that have not ended."""
        rows = await self._database.fetch("canceled_calls", self._worker_id)
        return [(CallId(row["id"]), row["epoch"]) for row in rows]

    async def live_calls_by_state(self) -> dict[State, int]:
        """How many calls hold a slot, by state, over all workers."""
        rows = await self._database.fetch("count_live_calls")
        return {State(row["state"]): row["n"] for row in rows}

    async def occupancy(self) -> Occupancy:
        """How full everything is, from the counters; cheap."""
        (row,) = await self._database.fetch("occupancy")
        return Occupancy(**{name: int(value) for name, value in row.items()})

    async def counter_drift(self) -> CounterDrift:
        """How many counters are wrong (I5). Reads the whole queue."""
        (row,) = await self._database.fetch("counter_drift")
        return CounterDrift(**row)

    async def _is_ours(self, statement: str, *arguments: object) -> bool:
        row = await self._database.fetch_one(statement, *arguments)
        return row is not None and bool(row["ours"])


def _claimed(row: Row) -> ClaimedCall:
    return ClaimedCall(
        call_id=CallId(row["call_id"]),
        account_id=AccountId(row["account_id"]),
        account=row["account"],
        epoch=row["epoch"],
        to=row["to_number"],
        agent_name=row["agent_name"],
        metadata=row["metadata"],
        caller_id=None if row["caller_id"] is None else E164(row["caller_id"]),
        account_caller_ids=tuple(E164(number) for number in row["account_caller_ids"]),
        display_name=row["display_name"],
        headers=json.loads(row["headers"]),
        dtmf=row["dtmf"],
        ring_timeout_s=row["ring_timeout_s"],
        max_duration_s=row["max_duration_s"],
        trust_agent_leave=row["trust_agent_leave"],
        country=row["country"],
        allowed_countries=tuple(row["allowed_countries"]),
        allowed_specials=frozenset(row["allowed_specials"]),
        expires_at=row["expires_at"],
        deferrals=row["deferrals"],
        trunk=trunk_of(row),
        enqueued_to_claim_s=row["enqueued_to_claim_s"],
        waiting_for=WaitingFor(row["waiting_for"]),
    )


def _granted(row: Row, *, asked_at_boot_s: float) -> DialGranted:
    return DialGranted(
        dial_id=DialId(row["dial_id"]),
        attempt=row["attempt"],
        dial_number=row["dial_number"],
        dial_in_s=row["dial_in_ms"] / 1000,
        asked_at_boot_s=asked_at_boot_s,
    )


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise ValueError(f"limit must be from 1 to {most}, not {limit}")


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number from the database, got {value!r}")
    return value


def _text(text: str) -> str:
    """NUL cannot be stored; a far end's text may hold anything."""
    return text.replace("\0", "")
