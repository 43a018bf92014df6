"""How calls leave a worker's hands: in batches, with what follows from an end, and with another attempt after it."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import asyncpg
import pytest

from orchestrator.errors import BadInput, ForbiddenTransition
from orchestrator.lifecycle import State
from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.agents import AgentPoolStore
from orchestrator.store.ends import EndsStore, HeldUp
from orchestrator.store.policy import NewTrunk
from orchestrator.store.records import (
    Aftermath,
    CancelResult,
    ClaimedCall,
    DialGranted,
    End,
    Finished,
    Gate,
    Outcome,
    TrunkVerdict,
    WaitingFor,
)
from sip.events import Dialled
from tests.db.office import BUSY, HUNG_UP, NEVER_DIALLED, Office

MACHINE = Outcome(
    state=State.ENDED,
    reason=EndReason.AGENT_HUNG_UP_VOICEMAIL_DETECTED,
    dialled=Dialled.YES,
    answered_by=AnsweredBy.MACHINE,
    sip_code=200,
    ring_ms=4000,
    talk_ms=3000,
    sip_call_id="a@b",
)
WRONG_NUMBER = Outcome(
    state=State.NOT_CONNECTED,
    reason=EndReason.SIP_FAILED_WRONG_NUMBER,
    dialled=Dialled.YES,
    sip_code=404,
    sip_reason="Not Found",
)
AGAIN = Aftermath(redial_delay_s=600.0)
SUPPRESS = Aftermath(trunk_verdict=TrunkVerdict.NUMBER, trunk_code="404", suppress_number_s=90 * 86_400.0)


def number(n: int) -> str:
    return f"+1212555{n:04d}"


@pytest.fixture
def ends(office: Office) -> EndsStore:
    return office.ends


def plain(*calls: ClaimedCall, outcome: Outcome = BUSY) -> list[End]:
    return [End(call=call, outcome=outcome) for call in calls]


async def nothing_is_held(office: Office) -> None:
    assert await office.held() == (0, 0)
    assert (await office.drift()).total == 0


async def ends_once(office: Office, *calls: ClaimedCall) -> None:
    """I3 and I4: an end reason, an end and one event of it, or none of them."""
    for call in calls:
        view = await office.calls.show(call.call_id)
        terminal = [event for event in view.events if event.state is not None and event.state.is_terminal]
        assert len(terminal) == (1 if view.call.state.is_terminal else 0)
        assert (view.call.end_reason is None) is (view.call.ended_at is None)
        assert all(attempt.ended_at is not None for attempt in view.attempts[:-1])


# -- batches -----------------------------------------------------------------------------------------------------------------


async def test_ends_of_any_accounts_trunks_and_agents_are_written_together(office: Office, ends: EndsStore):
    await office.trunks.create(NewTrunk(name="other", sip_trunk_id="ST_other", max_channels=10, max_cps=100.0))
    await office.open_account("zeta", trunk="other", agent_name="closer")
    await AgentPoolStore(database=office.database).set_capacity("closer", 4)
    calls = {}
    stages = [(account, stage) for account in ("acme", "zeta") for stage in ("claimed", "dialing", "ringing", "active")]
    for n, (account, stage) in enumerate(stages):
        calls[account, stage] = await getattr(office, stage)(account=account, to=number(n))
    assert await office.held() == (8, 8)
    batch = [
        End(call=call, outcome=HUNG_UP if stage == "active" else BUSY, aftermath=Aftermath(trunk_verdict=TrunkVerdict.GOOD))
        for (_, stage), call in calls.items()
    ]
    assert await ends.finish_all(batch) == [Finished(ours=True, state=end.outcome.state) for end in batch]
    await nothing_is_held(office)
    await ends_once(office, *calls.values())
    for (account, stage), call in calls.items():
        view = await office.calls.show(call.call_id)
        assert (view.call.account, view.call.outcome.reason) == (
            account,
            EndReason.USER_HUNG_UP_IN_CALL if stage == "active" else EndReason.USER_BUSY,
        )
        assert [attempt.end_reason for attempt in view.attempts] == [view.call.end_reason] * (stage != "claimed")
        assert [dial.spent for dial in view.dials] == [True] * (stage != "claimed")
    assert [row["end_reason"] for row in await office.sql("SELECT end_reason FROM dials WHERE end_reason IS NULL")] == []


async def test_each_end_of_a_batch_is_guarded_by_itself(office: Office, ends: EndsStore):
    good, stale, foreign, back, ended = [await office.claimed(to=number(n)) for n in range(5)]
    assert await ends.requeue(back, delay_s=60, waiting_for=WaitingFor.AGENT, detail={})
    assert (await ends.finish(ended, NEVER_DIALLED)).ours
    await office.open_account("zeta")
    ((zeta,),) = await office.sql("SELECT id FROM accounts WHERE name = 'zeta'")
    batch = plain(
        dataclasses.replace(stale, epoch=stale.epoch + 1), good, dataclasses.replace(foreign, account_id=zeta), back, ended
    )
    assert [answer.ours for answer in await ends.finish_all(batch)] == [False, True, False, False, False]
    assert [await office.state(call.call_id) for call in (good, stale, foreign, back)] == [
        State.NOT_CONNECTED,
        State.CLAIMED,
        State.CLAIMED,
        State.SCHEDULED,
    ]
    assert await office.held() == (2, 2)
    assert (await office.drift()).total == 0


async def test_a_batch_whose_answer_was_lost_may_be_asked_again(office: Office, ends: EndsStore):
    one, two, three = await office.active(to=number(1)), await office.dialing(to=number(2)), await office.ringing(to=number(3))
    other = await office.active(to=number(4))
    batch = [*plain(one, outcome=HUNG_UP), *plain(two), End(call=three, outcome=BUSY, aftermath=AGAIN)]
    answers = [Finished(ours=True, state=state) for state in (State.ENDED, State.NOT_CONNECTED, State.SCHEDULED)]
    for _ in range(3):
        assert await ends.finish_all(batch) == answers
    # Half of it again, together with what is new.
    assert [answer.ours for answer in await ends.finish_all([*batch[1:], *plain(other, outcome=HUNG_UP)])] == [True] * 3
    await nothing_is_held(office)
    await ends_once(office, one, two, three, other)
    assert (await office.states(three.call_id)).count("scheduled") == 2


async def test_an_end_that_is_given_twice_in_one_batch_is_written_once(office: Office, ends: EndsStore):
    call, other = await office.dialing(to=number(1)), await office.dialing(to=number(2))
    assert [answer.ours for answer in await ends.finish_all(plain(call, call))] == [True, True]
    assert await office.held() == (1, 1)
    assert (await ends.finish(other, BUSY)).ours
    await ends_once(office, call, other)


async def test_one_end_that_is_forbidden_leaves_the_batch_unwritten(office: Office, ends: EndsStore):
    fine, wrong = await office.dialing(to=number(1)), await office.claimed(to=number(2))
    with pytest.raises(ForbiddenTransition):
        await ends.finish_all([*plain(fine), *plain(wrong, outcome=HUNG_UP)])
    with pytest.raises(BadInput):
        await ends.finish_all([*plain(fine), *plain(wrong, outcome=dataclasses.replace(NEVER_DIALLED, sip_code=42))])
    assert await office.held() == (2, 2)
    assert await office.state(fine.call_id) is State.DIALING


async def test_a_batch_has_one_to_a_hundred_ends(office: Office, ends: EndsStore):
    await office.change_account("acme", max_concurrent=1000)
    await office.ready(100)
    calls = await office.queue.claim_calls(100)
    with pytest.raises(ValueError, match="from 1 to 100"):
        await ends.finish_all([])
    with pytest.raises(ValueError, match="from 1 to 100"):
        await ends.finish_all(plain(*calls, calls[0]))
    assert all(answer.ours for answer in await ends.finish_all(plain(*calls, outcome=NEVER_DIALLED)))
    await nothing_is_held(office)


# -- another attempt ---------------------------------------------------------------------------------------------------------


async def due_now(office: Office, call: ClaimedCall) -> None:
    await office.sql(
        "UPDATE calls SET run_at = now() - interval '1 ms', expires_at = now() + interval '1 h' WHERE id = $1",
        call.call_id,
    )


async def claimed_again(office: Office, call: ClaimedCall) -> ClaimedCall:
    await due_now(office, call)
    await office.stage()
    (again,) = await office.queue.claim_calls(1)
    assert (again.call_id, again.epoch) == (call.call_id, call.epoch + 1)
    return again


@pytest.mark.parametrize("stage", ["dialing", "ringing", "active"])
async def test_an_attempt_that_is_followed_by_another_ends_with_its_details_and_the_call_waits(
    office: Office, ends: EndsStore, stage: str
):
    call = await getattr(office, stage)()
    outcome = dataclasses.replace(MACHINE if stage == "active" else BUSY, evidence={"heard": "beep"})
    before = (await office.sql("SELECT now() AS now"))[0]["now"]
    assert await ends.finish(call, outcome, AGAIN) == Finished(ours=True, state=State.SCHEDULED)
    await nothing_is_held(office)
    await ends_once(office, call)

    view = await office.calls.show(call.call_id)
    assert (view.call.state, view.call.waiting_for, view.call.outcome) == (State.SCHEDULED, WaitingFor.REDIAL, None)
    assert timedelta(seconds=600) <= view.call.run_at - before <= timedelta(seconds=660)
    assert (view.call.dialed_at, view.call.ringing_at, view.call.answered_at, view.call.trunk) == (None, None, None, None)
    assert [(a.number, a.end_reason) for a in view.attempts] == [(1, outcome.reason)]
    (dial,) = view.dials
    assert (dial.spent, dial.dialled, dial.sip_code, dial.sip_call_id) == (
        True,
        Dialled.YES,
        outcome.sip_code,
        outcome.sip_call_id,
    )
    event = view.events[-1]
    assert event.state is State.SCHEDULED
    assert {name: event.detail[name] for name in ("attempt", "end_reason", "ended_as", "heard")} == {
        "attempt": 1,
        "end_reason": outcome.reason.value,
        "ended_as": outcome.state.value,
        "heard": "beep",
    }
    assert event.detail.get("talk_ms") == outcome.talk_ms


async def test_a_call_ends_once_with_its_last_attempt(office: Office, ends: EndsStore):
    first = await office.ringing()
    assert (await ends.finish(first, BUSY, AGAIN)).state is State.SCHEDULED
    second = await claimed_again(office, first)
    await office.begin(second)
    # The first end's answer was lost, and its worker asks only now: it is still its end, and touches nothing.
    assert await ends.finish(first, BUSY, AGAIN) == Finished(ours=True, state=State.SCHEDULED)
    assert not (await ends.finish(first, HUNG_UP, AGAIN)).ours
    assert await office.state(first.call_id) is State.DIALING
    assert (await ends.finish(second, BUSY)).state is State.NOT_CONNECTED
    assert await ends.finish(first, BUSY, AGAIN) == Finished(ours=True, state=State.SCHEDULED)
    view = await office.calls.show(first.call_id)
    assert [(a.number, a.end_reason) for a in view.attempts] == [(1, EndReason.USER_BUSY), (2, EndReason.USER_BUSY)]
    assert [(d.attempt, d.number, d.epoch) for d in view.dials] == [(1, 1, 1), (2, 1, 2)]
    assert view.call.deferrals == 0
    await nothing_is_held(office)
    await ends_once(office, first)


async def test_there_is_no_other_attempt_for_a_call_that_was_canceled_meanwhile(office: Office, ends: EndsStore):
    call = await office.ringing()
    assert await office.calls.request_cancel(call.call_id) is CancelResult.REQUESTED
    assert await ends.finish(call, BUSY, AGAIN) == Finished(ours=True, state=State.NOT_CONNECTED)
    await nothing_is_held(office)


async def test_there_is_no_other_attempt_for_a_call_that_was_not_dialled(office: Office, ends: EndsStore):
    call = await office.claimed()
    assert (await ends.finish(call, NEVER_DIALLED, AGAIN)).state is State.NOT_CONNECTED


async def test_there_is_no_other_attempt_after_the_time_that_was_given_for_the_whole_call(office: Office, ends: EndsStore):
    (now,) = await office.sql("SELECT now() AS now")
    late, early = [
        await office.ringing(to=number(n), expires_at=now["now"] + timedelta(seconds=s)) for n, s in enumerate((300, 1200))
    ]
    answers = await ends.finish_all([End(call=call, outcome=BUSY, aftermath=AGAIN) for call in (late, early)])
    assert [answer.state for answer in answers] == [State.NOT_CONNECTED, State.SCHEDULED]
    assert (await office.calls.show(early.call_id)).call.expires_at == now["now"] + timedelta(seconds=1200)
    await nothing_is_held(office)


async def test_each_attempt_has_its_own_time_when_none_was_given_for_the_whole_call(office: Office, ends: EndsStore):
    call = await office.ringing()
    assert (await ends.finish(call, BUSY, Aftermath(redial_delay_s=3 * 86_400.0))).state is State.SCHEDULED
    view = (await office.calls.show(call.call_id)).call
    assert view.expires_at - view.run_at == timedelta(days=1)


async def test_the_next_attempt_waits_for_the_accounts_spacing_of_dials_to_one_number(office: Office, ends: EndsStore):
    """From the dial that has just been: a delay that nobody set may be shorter."""
    await office.change_account("acme", number_gap_s=3600.0)
    short, long = await office.ringing(to=number(1)), await office.ringing(to=number(2))
    for call in (short, long):
        await office.sql("UPDATE dials SET intent_at = intent_at - interval '10 min' WHERE call_id = $1", call.call_id)
        await office.sql("UPDATE calls SET dialed_at = dialed_at - interval '10 min' WHERE id = $1", call.call_id)
    delays_s = {short.call_id: 300.0, long.call_id: 7200.0}
    for call in (short, long):
        assert (await ends.finish(call, BUSY, Aftermath(redial_delay_s=delays_s[call.call_id]))).state is State.SCHEDULED
    waits = await office.sql("SELECT id, extract(epoch FROM run_at - now())::float AS wait_s FROM calls ORDER BY id")
    assert [round(row["wait_s"] / 600) for row in waits] == [5, 12], "an hour from the dial; two hours from the end"
    again = await claimed_again(office, short)
    assert (await office.begin(again)).gate is Gate.NUMBER_GAP, "claimed sooner, it would only have been refused"


async def test_there_is_no_other_attempt_if_the_spacing_leaves_no_time_for_it(office: Office, ends: EndsStore):
    await office.change_account("acme", number_gap_s=3600.0)
    (now,) = await office.sql("SELECT now() AS now")
    call = await office.ringing(expires_at=now["now"] + timedelta(seconds=1800))
    assert (await ends.finish(call, BUSY, AGAIN)).state is State.NOT_CONNECTED


@pytest.mark.parametrize(("stage", "outcome"), [("ringing", BUSY), ("active", MACHINE)])
async def test_a_call_that_expires_before_its_next_attempt_ends_as_the_last_one_did(
    office: Office, ends: EndsStore, stage: str, outcome: Outcome
):
    call = await getattr(office, stage)()
    assert (await ends.finish(call, outcome, AGAIN)).state is State.SCHEDULED
    await office.sql("UPDATE calls SET run_at = now(), expires_at = now() - interval '1 s' WHERE id = $1", call.call_id)
    assert await office.queue.expire_calls(10) == [(call.call_id, outcome.reason)]
    view = await office.calls.show(call.call_id)
    assert (view.call.state, view.call.outcome.reason, view.call.outcome.dialled) == (
        outcome.state,
        outcome.reason,
        Dialled.YES,
    )
    assert [attempt.number for attempt in view.attempts] == [1]
    # The worker that had the attempt is told that its end was written, as ever.
    assert (await ends.finish(call, outcome, AGAIN)).ours
    await nothing_is_held(office)
    await ends_once(office, call)


async def test_a_call_that_is_withdrawn_between_attempts_has_been_dialled(office: Office, ends: EndsStore):
    call = await office.ringing()
    await ends.finish(call, BUSY, AGAIN)
    assert await office.calls.request_cancel(call.call_id) is CancelResult.CANCELED
    assert (await office.calls.show(call.call_id)).call.outcome.dialled is Dialled.YES
    await ends_once(office, call)


@pytest.mark.parametrize("way", ["end", "cancel"])
async def test_a_phone_that_rang_in_an_earlier_attempt_is_not_forgotten(office: Office, ends: EndsStore, way: str):
    call = await office.ringing()
    await ends.finish(call, BUSY, AGAIN)
    again = await claimed_again(office, call)
    if way == "end":
        blocked = Outcome(state=State.NOT_CONNECTED, reason=EndReason.BLOCKED_DO_NOT_CALL, dialled=Dialled.NO)
        assert (await ends.finish(again, blocked)).ours
    else:
        assert await office.calls.request_cancel(call.call_id) is CancelResult.REQUESTED
        assert await ends.requeue(again, delay_s=60, waiting_for=WaitingFor.AGENT, detail={})
    assert (await office.calls.show(call.call_id)).call.outcome.dialled is Dialled.YES
    await ends_once(office, call)
    await nothing_is_held(office)


async def test_a_number_is_free_for_others_while_its_call_waits_for_its_next_attempt(office: Office, ends: EndsStore):
    call = await office.ringing()
    await ends.finish(call, BUSY, AGAIN)
    other = await office.dialing()
    assert (await ends.finish(other, BUSY)).ours


async def test_who_adopted_a_live_call_ends_its_dial_too(office: Office, ends: EndsStore):
    call = await office.ringing()
    other = await office.workers.register(name="two", version="1", capacity=10)
    await office.sql("UPDATE workers SET stopped_at = now() WHERE name = 'one'")
    ((epoch,),) = await office.sql("SELECT adopt_call($1, $2, $3, 60)", call.call_id, call.epoch, other)
    assert not (await ends.finish(call, BUSY)).ours
    assert (await ends.finish(dataclasses.replace(call, epoch=epoch), BUSY, AGAIN)).state is State.SCHEDULED
    assert (await ends.finish(dataclasses.replace(call, epoch=epoch), BUSY, AGAIN)).state is State.SCHEDULED
    assert [dial.spent for dial in (await office.calls.show(call.call_id)).dials] == [True]
    await nothing_is_held(office)


# -- what an end says of its number --------------------------------------------------------------------------------------------


async def listed(office: Office) -> list[tuple[str, str, str]]:
    rows = await office.sql("SELECT to_number, kind, source FROM do_not_call ORDER BY to_number")
    return [tuple(row) for row in rows]


async def trunk_answered(office: Office, ago: str | None) -> None:
    await office.sql("UPDATE trunk_health SET answered_at = now() - $1::text::interval", ago)


@pytest.mark.parametrize(("ago", "believed"), [(None, False), ("25 h", False), ("23 h", True)])
async def test_a_number_is_suppressed_only_on_the_word_of_a_trunk_that_completed_a_call_lately(
    office: Office, ends: EndsStore, ago: str | None, believed: bool
):
    call = await office.dialing(to=number(1))
    await trunk_answered(office, ago)
    assert (await ends.finish(call, WRONG_NUMBER, SUPPRESS)).ours
    assert await listed(office) == [(number(1), "suppression", f"call {call.call_id}")] * believed
    kinds = [event.kind for event in (await office.calls.show(call.call_id)).events]
    assert ("number_suppressed" in kinds) is believed
    if believed:
        rows = await office.sql("SELECT reason, expires_at - created_at AS time, account_id FROM do_not_call")
        assert rows[0]["reason"] == "SIP_FAILED_WRONG_NUMBER"
        assert timedelta(days=89) < rows[0]["time"] < timedelta(days=91)
        assert rows[0]["account_id"] == call.account_id
    await nothing_is_held(office)


@pytest.mark.parametrize(
    ("kind", "expires_in", "kept"),
    [
        ("do_not_call", None, True),
        ("do_not_call", "1 h", True),
        ("do_not_call", "-1 h", False),
        ("suppression", "100 days", True),
        ("suppression", "1 h", False),
    ],
)
async def test_a_suppression_takes_nothing_away(office: Office, ends: EndsStore, kind: str, expires_in: str | None, kept: bool):
    call = await office.dialing(to=number(1))
    await trunk_answered(office, "1 min")
    await office.sql(
        "INSERT INTO do_not_call (account_id, number_key, to_number, kind, source, expires_at)"
        " VALUES ($1, number_key($2), $2, $3, 'before', now() + $4::text::interval)",
        call.account_id,
        number(1),
        kind,
        expires_in,
    )
    assert (await ends.finish(call, WRONG_NUMBER, SUPPRESS)).ours
    assert (await listed(office))[0][1:] == ((kind, "before") if kept else ("suppression", f"call {call.call_id}"))


async def test_an_open_import_of_the_same_number_holds_up_no_end(office: Office, ends: EndsStore, database_url: str):
    call, other = await office.dialing(to=number(1)), await office.dialing(to=number(2))
    await trunk_answered(office, "1 min")
    importer = await asyncpg.connect(database_url)
    transaction = importer.transaction()
    await transaction.start()
    await importer.execute(
        "INSERT INTO do_not_call (account_id, number_key, to_number, kind, source)"
        " VALUES ($1, number_key($2), $2, 'do_not_call', 'import')",
        call.account_id,
        number(1),
    )
    batch = [End(call=call, outcome=WRONG_NUMBER, aftermath=SUPPRESS), *plain(other)]
    assert [answer.ours for answer in await ends.finish_all(batch)] == [True, True]
    await transaction.commit()
    assert await listed(office) == [(number(1), "do_not_call", "import")]
    await nothing_is_held(office)
    await importer.close()


# -- what an end says of its trunk and its agents ------------------------------------------------------------------------------


async def test_good_news_of_a_trunk_that_is_known_to_be_well_is_not_written(office: Office, ends: EndsStore):
    versions = set()
    for n in range(4):
        call = await office.active(to=number(n))
        assert (await ends.finish(call, HUNG_UP, Aftermath(trunk_verdict=TrunkVerdict.ANSWERED))).ours
        versions.add((await office.sql("SELECT xmin::text, answered_at IS NOT NULL AS known FROM trunk_health"))[0])
    assert len(versions) == 1
    assert [row["known"] for row in versions] == [True]


@pytest.mark.parametrize("way", ["finish", "requeue"])
async def test_a_probe_that_says_nothing_lets_the_next_one_probe(office: Office, ends: EndsStore, way: str):
    await office.ready(2)
    half_open = "circuit_until = now() - interval '1 s', circuit_opened_at = now() - interval '1 min', circuit_openings = 1"
    await office.sql(f"UPDATE trunk_channels SET {half_open}")  # noqa: S608
    await office.sql(f"UPDATE agent_pools SET {half_open}")  # noqa: S608
    for _ in range(3):
        (probe,) = await office.queue.claim_calls(10)
        assert await office.queue.claim_calls(10) == []
        probing = [
            tuple(row)
            for row in await office.sql("SELECT t.probe_call_id, p.probe_call_id FROM trunk_channels t, agent_pools p")
        ]
        assert probing == [(probe.call_id, probe.call_id)]
        if way == "requeue":
            assert await ends.requeue(probe, delay_s=0, waiting_for=WaitingFor.SLOT, detail={})
        else:
            assert (await ends.finish(probe, NEVER_DIALLED)).ours
            await office.ready(1)
        rows = await office.sql(
            "SELECT probe_call_id, probe_until FROM trunk_channels UNION SELECT probe_call_id, probe_until FROM agent_pools"
        )
        assert [tuple(row) for row in rows] == [(None, None)]
    await nothing_is_held(office)


async def test_a_pool_is_counted_however_its_calls_go(office: Office, ends: EndsStore):
    pools = AgentPoolStore(database=office.database)
    calls = [await office.ringing(to=number(n)) for n in range(4)]
    claimed = [await office.claimed(to=number(n)) for n in range(4, 6)]
    assert (await pools.set_capacity("agent", 7)).inflight == 6, "calls that began before anybody counted"
    await ends.finish_all([*plain(calls[0]), End(call=calls[1], outcome=BUSY, aftermath=AGAIN)])
    assert await ends.requeue(claimed[0], delay_s=60, waiting_for=WaitingFor.SLOT, detail={})
    assert (await pools.get("agent")).inflight == 3
    assert (await office.drift()).total == 0
    assert (await pools.set_capacity("agent", None)).inflight == 0
    await ends.finish_all(plain(calls[2], calls[3]))
    assert (await pools.set_capacity("agent", 1)).inflight == 1
    assert (await ends.finish(claimed[1], NEVER_DIALLED)).ours
    await nothing_is_held(office)


async def test_agents_that_do_not_come_open_their_pools_circuit_and_the_calls_wait(office: Office, ends: EndsStore):
    calls = [await office.claimed(to=number(n)) for n in range(3)]
    for call in calls:
        assert await ends.requeue(call, delay_s=0, waiting_for=WaitingFor.AGENT, detail={}, agent_came=False)
    assert await office.queue.claim_calls(10) == []
    assert [row["open"] for row in await office.sql("SELECT circuit_until > now() AS open FROM agent_pools")] == [True]
    await nothing_is_held(office)


# -- back on the queue ---------------------------------------------------------------------------------------------------------


async def test_after_a_failure_of_the_trunk_another_is_tried(office: Office, ends: EndsStore):
    by_verdict, by_wait, neither = [await office.dialing(to=number(n)) for n in range(3)]
    failed = Aftermath(trunk_verdict=TrunkVerdict.TRUNK, trunk_code="503")
    assert await ends.requeue(by_verdict, delay_s=60, waiting_for=WaitingFor.SLOT, detail={}, aftermath=failed)
    assert await ends.requeue(by_wait, delay_s=0, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={})
    assert await ends.requeue(neither, delay_s=60, waiting_for=WaitingFor.MEDIA_SERVER, detail={})
    rows = await office.sql("SELECT avoid_trunk_id FROM calls ORDER BY id")
    assert [row["avoid_trunk_id"] for row in rows] == [by_verdict.trunk.id, by_wait.trunk.id, None]
    again = await claimed_again(office, by_wait)
    await office.begin(again)
    assert (await ends.finish(again, BUSY, AGAIN)).state is State.SCHEDULED
    rows = await office.sql("SELECT avoid_trunk_id FROM calls WHERE id = $1", by_wait.call_id)
    assert rows[0]["avoid_trunk_id"] is None, "a new attempt is dealt anew"


@pytest.mark.parametrize(
    ("waiting_for", "state"),
    [(WaitingFor.CALLING_WINDOW, State.SCHEDULED), (WaitingFor.TIME_ZONE, State.SCHEDULED), (WaitingFor.SLOT, State.READY)],
)
async def test_a_call_whose_hours_are_in_question_goes_through_staging(
    office: Office, ends: EndsStore, waiting_for: WaitingFor, state: State
):
    call = await office.claimed(priority=1)
    assert await ends.requeue(call, delay_s=0, waiting_for=waiting_for, detail={})
    assert await office.state(call.call_id) is state
    await nothing_is_held(office)


async def test_an_end_is_not_taken_for_a_return_nor_a_return_for_an_end(office: Office, ends: EndsStore):
    ended, back = await office.ringing(to=number(1)), await office.dialing(to=number(2))
    await ends.finish(ended, BUSY, AGAIN)
    await ends.requeue(back, delay_s=60, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={"end_reason": "USER_BUSY"})
    assert not await ends.requeue(ended, delay_s=60, waiting_for=WaitingFor.AGENT, detail={})
    assert not (await ends.finish(back, BUSY, AGAIN)).ours


@pytest.mark.parametrize("after", ["waits", "ready", "window closed", "claimed", "dialled", "canceled", "expired"])
async def test_a_return_is_not_recognised_in_what_became_of_a_call_whose_attempt_ended(
    office: Office, ends: EndsStore, after: str
):
    """All of that is told under the old claim's epoch, too."""
    call = await office.ringing()
    assert (await ends.finish(call, BUSY, AGAIN)).state is State.SCHEDULED
    if after == "canceled":
        assert await office.calls.request_cancel(call.call_id) is CancelResult.CANCELED
    elif after == "expired":
        await office.sql("UPDATE calls SET run_at = now(), expires_at = now() - interval '1 s' WHERE id = $1", call.call_id)
        assert await office.queue.expire_calls(10) == [(call.call_id, EndReason.USER_BUSY)]
    elif after != "waits":
        await office.sql("UPDATE calls SET run_at = now() WHERE id = $1", call.call_id)
        assert await office.stage() == 1
    if after == "window closed":
        await office.sql("UPDATE calls SET window_until = now() WHERE id = $1", call.call_id)
        assert await office.queue.close_windows(10) == 1
    elif after in ("claimed", "dialled"):
        (again,) = await office.queue.claim_calls(1)
        assert again.epoch == call.epoch + 1
        if after == "dialled":
            assert isinstance(await office.begin(again), DialGranted)
    before = await office.calls.show(call.call_id)
    for waiting_for in (WaitingFor.AGENT, WaitingFor.CALLING_WINDOW):
        assert not await ends.requeue(call, delay_s=0, waiting_for=waiting_for, detail={})
    assert await office.calls.show(call.call_id) == before


