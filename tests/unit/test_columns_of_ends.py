"""What ends say reaches the database, and what none of them says is left out."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.ids import AccountId, CallId
from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.ends import COLUMNS, columns_of
from orchestrator.store.records import Aftermath, End, Outcome
from sip.events import Dialled


@dataclass(frozen=True, slots=True)
class Claimed:
    call_id: CallId
    account_id: AccountId
    epoch: int = 1


def end(number: int, *, ring_ms: int | None = None, redial_delay_s: float | None = None) -> End:
    outcome = Outcome(state=State.NOT_CONNECTED, reason=EndReason.USER_BUSY, dialled=Dialled.YES, ring_ms=ring_ms)
    return End(
        call=Claimed(call_id=CallId(number), account_id=AccountId(7)),
        outcome=outcome,
        aftermath=Aftermath(redial_delay_s=redial_delay_s),
    )


def test_what_no_end_says_is_an_empty_array_and_the_rest_has_a_value_of_each() -> None:
    columns = columns_of([end(1), end(2)])
    assert len(columns) == len(COLUMNS)
    assert {len(column) for column in columns} == {0, 2}
    assert columns[0] == [7, 7]
    assert columns[1] == [1, 2]


def test_zero_is_something_to_say() -> None:
    columns = columns_of([end(1, ring_ms=0), end(2, redial_delay_s=0.0)])
    assert [0, None] in columns
    assert [None, 0.0] in columns
