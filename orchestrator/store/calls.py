"""What the doors ask about calls: queueing, showing, listing, withdrawing, summing up. Never touches a claim."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from orchestrator.errors import BadInput, Conflict, DestinationForbidden, NotFound
from orchestrator.ids import CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.pool import Database, Session
from orchestrator.store.records import CancelResult
from orchestrator.store.rows import attempt_of, call_of, dial_of, event_of
from orchestrator.store.views import BatchSummary, CallFilter, CallRow, CallView, Enqueued, NewCall

MOST_ENQUEUED_AT_ONCE = 1000
MOST_LISTED_AT_ONCE = 1000

REFUSALS: dict[str, type[BadInput]] = {
    "bad_input": BadInput,
    "not_found": NotFound,
    "conflict": Conflict,
    "blocked": DestinationForbidden,
}
"""What `enqueue_calls` says of a call that it refuses."""


_AS_GIVEN = (
    *("caller_id", "display_name", "ring_timeout_s", "max_duration_s", "idempotency_key", "batch", "trunk", "calling_hours"),
    *("redial", "detection"),
)
"""Fields that mean nothing when they are None, under the names of enqueue_call."""


class CallStore:
    """Calls as the doors see them."""

    def __init__(self, *, database: Database, expires_after_s: float = 86_400.0, past_tolerance_s: float = 300.0) -> None:
        """`expires_after_s`: for calls that say nothing of their expiry. `past_tolerance_s`: how late a `run_at` may be."""
        self._database = database
        self._expires_after_s = expires_after_s
        self._past_tolerance_s = past_tolerance_s

    async def enqueue(self, calls: Sequence[NewCall]) -> list[Enqueued]:
        """Queue all of them in order or, raising BadInput (NotFound, Conflict, DestinationForbidden), none. Only inserts.

        A call with the key of an earlier one that asks for the same is not queued again: `created` is False, whatever has
        become of its time and its number meanwhile. DestinationForbidden: the number is on a do-not-call or suppression list.
        """
        results: list[Enqueued] = []
        async with self._database.transaction() as session:
            for part in _parts(calls):
                for result in await self._enqueue_part(session, part):
                    if not isinstance(result, Enqueued):
                        where = f"call {len(results) + 1} of {len(calls)}: " if len(calls) > 1 else ""
                        raise type(result)(f"{where}{result}")
                    results.append(result)
        return results

    async def enqueue_each(self, calls: Sequence[NewCall]) -> list[Enqueued | BadInput]:
        """Queue the good ones, each thousand in a transaction of its own; one result for each call, in order.

        Raises BadInput only for what the database cannot read at all; then none of a thousand is queued.
        """
        results: list[Enqueued | BadInput] = []
        for part in _parts(calls):
            async with self._database.session() as session:
                results += await self._enqueue_part(session, part)
        return results

    async def _enqueue_part(self, session: Session, calls: Sequence[NewCall]) -> list[Enqueued | BadInput]:
        rows = await session.fetch(
            "enqueue_calls", json.dumps([_request(call) for call in calls]), self._expires_after_s, self._past_tolerance_s
        )
        return [
            Enqueued(call_id=CallId(call_id), created=created) if refused is None else REFUSALS[refused](problem)
            for _, call_id, created, refused, problem in rows
        ]

    async def show(self, call_id: CallId) -> CallView:
        """A call with all that happened to it, as of one moment. Raises NotFound."""
        async with self._database.transaction(snapshot=True) as session:
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


def _parts(calls: Sequence[NewCall]) -> Iterator[Sequence[NewCall]]:
    for first in range(0, len(calls), MOST_ENQUEUED_AT_ONCE):
        yield calls[first : first + MOST_ENQUEUED_AT_ONCE]


def _request(call: NewCall) -> dict[str, object]:
    """The fields of enqueue_call (migration 0013) that say something.

    Metadata goes as text, so that the database reads exactly what was given.
    """
    request: dict[str, object] = {"account": call.account, "to_number": call.to, "metadata": call.metadata}
    if call.agent_name:
        request["agent_name"] = call.agent_name
    if call.headers:
        request["headers"] = dict(call.headers)
    if call.dtmf:
        request["dtmf"] = call.dtmf
    if call.priority:
        request["priority"] = call.priority
    if call.run_at is not None:
        request["run_at"] = _moment("run_at", call.run_at)
    if call.expires_at is not None:
        request["expires_at"] = _moment("expires_at", call.expires_at)
    for name in _AS_GIVEN:
        value = getattr(call, name)
        if value is not None:
            request[name] = value
    return request


def _moment(name: str, moment: datetime) -> str:
    if moment.tzinfo is None:
        raise BadInput(f"{name} {moment.isoformat()} has no time zone: give it one")
    return moment.isoformat()
