"""The last gate: whatever is committed before the intent forbids the dial, and only the database's clock tells the time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from pydantic import ValidationError

from orchestrator.ids import E164
from orchestrator.lifecycle import State
from orchestrator.settings import Calls
from orchestrator.store.pool import Statements
from orchestrator.store.records import CallerIdChoice, ClaimedCall, DialForbidden, DialGranted, Gate, WaitingFor
from tests.db.office import BUSY, TO, Office

NUMBERS = [E164(f"+1212555{line:04d}") for line in range(100, 200)]
IDS = (E164("+12125550180"), E164("+13125550181"), E164("+14155550182"))
DAY_S = 86_400.0


@dataclass(frozen=True)
class Change:
    """Something that an operator, a list or time itself changes after the claim of call $1, and what the gate says then."""

    gate: Gate
    sql: str

    def __str__(self) -> str:
        return self.gate.value


LISTED = (
    "INSERT INTO do_not_call (account_id, number_key, kind, source)"
    " SELECT {}, number_key(to_number), '{}', 'test' FROM calls WHERE id = $1"
)
CHANGES = [
    Change(Gate.STOPPED, "UPDATE switches SET stopped_at = now(), stopped_why = 'fire' WHERE $1 > 0"),
    Change(Gate.HELD, "UPDATE switches SET held_at = now(), held_why = 'restored' WHERE $1 > 0"),
    Change(Gate.HELD, "UPDATE switches SET system_identifier = 'another', timeline = '1' WHERE $1 > 0"),
    Change(Gate.CANCELED, "UPDATE calls SET cancel_requested_at = now() WHERE id = $1"),
    Change(Gate.EXPIRED, "UPDATE calls SET run_at = now() - interval '2 s', expires_at = now() WHERE id = $1"),
    Change(Gate.ACCOUNT_PAUSED, "UPDATE account_slots SET paused = true WHERE $1 > 0"),
    Change(Gate.TRUNK_DISABLED, "UPDATE trunk_channels SET enabled = false WHERE $1 > 0"),
    Change(
        Gate.TRUNK_CIRCUIT,
        "UPDATE trunk_channels SET circuit_until = now() + interval '1 h', circuit_opened_at = now() WHERE $1 > 0",
    ),
    Change(Gate.AGENTS_PAUSED, "UPDATE agent_pools SET paused = true WHERE $1 > 0"),
    Change(Gate.DO_NOT_CALL, LISTED.format(0, "do_not_call")),
    Change(Gate.DO_NOT_CALL, LISTED.format("account_id", "do_not_call")),
    Change(Gate.DO_NOT_CALL, LISTED.format("account_id", "suppression")),
    Change(Gate.CALLING_WINDOW, "UPDATE calls SET window_until = now() WHERE id = $1"),
    Change(
        Gate.CALLING_WINDOW,
        "UPDATE calls SET window_from = now() + interval '1 h', window_until = now() + interval '2 h' WHERE id = $1",
    ),
    Change(Gate.CALLING_WINDOW, "UPDATE calls SET window_from = NULL, window_until = NULL WHERE id = $1"),
    Change(Gate.CALLING_WINDOW, "UPDATE accounts SET calling_hours = '{mon 09:00-10:00}' WHERE $1 > 0"),
]

SEEN_BY_THE_CLAIM = {Gate.ACCOUNT_PAUSED, Gate.TRUNK_DISABLED, Gate.TRUNK_CIRCUIT, Gate.AGENTS_PAUSED, Gate.AGENTS_CIRCUIT}
"""The claim gives out no call whose account, trunk or agent pool is shut."""


async def begin(
    office: Office, call: ClaimedCall, *, ids: Sequence[E164] = (), choice: CallerIdChoice = CallerIdChoice.FIXED
) -> DialGranted | DialForbidden:
    answer = await office.gate.begin_dial(call, room=f"room-{call.call_id}-{call.epoch}", caller_ids=ids, choice=choice)
    assert answer is not None
    return answer


async def granted(office: Office, call: ClaimedCall, **how: Any) -> DialGranted:
    answer = await begin(office, call, **how)
    assert isinstance(answer, DialGranted), answer
    return answer


async def refused(office: Office, call: ClaimedCall, **how: Any) -> DialForbidden:
    answer = await begin(office, call, **how)
    assert isinstance(answer, DialForbidden), answer
    return answer


async def back(office: Office, call: ClaimedCall) -> None:
    """Unspent, and out of the way."""
    assert await office.ends.requeue(call, delay_s=3600, waiting_for=WaitingFor.SLOT, detail={})


async def traces(office: Office) -> list[asyncpg.Record]:
    """All that a dial leaves behind, apart from the call's own row."""
    return list(
        await office.sql(
            "SELECT (SELECT count(*) FROM attempts) AS attempts, (SELECT count(*) FROM dials) AS dials,"
            " (SELECT sum(dials) FROM caller_id_days) AS caller_ids, (SELECT count(*) FROM call_events) AS events,"
            " (SELECT array_agg(next_invite_at) FROM trunk_channels) AS pace"
        )
    )


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_what_changed_since_the_claim_forbids_the_dial_and_leaves_nothing(office: Office, change: Change):
    call = await office.claimed()
    await office.sql(change.sql, call.call_id)
    before = await traces(office)
    assert (await refused(office, call, ids=IDS)).gate is change.gate
    view = await office.calls.show(call.call_id)
    assert view.call.state is State.CLAIMED
    assert (view.attempts, view.dials) == ((), ())
    assert await traces(office) == before


