"""What the doors ask about calls: queueing, showing, listing, withdrawing, summing up. Never touches a claim."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.pool import Database
from orchestrator.store.records import CancelResult
from orchestrator.store.rows import attempt_of, call_of, dial_of, event_of
from orchestrator.store.views import BatchSummary, CallFilter, CallRow, CallView, Enqueued, NewCall

MOST_ENQUEUED_AT_ONCE = 1000
MOST_LISTED_AT_ONCE = 1000

CHECKED_BEFORE_S = 60.0
"""How long before it comes here a call's `run_at` may have been found good."""

REFUSALS: dict[str, type[BadInput]] = {"bad_input": BadInput, "not_found": NotFound, "conflict": Conflict}


class CallStore:
    """Calls as the doors see them."""

    def __init__(self, *, database: Database, expires_after_s: float = 86_400.0, past_tolerance_s: float = 300.0) -> None:
        """`expires_after_s`: for calls that say nothing of their expiry. `past_tolerance_s`: how late a `run_at` may be."""
        self._database = database
        self._expires_after_s = expires_after_s
        self._past_tolerance_s = past_tolerance_s

    async def enqueue(self, calls: Sequence[NewCall]) -> list[Enqueued]:
        """Queue all of them in order or, raising BadInput (NotFound, Conflict), none. Only inserts.

        A call with the key of an earlier one that asks for the same is not queued again: `created` is False.
        """
        results: list[Enqueued] = []
        async with self._database.transaction() as session:
            for first in range(0, len(calls), MOST_ENQUEUED_AT_ONCE):
                part = calls[first : first + MOST_ENQUEUED_AT_ONCE]
                rows = await session.fetch(
                    "enqueue_calls",
                    json.dumps([_request(call) for call in part]),
                    self._expires_after_s,
                    self._past_tolerance_s + CHECKED_BEFORE_S,
                )
                for row in rows:
                    if row["refused"] is not None:
                        where = f"call {first + row['n']} of {len(calls)}: " if len(calls) > 1 else ""
                        raise REFUSALS[row["refused"]](where + row["problem"])
                    results.append(Enqueued(call_id=CallId(row["call_id"]), created=row["created"]))
        return results

    async def show(self, call_id: CallId) -> CallView:
        """A call with all that happened to it. Raises NotFound."""
        async with self._database.session() as session:
            row = await session.fetch_one("show_call", call_id)
            if row is None:
                raise NotFound(f"there is no call {call_id}")
            attempts = await session.fetch("list_attempts", call_id)
            dials = await session.fetch("list_dials", call_id)
            events = await session.fetch("list_events", call_id)
        return CallView(
            call=call_of(row),
            attempts=tuple(attempt_of(attempt) for attempt in attempts),
            dials=tuple(dial_of(dial) for dial in dials),
            events=tuple(event_of(event) for event in events),
        )

    async def list_calls(self, wanted: CallFilter) -> list[CallRow]:
        """Newest first. Raises BadInput for a limit out of range."""
        if not 1 <= wanted.limit <= MOST_LISTED_AT_ONCE:
            raise BadInput(f"the limit must be from 1 to {MOST_LISTED_AT_ONCE}, not {wanted.limit}")
        arguments: list[object] = [
            wanted.account,
            wanted.to,
            [state.value for state in wanted.states] or None,
            None if wanted.end_reason is None else wanted.end_reason.value,
            wanted.before,
            wanted.limit,
        ]
        if wanted.batch is None:
            rows = await self._database.fetch("list_calls", *arguments)
        else:
            rows = await self._database.fetch("list_calls_of_batch", *arguments, wanted.batch)
        return [call_of(row) for row in rows]

    async def request_cancel(self, call_id: CallId) -> CancelResult:
        """Withdraw a call: at once if it waits, else through the worker that holds it. Harmless when repeated."""
        return CancelResult(await self._database.fetch_value("request_cancel", call_id))

    async def summary(self, batch: str | None) -> BatchSummary:
        """How the calls of a batch ended, or all calls (None; reads all of them)."""
        unfinished: Counter[State] = Counter()
        ended: Counter[EndReason] = Counter()
        for row in await self._database.fetch("summarise_batch", batch):
            if row["end_reason"] is None:
                unfinished[State(row["state"])] += row["calls"]
            else:
                ended[EndReason(row["end_reason"])] += row["calls"]
        return BatchSummary(total=unfinished.total() + ended.total(), unfinished=unfinished, ended=ended)


def _request(call: NewCall) -> dict[str, object]:
    """The fields of enqueue_call (migration 0004). Metadata goes as text, so that the database reads exactly what was given."""
    return {
        "account": call.account,
        "to_number": call.to,
        "agent_name": call.agent_name,
        "metadata": call.metadata,
        "caller_id": call.caller_id,
        "display_name": call.display_name,
        "headers": dict(call.headers),
        "dtmf": call.dtmf,
        "ring_timeout_s": call.ring_timeout_s,
        "max_duration_s": call.max_duration_s,
        "priority": call.priority,
        "run_at": _moment("run_at", call.run_at),
        "expires_at": _moment("expires_at", call.expires_at),
        "idempotency_key": call.idempotency_key,
        "batch": call.batch,
        "trunk": call.trunk,
    }


def _moment(name: str, moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise BadInput(f"{name} {moment.isoformat()} has no time zone: give it one")
    return moment.isoformat()
