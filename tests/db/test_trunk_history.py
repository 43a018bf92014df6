"""What is read of a trunk's history: dials that rang and were not answered, and who answered the number later."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.errors import NotFound
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.records import Aftermath, Outcome
from orchestrator.store.trunk_history import PastDial, TrunkHistoryStore
from sip.events import Dialled
from tests.db.office import BUSY, HUNG_UP, Office

UNAVAILABLE = Outcome(
    state=State.NOT_CONNECTED,
    reason=EndReason.VOICEMAIL_DETECTED_PRECONNECT,
    dialled=Dialled.YES,
    sip_code=480,
    sip_reason="Temporarily Unavailable",
    ring_ms=5000,
)
MACHINE = dataclasses.replace(HUNG_UP, reason=EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED, answered_by=AnsweredBy.MACHINE)


async def history(office: Office) -> list[PastDial]:
    return list(await TrunkHistoryStore(database=office.database).dials("main", days=90))


async def rang(office: Office, to: str, outcome: Outcome = UNAVAILABLE) -> None:
    assert await office.finish(await office.ringing(to=to), outcome)


async def answered(office: Office, to: str, outcome: Outcome) -> None:
    assert await office.finish(await office.active(to=to), outcome)


async def test_who_answered_the_number_later_is_told_beside_code_and_ring_time(office):
    numbers = [f"+1212555020{n}" for n in range(4)]
    for to in numbers:
        await rang(office, to)
    await answered(office, numbers[0], MACHINE)
    await answered(office, numbers[1], HUNG_UP)
    await answered(office, numbers[2], dataclasses.replace(HUNG_UP, answered_by=AnsweredBy.UNKNOWN))
    assert await history(office) == [
        PastDial(sip_code=480, ring_ms=5000, ring_timeout_ms=30_000, later_machine=later) for later in (None, None, False, True)
    ]


async def test_the_next_answer_counts_and_no_earlier_one(office):
    to = "+12125550201"
    await answered(office, to, MACHINE)
    await rang(office, to)
    assert [dial.later_machine for dial in await history(office)] == [None]
    await answered(office, to, HUNG_UP)
    await answered(office, to, MACHINE)
    assert [dial.later_machine for dial in await history(office)] == [False]


async def test_another_accounts_answer_counts_for_nothing(office):
    await rang(office, "+12125550201")
    await office.open_account("globex")
    await office.finish(await office.active(account="globex", to="+12125550201"), MACHINE)
    assert [dial.later_machine for dial in await history(office)] == [None]


async def test_an_attempt_that_was_followed_by_another_is_there_too(office):
    await office.change_account("acme", max_attempts=3)
    call = await office.ringing(to="+12125550201")
    finished = await office.ends.finish(call, UNAVAILABLE, Aftermath(redial_delay_s=60.0))
    assert finished.state is State.SCHEDULED
    assert [(dial.sip_code, dial.ring_ms) for dial in await history(office)] == [(480, 5000)]


async def test_dials_that_did_not_ring_have_no_ring_time_and_are_left_out(office):
    assert await office.finish(await office.dialing(to="+12125550201"), BUSY)
    assert await history(office) == []


async def test_a_trunk_that_does_not_exist_is_named(office):
    with pytest.raises(NotFound, match="nowhere"):
        await TrunkHistoryStore(database=office.database).dials("nowhere", days=1)