@pytest.mark.parametrize("change", [change for change in CHANGES if change.gate not in SEEN_BY_THE_CLAIM], ids=str)
async def test_what_the_gate_would_say_is_known_at_the_claim(office: Office, change: Change):
    call = await office.claimed()
    assert call.forbidden is None
    await office.sql(change.sql, call.call_id)
    (row,) = await office.sql(Statements().text("describe_claims"), [call.call_id], [call.trunk.id], [call.epoch])
    assert row["gate"] == change.gate.value


async def test_a_call_that_may_not_be_dialled_says_so_when_it_is_claimed(office: Office):
    await office.ready(1)
    await office.sql(LISTED.format(0, "do_not_call").replace("id = $1", "id > 0"))
    (call,) = await office.queue.claim_calls(1)
    assert call.forbidden == DialForbidden(gate=Gate.DO_NOT_CALL)


async def test_of_several_reasons_the_gate_names_the_first_of_its_list(office: Office):
    call = await office.claimed()
    first = {change.gate: change for change in reversed(CHANGES)}
    for gate in sorted(first, key=list(Gate).index, reverse=True):
        await office.sql(first[gate].sql, call.call_id)
        assert (await refused(office, call)).gate is gate


async def test_without_the_row_of_switches_nothing_is_dialled(office: Office):
    call = await office.claimed()
    await office.sql("DELETE FROM switches")
    assert (await refused(office, call)).gate is Gate.HELD


async def test_the_gate_says_when_a_window_opens(office: Office):
    call = await office.claimed()
    await office.sql(
        "UPDATE calls SET window_from = now() + interval '2 h', window_until = now() + interval '3 h' WHERE id = $1",
        call.call_id,
    )
    answer = await refused(office, call)
    assert answer.retry_in_s == pytest.approx(7200, abs=60)
    await office.sql("UPDATE accounts SET closed_on_holidays = true")
    assert (await refused(office, call)).retry_in_s == 0, "the window is to be found again"


LATEST_S = 2.0
"""How late a request may leave after its time, at most: so much sooner the gate shuts."""


def test_the_settings_let_no_request_leave_later_than_the_gate_reckons_with():
    with pytest.raises(ValidationError):
        Calls(intent_max_age_s=LATEST_S + 0.1)
    assert Calls(intent_max_age_s=LATEST_S).intent_max_age_s == LATEST_S


async def test_no_request_may_leave_after_the_window_has_closed(office: Office):
    near, far = await office.claimed(to=NUMBERS[0]), await office.claimed(to=NUMBERS[1])
    change = "UPDATE calls SET window_until = clock_timestamp() + $2 * interval '1 s' WHERE id = $1"
    await office.sql(change, near.call_id, LATEST_S)
    answer = await refused(office, near)
    assert answer.gate is Gate.CALLING_WINDOW
    assert answer.retry_in_s == pytest.approx(LATEST_S, abs=LATEST_S), "what follows the window is to be found"
    assert answer.retry_in_s is not None
    assert answer.retry_in_s > 0
    await office.sql(change, far.call_id, LATEST_S + 60)
    await granted(office, far)