async def test_a_return_that_recovery_made_is_not_the_old_workers_own(office: Office, ends: EndsStore):
    call = await office.claimed()
    assert await ends.requeue(call, delay_s=0, waiting_for=WaitingFor.SLOT, detail={"why": "its worker is gone"})
    assert not await ends.requeue(call, delay_s=60, waiting_for=WaitingFor.AGENT, detail={"why": "no agent came"})
    (row,) = await office.sql("SELECT waiting_for, state, deferrals FROM calls WHERE id = $1", call.call_id)
    assert tuple(row) == ("slot", "ready", 1)


# -- rows that somebody holds --------------------------------------------------------------------------------------------------


async def test_an_end_that_is_held_up_says_so_and_is_written_when_asked_again(
    office: Office, ends: EndsStore, database_url: str
):
    call = await office.dialing()
    other = await asyncpg.connect(database_url)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM account_slots FOR NO KEY UPDATE")
    with pytest.raises(HeldUp):
        await ends.finish(call, BUSY)
    await transaction.commit()
    await other.close()
    assert (await ends.finish(call, BUSY)).ours
    await nothing_is_held(office)


async def test_calls_of_a_batch_are_locked_in_order_whether_they_are_dialled_again_or_not(
    office: Office, ends: EndsStore, database_url: str
):
    """cancel_listed locks several calls without their accounts: it waits and is waited for, and nobody is in a circle."""
    first, second = await office.dialing(to=number(1)), await office.dialing(to=number(2))
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("SELECT FROM calls WHERE id = $1 FOR NO KEY UPDATE", first.call_id)
        task = asyncio.ensure_future(
            ends.finish_all([End(call=second, outcome=BUSY, aftermath=AGAIN), End(call=first, outcome=BUSY)])
        )
        while not await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            await asyncio.sleep(0.01)
        await other.execute("SELECT FROM calls WHERE id = $1 FOR NO KEY UPDATE NOWAIT", second.call_id)
    assert [answer.state for answer in await task] == [State.SCHEDULED, State.NOT_CONNECTED]
    await other.close()


async def test_ends_that_wait_for_each_other_do_not_deadlock(office: Office, ends: EndsStore):
    await office.change_account("acme", max_concurrent=1000)
    await office.open_account("zeta", max_concurrent=1000)
    for account in ("acme", "zeta"):
        await office.ready(40, account=account)
    calls = [call for _ in range(4) for call in await office.queue.claim_calls(20)]
    assert len(calls) == 80
    batches = [plain(*calls[n::8], outcome=NEVER_DIALLED) for n in range(8)]
    answers = await asyncio.gather(*(ends.finish_all(batch) for batch in [*batches, *reversed(batches)]))
    assert all(answer.ours for batch in answers for answer in batch)
    await nothing_is_held(office)
