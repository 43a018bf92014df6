"""The intake refuses what cannot be called, in one sentence that says what to do, and changes nothing then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.call_fields import metadata_text
from orchestrator.enqueue import Intake, NewCallRequest, Refused
from orchestrator.errors import BadInput, Conflict, DestinationForbidden, InvalidNumber, NotFound
from orchestrator.ids import E164, AccountId, CallId
from orchestrator.store.policy import AccountRow
from orchestrator.store.views import Enqueued, NewCall

ACME = AccountRow(
    id=AccountId(1),
    name="acme",
    country="US",
    allowed_countries=(),
    allowed_specials=frozenset(),
    caller_ids=(E164("+12125550190"),),
    agent_name="ann",
    ring_timeout_s=30.0,
    max_duration_s=3600.0,
    trust_agent_leave=False,
    trunk="main",
    max_concurrent=1,
    reserved=0,
    weight=1.0,
    paused=False,
    inflight=0,
    ready=0,
)
NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
NEXT_DAY = datetime(2030, 1, 2, tzinfo=UTC)


class Shelf:
    """Accounts or trunks by name."""

    def __init__(self, kind: str, *rows) -> None:
        self.kind = kind
        self.rows = {getattr(row, "name", None) or row.trunk.name: row for row in rows}
        self.asked = 0

    async def get(self, name: str):
        self.asked += 1
        if name not in self.rows:
            raise NotFound(f"there is no {self.kind} {name}")
        return self.rows[name]


class Calls:
    """Numbers ending in 66 contradict what is stored; what holds one ending in 77 cannot be read at all."""

    def __init__(self) -> None:
        self.stored: list[NewCall] = []

    async def enqueue_each(self, calls: Sequence[NewCall]) -> list[Enqueued | BadInput]:
        if any(call.to.endswith("77") for call in calls):
            raise BadInput("the database cannot read this")
        return [self._enqueue(call) for call in calls]

    def _enqueue(self, call: NewCall) -> Enqueued | BadInput:
        if call.to.endswith("66"):
            return Conflict("the key stands for another call")
        self.stored.append(call)
        return Enqueued(call_id=CallId(len(self.stored)), created=True)


class Door:
    def __init__(self, *, fiction_allowed: bool = True) -> None:
        self.calls = Calls()
        self.accounts = Shelf(
            "account",
            ACME,
            replace(ACME, name="bare", trunk=None, agent_name=""),
            replace(ACME, name="mute", agent_name=""),
            replace(ACME, name="spaced", number_gap_s=300.0),
        )
        self.intake = Intake(accounts=self.accounts, calls=self.calls, fiction_allowed=fiction_allowed)

    async def ask(self, to: str = "+12125550100", *, account: str = "acme", **fields) -> NewCall:
        await self.intake.enqueue_one(NewCallRequest(account=account, to=to, **fields))
        return self.calls.stored[-1]


@pytest.fixture
def door() -> Door:
    return Door()


async def test_a_number_is_read_as_it_is_dialled_in_the_accounts_country(door):
    assert (await door.ask("(212) 555-0100")).to == "+12125550100"


async def test_what_the_request_leaves_open_is_left_to_the_store(door):
    call = await door.ask()
    assert (call.run_at, call.expires_at, call.caller_id, call.ring_timeout_s, call.agent_name) == (None, None, None, None, "")


async def test_a_caller_id_is_read_as_it_is_written_in_the_accounts_country(door):
    assert (await door.ask(caller_id="212-555-0191")).caller_id == "+12125550191"


async def test_a_call_may_have_hours_and_a_redial_policy_of_its_own(door):
    redial = {"max_attempts": 3, "delays": {"soon": [600]}, "jitter": 0.5}
    call = await door.ask(calling_hours=["mon-fri 09:00-17:00", "sun closed"], redial=redial)
    assert call.calling_hours == ("mon-fri 09:00-17:00", "sun closed")
    assert call.redial == {"max_attempts": 3, "delays": {"soon": [600.0]}, "jitter": 0.5}


@pytest.mark.parametrize(
    ("fields", "kind", "says"),
    [
        ({"account": "nobody"}, NotFound, "there is no account nobody"),
        ({"account": "mute"}, BadInput, "orchestrator accounts set mute --agent"),
        ({"to": "hello"}, InvalidNumber, "hello"),
        ({"to": "+442079460123"}, DestinationForbidden, "GB"),
        ({"to": "911"}, DestinationForbidden, "emergency"),
        ({"caller_id": "five"}, InvalidNumber, "five"),
        ({"calling_hours": ["mon-fri 17:00-09:00"]}, BadInput, "17:00-09:00"),
        ({"calling_hours": ["zone America/Gotham"]}, BadInput, "Gotham"),
        ({"redial": [3]}, BadInput, "redial must be a JSON object"),
        ({"redial": {"attempts": 3}}, BadInput, "redial has no 'attempts'"),
        ({"redial": {"max_attempts": 0}}, BadInput, "max_attempts must be a whole number from 1 to 50"),
        ({"redial": {"max_attempts": True}}, BadInput, "max_attempts must be a whole number from 1 to 50"),
        ({"redial": {"jitter": 2}}, BadInput, "jitter"),
        ({"redial": {"delays": [300]}}, BadInput, "redial delays must be a JSON object"),
        ({"redial": {"delays": {"sometimes": [300]}}}, BadInput, "there is no redial class 'sometimes'"),
        ({"redial": {"delays": {"soon": [-1]}}}, BadInput, "above 0"),
        ({"account": "spaced", "redial": {"delays": {"soon": [60]}}}, BadInput, "shorter than the account's 300 s"),
        ({"metadata": [1]}, BadInput, "metadata must be a JSON object"),
        ({"metadata": "x"}, BadInput, "not a text"),
        ({"metadata": {"a": "x" * 65_536}}, BadInput, "at most 65,536 are allowed"),
        ({"metadata": {"a": float("nan")}}, BadInput, "NaN"),
        ({"metadata": {"a": "\0"}}, BadInput, "NUL"),
        ({"metadata": {"a": "\ud800"}}, BadInput, "surrogate"),
        ({"ring_timeout_s": 4.0}, BadInput, "ring timeout must be 5 to 60 seconds, not 4"),
        ({"ring_timeout_s": float("nan")}, BadInput, "ring timeout must be 5 to 60"),
        ({"max_duration_s": 0.0}, BadInput, "maximum duration must be 1 to 86370"),
        ({"priority": 101}, BadInput, "priority must be -100 to 100"),
        ({"dtmf": "12x"}, BadInput, "dtmf"),
        ({"display_name": "x" * 129}, BadInput, "at most 128"),
        ({"display_name": "a\r\nVia: b"}, BadInput, "control character"),
        ({"headers": {"X-A": "a\r\nVia: b"}}, BadInput, "control character"),
        ({"headers": {"X A": "1"}}, BadInput, "no name of a SIP header"),
        ({"headers": {"Contact": "1"}}, BadInput, "written by the SIP service"),
        ({"headers": {"X-A": "x" * 9000}}, BadInput, "8,192 bytes"),
        ({"key": ""}, BadInput, "key must have 1 to 255"),
        ({"key": "x" * 256}, BadInput, "key must have 1 to 255"),
        ({"batch": "a\nb"}, BadInput, "control character"),
        ({"run_at": NEW_YEAR.replace(tzinfo=None)}, BadInput, "has no zone"),
        ({"run_at": NEXT_DAY, "expires_at": NEW_YEAR}, BadInput, "is not after run_at"),
    ],
)  # fmt: skip
async def test_what_cannot_be_taken_is_refused_with_its_reason_and_nothing_is_stored(door, fields, kind, says):
    with pytest.raises(kind) as refused:
        await door.ask(**fields)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert door.calls.stored == []


async def test_whether_a_time_is_past_is_the_databases_to_say(door):
    """By its clock, and not of a call that was queued before."""
    assert (await door.ask(run_at=datetime(2020, 1, 1, tzinfo=UTC))).run_at is not None


async def test_what_the_database_cannot_read_is_found_among_the_others(door):
    numbers = ["+12125550100", "+12125550177", "+12125550101", "+12125550102"]
    results = await door.intake.enqueue([NewCallRequest(account="acme", to=number) for number in numbers])
    assert [isinstance(result, Refused) for result in results] == [False, True, False, False]
    assert [call.to for call in door.calls.stored] == ["+12125550100", "+12125550101", "+12125550102"]


async def test_numbers_reserved_for_fiction_are_for_the_simulated_carrier_only():
    with pytest.raises(InvalidNumber, match="reserved for fiction"):
        await Door(fiction_allowed=False).ask("+12125550100")


async def test_of_many_requests_the_good_ones_are_queued_and_each_result_stands_in_its_place(door):
    numbers = ["+12125550100", "911", "+12125550166", "+12125550101", "+12125550166", "+12125550102"]
    results = await door.intake.enqueue([NewCallRequest(account="acme", to=number) for number in numbers])
    assert [isinstance(result, Refused) for result in results] == [False, True, True, False, True, False]
    assert [call.to for call in door.calls.stored] == ["+12125550100", "+12125550101", "+12125550102"]
    conflict = results[2]
    assert isinstance(conflict, Refused)
    assert isinstance(conflict.error, Conflict)
    assert conflict.to == "+12125550166"


async def test_an_account_is_looked_up_once_for_all_its_requests(door):
    await door.intake.enqueue([NewCallRequest(account="acme", to="+12125550100") for _ in range(100)])
    assert door.accounts.asked == 1


def test_an_escaped_backslash_before_u0000_is_no_nul():
    assert metadata_text({"a": "\\u0000"}) == '{"a": "\\\\u0000"}'