async def test_no_request_may_leave_after_its_call_has_expired(office: Office):
    near, far = await office.claimed(to=NUMBERS[0]), await office.claimed(to=NUMBERS[1])
    change = "UPDATE calls SET expires_at = clock_timestamp() + $2 * interval '1 s' WHERE id = $1"
    await office.sql(change, near.call_id, LATEST_S)
    assert (await refused(office, near)).gate is Gate.EXPIRED
    await office.sql(change, far.call_id, LATEST_S + 60)
    await granted(office, far)


async def test_the_wait_for_the_trunk_s_pace_counts_too(office: Office):
    call = await office.claimed()
    await office.sql("UPDATE trunk_channels SET next_invite_at = clock_timestamp() + interval '900 ms'")
    await office.sql(
        "UPDATE calls SET window_until = clock_timestamp() + $2 * interval '1 s' WHERE id = $1", call.call_id, LATEST_S + 0.5
    )
    assert (await refused(office, call)).gate is Gate.CALLING_WINDOW


async def test_the_probe_call_and_no_other_passes_an_open_circuit(office: Office):
    probe = await office.claimed(to=NUMBERS[0])
    other = await office.claimed(to=NUMBERS[1])
    await office.sql(
        "UPDATE trunk_channels SET circuit_until = now(), circuit_opened_at = now(), circuit_openings = 1, probe_call_id = $1,"
        " probe_until = now() + interval '3 min'",
        probe.call_id,
    )
    assert (await refused(office, other)).gate is Gate.TRUNK_CIRCUIT
    await granted(office, probe)


async def test_an_agent_that_came_ends_the_row_of_absences(office: Office):
    call = await office.claimed()
    await office.sql("UPDATE agent_pools SET absences = 2")
    await granted(office, call)
    assert [row["absences"] for row in await office.sql("SELECT absences FROM agent_pools")] == [0]


async def test_no_intent_is_written_for_a_dial_time_more_than_a_second_ahead(office: Office):
    first, second, third = [await office.claimed(to=number) for number in NUMBERS[:3]]
    await office.sql("UPDATE trunk_channels SET max_cps = 0.8, dial_slack_ms = 0")
    assert (await granted(office, first)).dial_in_s == 0.0
    answer = await refused(office, second)
    assert answer.gate is Gate.TRUNK_PACE
    assert answer.retry_in_s is not None
    assert 0.0 < answer.retry_in_s <= 0.25
    await office.sql("UPDATE trunk_channels SET next_invite_at = next_invite_at - interval '500 ms'")
    assert 0.0 < (await granted(office, second)).dial_in_s <= 0.75
    await office.change_account("acme", paused=True)
    assert (await refused(office, third)).gate is Gate.ACCOUNT_PAUSED, "what forbids the dial comes before when it could be"


async def test_a_claim_that_is_not_ours_any_more_is_told_nothing(office: Office):
    call = await office.claimed()
    await back(office, call)
    assert await office.gate.begin_dial(call, room="room", caller_ids=()) is None


# -- whatever commits just before the intent -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def holding_the_trunk(office: Office) -> AsyncIterator[asyncpg.Connection]:
    """A transaction for which every intent waits; committed at the end of the block."""
    connection = await office.database.connect()
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM trunk_channels FOR UPDATE")
            yield connection
    finally:
        await connection.close()


async def until_waiting(connection: asyncpg.Connection, n: int = 1) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while await connection.fetchval(query) < n:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("change", CHANGES, ids=str)
async def test_what_commits_while_the_intent_waits_forbids_it(office: Office, change: Change):
    call = await office.claimed()
    async with holding_the_trunk(office) as operator:
        if change.gate in (Gate.CANCELED, Gate.EXPIRED) or "UPDATE calls" in change.sql:
            await operator.execute(change.sql.replace("$1", str(call.call_id)))  # before: it changes the call's own row
            waiting = asyncio.create_task(begin(office, call))
            await until_waiting(operator)
        else:
            waiting = asyncio.create_task(begin(office, call))
            await until_waiting(operator)
            await operator.execute(change.sql.replace("$1", str(call.call_id)))
    answer = await waiting
    assert isinstance(answer, DialForbidden)
    assert answer.gate is change.gate


async def test_a_request_to_cancel_that_commits_just_before_the_intent_forbids_it(office: Office):
    call = await office.claimed()
    async with holding_the_trunk(office) as operator:
        assert await operator.fetchval("SELECT request_cancel($1)", call.call_id) == "requested"
        waiting = asyncio.create_task(begin(office, call))
        await until_waiting(operator)
    assert await waiting == DialForbidden(gate=Gate.CANCELED)


