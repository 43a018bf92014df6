"""How calls leave a worker's hands: they end, or go back to the queue for their next attempt or unspent.

Every write is guarded by (account, id, epoch, state): `ours=False` says that the claim is no longer ours, and the caller stops.
A write whose commit took place but whose answer was lost may be asked again: it is recognised as done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from orchestrator.lifecycle import State
from orchestrator.store.pool import Contended, Database, Row
from orchestrator.store.records import Aftermath, Claim, End, Finished, Outcome, WaitingFor
from orchestrator.store.rows import json_text
from sip.events import Fact

MOST_FINISHED_AT_ONCE = 100

NO_AFTERMATH = Aftermath()


class HeldUp(Contended):
    """Somebody else holds a row that an end needs, for longer than 2 s. Nothing was written; ask again."""


class Ends(Protocol):
    """Where a conductor has ends written; EndsStore is one, and `orchestrator.calls.registrar.Registrar` another."""

    async def finish(self, call: Claim, outcome: Outcome, aftermath: Aftermath = NO_AFTERMATH) -> Finished:
        """See EndsStore."""
        ...

    async def requeue(
        self,
        call: Claim,
        *,
        delay_s: float,
        waiting_for: WaitingFor,
        detail: Mapping[str, Fact],
        aftermath: Aftermath = NO_AFTERMATH,
        agent_came: bool | None = None,
    ) -> bool:
        """See EndsStore."""
        ...


class EndsStore:
    """The ends of calls."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def finish(self, call: Claim, outcome: Outcome, aftermath: Aftermath = NO_AFTERMATH) -> Finished:
        """Write the one end of a call or of its attempt; free slot, agent and channel.

        Raises ForbiddenTransition if the lifecycle forbids the state, BadInput for a value that cannot be stored, HeldUp.
        """
        (finished,) = await self.finish_all([End(call=call, outcome=outcome, aftermath=aftermath)])
        return finished

    async def finish_all(self, ends: Sequence[End]) -> list[Finished]:
        """Write up to 100 ends in one transaction, all or none; answers are in the order given.

        Raises what `finish` raises, without saying for which of them, and HeldUp.
        """
        if not 1 <= len(ends) <= MOST_FINISHED_AT_ONCE:
            raise ValueError(f"ends must be from 1 to {MOST_FINISHED_AT_ONCE}, not {len(ends)}")
        order = sorted(range(len(ends)), key=lambda place: ends[place].call.call_id)  # in which calls are locked
        rows = await self._ask("finish_calls", *columns_of([ends[place] for place in order]))
        found = {
            order[row["n"] - 1]: Finished(ours=row["ours"], state=State(row["state"]) if row["ours"] else None) for row in rows
        }
        return [found[place] for place in range(len(ends))]

    async def requeue(
        self,
        call: Claim,
        *,
        delay_s: float,
        waiting_for: WaitingFor,
        detail: Mapping[str, Fact],
        aftermath: Aftermath = NO_AFTERMATH,
        agent_came: bool | None = None,
    ) -> bool:
        """Put a claimed call back, or a dialing one whose request rang no phone; free slot, agent and channel.

        `delay_s`: real seconds. `aftermath`: only what it says of the trunk counts, since nothing is spent. `agent_came`: None
        says nothing. A call whose cancel was requested meanwhile is canceled instead, which also counts as done. Raises HeldUp.
        """
        (row,) = await self._ask(
            "requeue_call",
            call.account_id,
            call.call_id,
            call.epoch,
            float(delay_s),
            waiting_for.value,
            json_text(detail),
            aftermath.trunk_verdict.value,
            _text(aftermath.trunk_code),
            agent_came,
        )
        return bool(row["ours"])

    async def _ask(self, statement: str, *arguments: object) -> list[Row]:
        try:
            return await self._database.fetch(statement, *arguments)
        except Contended as error:
            raise HeldUp(
                f"another transaction holds what the end of a call needs ({error.__cause__}): asked again soon"
            ) from error


def columns_of(ends: Sequence[End]) -> list[list[object]]:
    """The arguments of finish_calls.sql. What is said of no end is an empty array: most of an end's fields are, and an array
    costs the client more than the statement."""
    columns = [[column(end) for end in ends] for column in COLUMNS]
    return [[] if NOTHING.issuperset(column) else column for column in columns]


def _text(text: str) -> str:
    """NUL cannot be stored; a far end's text may hold anything."""
    return text.replace("\0", "")


COLUMNS: Sequence[Callable[[End], object]] = (
    lambda end: end.call.account_id,
    lambda end: end.call.call_id,
    lambda end: end.call.epoch,
    lambda end: end.outcome.state.value,
    lambda end: end.outcome.reason.value,
    lambda end: end.outcome.dialled.value,
    lambda end: None if end.outcome.answered_by is None else end.outcome.answered_by.value,
    lambda end: end.outcome.sip_code,
    lambda end: _text(end.outcome.sip_reason),
    lambda end: end.outcome.q850_cause,
    lambda end: _text(end.outcome.hangup_cause),
    lambda end: _text(end.outcome.error_code),
    lambda end: _text(end.outcome.error_message),
    lambda end: end.outcome.pdd_ms,
    lambda end: end.outcome.ring_ms,
    lambda end: end.outcome.ring_error_ms,
    lambda end: end.outcome.talk_ms,
    lambda end: _text(end.outcome.sip_call_id),
    lambda end: _text(end.outcome.livekit_sip_call_id),
    lambda end: _text(end.outcome.participant_sid),
    lambda end: json_text(end.outcome.evidence),
    lambda end: end.aftermath.trunk_verdict.value,
    lambda end: _text(end.aftermath.trunk_code),
    lambda end: end.aftermath.redial_delay_s,
    lambda end: end.aftermath.suppress_number_s,
)
"""The arguments of finish_calls.sql, in order: each is an array of one value of each end."""

NOTHING = frozenset([None, "", "{}"])
"""What a column says that says nothing."""
