"""What a worker asks of the queue: staging, claiming, and what happened to a call; its intent is `gate`'s, its end `ends`'.

Every operation is one round trip and one transaction. Every write after a claim is guarded by (id, epoch, state): False or None
says that the claim is no longer ours, and the caller stops. An operation whose commit took place but whose answer was lost may
be asked again: it is recognised as done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from orchestrator.detection import stored_detection
from orchestrator.ids import E164, AccountId, CallId, WorkerId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.redial import stored_policy
from orchestrator.store.placements import DueCall, Placement, Staged
from orchestrator.store.pool import Database, Row
from orchestrator.store.records import CallerIdChoice, Claim, ClaimedCall, CounterDrift, Occupancy, WaitingFor
from orchestrator.store.rows import forbidden_of, json_text, trunk_of
from sip.events import Fact

MOST_CLAIMED_AT_ONCE = 100
MOST_STAGED_AT_ONCE = 1000


class QueueStore:
    """The queue as one worker sees it."""

    def __init__(self, *, database: Database, worker_id: WorkerId) -> None:
        self._database = database
        self._worker_id = worker_id

    async def due_calls(self, limit: int, *, after: DueCall | None = None) -> list[DueCall]:
        """Up to `limit` (at most 1,000) calls whose time has come, the longest due first; after `after` in that order."""
        _check_limit(limit, MOST_STAGED_AT_ONCE)
        key = (None, None) if after is None else (after.run_at, after.call_id)
        return [_due(row) for row in await self._database.fetch("due_calls", limit, *key)]

    async def stage(self, due: Sequence[DueCall], placements: Sequence[Placement]) -> Staged:
        """Move due calls (at most 1,000) to where they were placed: into the ready queue, or back until their window opens.

        One whose account is locked, whose account's hours have changed or whose window has closed meanwhile stays for the next
        round.
        """
        if lacking := [call.call_id for call in due if not call.has_route]:
            await self._database.fetch("make_routes", lacking)
        row = await self._database.fetch_one(
            "stage_calls",
            [placement.call_id for placement in placements],
            [placement.window_from for placement in placements],
            [placement.window_until for placement in placements],
            [placement.hours_version for placement in placements],
            [placement.time_zone for placement in placements],
            [placement.problem for placement in placements],
        )
        return Staged(ready=0, held=0) if row is None else Staged(ready=row["staged"], held=row["held"])

    async def close_windows(self, limit: int) -> int:
        """Take up to `limit` (at most 1,000) ready calls whose window has closed back; repeat while it returns `limit`."""
        _check_limit(limit, MOST_STAGED_AT_ONCE)
        return _whole(await self._database.fetch_value("close_windows", limit))

    async def expire_calls(self, limit: int) -> list[tuple[CallId, EndReason]]:
        """End up to `limit` (at most 1,000) waiting calls whose time has run out; repeat while as many come back."""
        _check_limit(limit, MOST_STAGED_AT_ONCE)
        rows = await self._database.fetch("expire_calls", limit)
        return [(CallId(row["call_id"]), EndReason(row["end_reason"])) for row in rows]

    async def next_due_in_s(self) -> float | None:
        """Seconds until the next scheduled call is due, 0 if one is; None without any."""
        due = await self._database.fetch_value("next_due")
        return due if isinstance(due, float) else None

    async def free_seats_elsewhere(self, *, lease_s: float) -> int:
        """How many more calls the freest other worker takes that gave a sign of life within `lease_s` and is not draining."""
        return _whole(await self._database.fetch_value("free_seats_elsewhere", self._worker_id, lease_s))

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
        return [claimed_of(row) for row in rows]

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
        """dialing or ringing -> active. `ids` as in `sip.events.Answered`."""
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

    async def withdraw_order(self, call: Claim, order: str, detail: Mapping[str, Fact]) -> bool:
        """What `record_order` wrote is not done after all; nothing else is changed if another order stands."""
        return await self._is_ours("withdraw_order", call.call_id, call.epoch, order, json_text(detail))

    async def record_opt_out(self, call: Claim, *, identity: str, reason: str) -> bool:
        """Put the call's number on its account's do-not-call list, since its agent `identity` says so.

        Always True: whoever holds the claim, what the callee asked for stands.
        """
        return await self._is_ours("record_opt_out", call.call_id, call.epoch, identity, reason.replace("\0", ""))

    async def record_note(self, call: Claim, kind: str, detail: Mapping[str, Fact]) -> bool:
        """A line of the timeline. `kind`: lower-case letters, digits, `_` and `.`. Asked twice, written twice."""
        return await self._is_ours("record_note", call.call_id, call.epoch, kind, json_text(detail))

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


def claimed_of(row: Row) -> ClaimedCall:
    """A row of describe_claims.sql."""
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
        earlier_ends=tuple(EndReason(reason) for reason in row["earlier_ends"]),
        redial=stored_policy(
            max_attempts=row["max_attempts"], delays=row["redial_delays"], jitter=row["redial_jitter"], own=row["redial"]
        ),
        caller_id_choice=CallerIdChoice(row["caller_id_choice"]),
        detection=stored_detection(row["account_detection"], row["detection"]),
        forbidden=None if row["gate"] is None else forbidden_of(row["gate"], row["retry_in_s"]),
    )


def _due(row: Row) -> DueCall:
    call_id = CallId(row["id"])
    version = row["hours_version"]
    return DueCall(
        call_id=call_id,
        to=row["to_number"],
        run_at=row["run_at"],
        expires_at=row["expires_at"],
        calling_hours=tuple(row["account_hours"]),
        own_hours=None if row["call_hours"] is None else tuple(rule or "" for rule in row["call_hours"]),
        closed_on_holidays=row["closed_on_holidays"],
        dial_unknown_zone=row["dial_unknown_zone"],
        country=row["country"],
        account_version=row["account_version"],
        placement=None
        if version is None
        else Placement(
            call_id=call_id,
            window_from=row["window_from"],
            window_until=row["window_until"],
            hours_version=version,
            time_zone=row["time_zone"] or "",
        ),
        has_route=row["has_route"],
        asked_at=row["asked_at"],
    )


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise ValueError(f"limit must be from 1 to {most}, not {limit}")


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number from the database, got {value!r}")
    return value