async def test_a_call_that_expires_while_the_intent_waits_is_not_dialled(office: Office):
    call = await office.claimed()
    await office.sql(
        "UPDATE calls SET run_at = now() - interval '1 s', expires_at = clock_timestamp() + interval '300 ms' WHERE id = $1",
        call.call_id,
    )
    async with holding_the_trunk(office) as operator:
        waiting = asyncio.create_task(begin(office, call))
        await until_waiting(operator)
        while not await operator.fetchval("SELECT expires_at <= clock_timestamp() FROM calls WHERE id = $1", call.call_id):
            await asyncio.sleep(0.01)
    assert await waiting == DialForbidden(gate=Gate.EXPIRED)


# -- one number ---------------------------------------------------------------------------------------------------------------


async def test_many_workers_that_dial_one_number_at_once_make_one_call(office: Office):
    await office.open_account("globex")
    workers = [office.queue, await office.another_worker()]
    for account in ("acme", "globex"):
        await office.ready(5, account=account, to=TO)
    claimed = [call for worker in workers for call in await worker.claim_calls(5)]
    assert len(claimed) == 10
    async with holding_the_trunk(office) as barrier:
        dialling = [asyncio.create_task(begin(office, call)) for call in claimed]
        await until_waiting(barrier, 5)
    answers = await asyncio.gather(*dialling)
    assert [type(answer) for answer in answers].count(DialGranted) == 1
    assert {answer.gate for answer in answers if isinstance(answer, DialForbidden)} == {Gate.NUMBER_BUSY}
    assert len(await office.sql("SELECT FROM dials")) == 1


async def test_the_index_has_the_last_word_on_one_call_to_a_number(office: Office):
    first, second = await office.claimed(), await office.claimed()
    await granted(office, first)
    await office.sql(
        "CREATE OR REPLACE FUNCTION dial_forbidden(p_call_id bigint, OUT gate text, OUT retry_in_s double precision)"
        " RETURNS SETOF record LANGUAGE sql STABLE ROWS 1 AS 'SELECT NULL::text, NULL::double precision'"
    )
    before = await traces(office)
    assert (await refused(office, second, ids=IDS)).gate is Gate.NUMBER_BUSY
    assert await traces(office) == before


async def test_a_number_is_free_again_when_its_call_ends_or_goes_back(office: Office):
    first, second, third = [await office.claimed() for _ in range(3)]
    await granted(office, first)
    assert (await refused(office, second)).gate is Gate.NUMBER_BUSY
    assert (await office.claimed()).forbidden == DialForbidden(gate=Gate.NUMBER_BUSY)
    await back(office, first)
    await granted(office, second)
    assert await office.finish(second, BUSY)
    await granted(office, third)


async def test_the_gap_counts_every_dial_of_the_account_that_may_have_rung(office: Office):
    await office.open_account("globex")
    await office.sql("UPDATE accounts SET number_gap_s = 3600")
    first, second = await office.claimed(), await office.claimed()
    await granted(office, first)
    await back(office, first)
    await granted(office, second)
    assert await office.finish(second, BUSY)

    third = await office.claimed()
    assert third.forbidden is not None
    assert third.forbidden.gate is Gate.NUMBER_GAP
    answer = await refused(office, third)
    assert answer.gate is Gate.NUMBER_GAP
    assert answer.retry_in_s == pytest.approx(3600, abs=60)
    await granted(office, await office.claimed(to=NUMBERS[1]))
    theirs = await office.claimed(account="globex")
    await granted(office, theirs)
    assert await office.finish(theirs, BUSY)
    await office.sql("UPDATE dials SET intent_at = now() - interval '61 min'")
    await granted(office, third)


async def test_no_more_dials_to_a_number_than_the_account_wants_in_any_window(office: Office):
    await office.sql("UPDATE accounts SET number_most_dials = 2, number_window_s = 604800")
    for _ in range(2):
        call = await office.claimed()
        await granted(office, call)
        assert await office.finish(call, BUSY)
    third = await office.claimed()
    assert third.forbidden is not None
    assert third.forbidden.gate is Gate.NUMBER_CAP
    await office.sql("UPDATE dials SET intent_at = now() - interval '6 days' WHERE id = (SELECT min(id) FROM dials)")
    answer = await refused(office, third)
    assert answer.gate is Gate.NUMBER_CAP
    assert answer.retry_in_s == pytest.approx(DAY_S, abs=60), "until the older of the two is out of the window"
    await office.sql("UPDATE dials SET intent_at = now() - interval '7 days' WHERE id = (SELECT min(id) FROM dials)")
    await granted(office, third)


# -- caller ids ---------------------------------------------------------------------------------------------------------------


async def shown(office: Office, n: int, *, choice: CallerIdChoice, ids: Sequence[E164] = IDS) -> list[str | None]:
    """The caller ids of so many dials, one after the other."""
    calls = [await office.claimed(to=number) for number in NUMBERS[:n]]
    return [(await granted(office, call, ids=ids, choice=choice)).caller_id for call in calls]


async def test_the_first_caller_id_is_shown_until_its_cap_and_then_the_next(office: Office):
    await office.sql("UPDATE accounts SET caller_ids = $1, caller_id_cap = 2", list(IDS))
    assert await shown(office, 5, choice=CallerIdChoice.FIXED) == [IDS[0], IDS[0], IDS[1], IDS[1], IDS[2]]


async def test_rotating_shows_the_one_with_the_fewest_dials_today(office: Office):
    assert await shown(office, 7, choice=CallerIdChoice.ROTATING) == [*IDS, *IDS, IDS[0]]


async def test_without_cap_and_rotation_nothing_is_counted(office: Office):
    assert await shown(office, 3, choice=CallerIdChoice.FIXED) == [IDS[0]] * 3
    assert await office.sql("SELECT FROM caller_id_days") == []
    (dials, event) = (
        await office.sql("SELECT caller_id FROM dials"),
        await office.sql("SELECT detail ->> 'caller_id' AS caller_id FROM call_events WHERE state = 'dialing'"),
    )
    assert {row["caller_id"] for row in (*dials, *event)} == {IDS[0]}


async def test_with_all_caller_ids_at_their_cap_a_call_waits_for_tomorrow(office: Office):
    await office.sql("UPDATE accounts SET caller_ids = $1, caller_id_cap = 1", list(IDS[:2]))
    await shown(office, 2, choice=CallerIdChoice.ROTATING, ids=IDS[:2])
    call = await office.claimed(to=NUMBERS[3])
    assert call.forbidden is not None
    assert call.forbidden.gate is Gate.CALLER_ID_CAP
    answer = await refused(office, call, ids=IDS[:2])
    assert answer.gate is Gate.CALLER_ID_CAP
    assert answer.retry_in_s is not None
    assert 0 <= answer.retry_in_s <= DAY_S
    await office.sql("UPDATE caller_id_days SET day = day - 1")
    assert (await granted(office, call, ids=IDS[:2])).caller_id == IDS[0]


async def test_an_id_of_account_and_trunk_keeps_the_lower_cap(office: Office):
    await office.sql("UPDATE accounts SET caller_ids = $1, caller_id_cap = 5", list(IDS[:1]))
    await office.sql("UPDATE trunks SET caller_ids = $1, caller_id_cap = 1", list(IDS[:1]))
    await shown(office, 1, choice=CallerIdChoice.FIXED, ids=IDS[:1])
    call = await office.claimed(to=NUMBERS[3])
    assert (await refused(office, call, ids=IDS[:1])).gate is Gate.CALLER_ID_CAP


async def test_a_refused_dial_is_not_counted_on_its_caller_id(office: Office):
    await office.sql("UPDATE accounts SET caller_ids = $1, caller_id_cap = 1", list(IDS[:1]))
    call = await office.claimed()
    await office.change_account("acme", paused=True)
    assert (await refused(office, call, ids=IDS[:1])).gate is Gate.ACCOUNT_PAUSED
    await office.change_account("acme", paused=False)
    await granted(office, call, ids=IDS[:1])


async def test_the_last_dial_of_a_caller_id_is_given_out_once(office: Office):
    await office.sql("UPDATE accounts SET caller_ids = $1, caller_id_cap = 4", list(IDS[:2]))
    await office.sql("UPDATE account_slots SET max_concurrent = 100")
    for number in range(4):
        trunk = f"trunk-{number}"
        await office.sql(
            "WITH t AS (INSERT INTO trunks (name, sip_trunk_id) VALUES ($1, 'ST') RETURNING id), g AS ("
            "INSERT INTO trunk_groups (name) VALUES ($1) RETURNING id), h AS ("
            "INSERT INTO trunk_channels (trunk_id, max_channels, max_cps) SELECT id, 100, 1000 FROM t), f AS ("
            "INSERT INTO trunk_health (trunk_id) SELECT id FROM t)"
            "INSERT INTO trunk_group_members (trunk_group_id, trunk_id) SELECT g.id, t.id FROM t, g",
            trunk,
        )
        for line in range(5):
            await office.ready(1, to=NUMBERS[10 * number + line], trunk=trunk)
    calls: list[ClaimedCall] = []
    while claimed := await office.queue.claim_calls(100):
        calls.extend(claimed)
    assert len(calls) == 20
    answers = await asyncio.gather(*(begin(office, call, ids=IDS[:2], choice=CallerIdChoice.ROTATING) for call in calls))
    dialled = [answer.caller_id for answer in answers if isinstance(answer, DialGranted)]
    assert sorted(dialled) == sorted(IDS[:2] * 4)
    assert {answer.gate for answer in answers if isinstance(answer, DialForbidden)} == {Gate.CALLER_ID_CAP}


# -- what it costs ------------------------------------------------------------------------------------------------------------

CROWD = """
SET session_replication_role = replica;
INSERT INTO calls (account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, state, epoch, attempt,
                   worker_id, trunk_id, claimed_at, dial_at, dialed_at, run_at, expires_at)
SELECT 1, 1, 1, '', '+1312555' || lpad(g::text, 4, '0'), 'a', 'dialing', 1, 1,
       (SELECT id FROM workers LIMIT 1), 1, now(), now(), now(), now(), now() + interval '1 day'
  FROM generate_series(1, 4000) g;
INSERT INTO attempts (call_id, number) SELECT id, 1 FROM calls WHERE to_number LIKE '+1312%';
INSERT INTO dials (call_id, attempt, number, epoch, worker_id, trunk_id, account_id, to_number, room, dial_at)
SELECT id, 1, 1, 1, worker_id, 1, 1, to_number, 'r', now() FROM calls WHERE to_number LIKE '+1312%';
INSERT INTO do_not_call (account_id, number_key, kind, source)
SELECT 1, number_key('+1415555' || lpad(g::text, 4, '0')), 'do_not_call', 'test' FROM generate_series(1, 4000) g;
UPDATE accounts SET number_gap_s = 60, number_most_dials = 7, caller_id_cap = 10, caller_ids = '{+12125550180}';
SET session_replication_role = origin;
ANALYZE
"""
WATCHED = ("calls", "attempts", "dials", "do_not_call")


@pytest.mark.parametrize("planned", ["on empty tables", "with the crowd"])
async def test_the_gate_reads_no_crowd(office: Office, planned: str):
    calls = [await office.claimed(to=number) for number in NUMBERS[:9]]
    connection = await office.database.connect()
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    if planned == "on empty tables":
        await office.sql("UPDATE accounts SET number_gap_s = 60, number_most_dials = 7")
        await office.sql("ANALYZE")
        early = calls.pop()
        await connection.fetch(
            "SELECT * FROM begin_dial($1, $2, 'r', '{+12125550180}', 'rotating')", early.call_id, early.epoch
        )
    seeding = await office.database.connect()
    await seeding.execute(CROWD.replace("ANALYZE", "" if planned == "on empty tables" else "ANALYZE"))
    await seeding.close()
    calls = calls[:8]

    async def reads() -> dict[str, tuple[int, int]]:
        rows = await connection.fetch("SELECT relname, seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables")
        return {row["relname"]: (row["seq_scan"], row["idx_tup_fetch"] or 0) for row in rows if row["relname"] in WATCHED}

    transaction = connection.transaction()
    await transaction.start()
    text = Statements().text
    keys = [[call.call_id for call in calls], [call.trunk.id for call in calls], [call.epoch for call in calls]]
    for statement, arguments in (
        ("describe_claims", keys),
        *(("begin_dial", [call.call_id, call.epoch, "r", list(IDS[:1]), "rotating"]) for call in calls),
    ):
        before = await reads()
        assert len(await connection.fetch(text(statement), *arguments)) == (8 if statement == "describe_claims" else 1)
        for table, (seq_scans, fetched) in (await reads()).items():
            assert seq_scans == before[table][0], (statement, table)
            assert fetched - before[table][1] <= 32, (statement, table)
    await transaction.rollback()
    await connection.close()
