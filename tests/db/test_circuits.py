"""A trunk that fails is paused, tried by one call at a time, and used again; time is moved by SQL instead of waiting for it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from orchestrator.lifecycle import State
from orchestrator.outcomes import EndReason
from orchestrator.store.ends import EndsStore
from orchestrator.store.groups import TrunkGroupStore
from orchestrator.store.policy import Circuit, GroupMember, NewTrunk
from orchestrator.store.records import (
    Aftermath,
    ClaimedCall,
    DialForbidden,
    DialGranted,
    End,
    Gate,
    Outcome,
    TrunkVerdict,
    WaitingFor,
)
from sip.events import Dialled
from tests.db.office import BUSY, HUNG_UP, Office

TRUNK_NUMBERS = 5
CODE_NUMBERS = 8


def number(n: int) -> str:
    return f"+1212555{n:04d}"


class Trunk:
    """The trunk `main`, told directly what the dials of imaginary calls say."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self._calls = 1_000_000

    async def judge(self, verdict: str, to: str = number(1), *, code: str = "", call_id: int | None = None) -> int:
        self._calls += 1
        call_id = call_id or self._calls
        await self.office.sql("SELECT judge_trunk(1, $1::bigint, $2::text, $3::text, $4::text)", call_id, to, verdict, code)
        return call_id

    async def fail(self, numbers: int, *, verdict: str = "trunk", code: str = "503", first: int = 1) -> list[int]:
        return [await self.judge(verdict, number(first + n), code=code) for n in range(numbers)]

    async def status(self) -> Any:
        return (await self.office.trunks.get("main")).circuit

    async def is_open(self) -> bool:
        return (await self.status()).state is Circuit.OPEN

    async def pass_time(self, seconds: float) -> None:
        """All that the database remembers of the trunk happened so much earlier."""
        ago = f"interval '{seconds} s'"
        await self.office.sql(
            f"UPDATE trunk_channels SET circuit_until = circuit_until - {ago},"  # noqa: S608
            f" circuit_opened_at = circuit_opened_at - {ago}, probe_until = probe_until - {ago}"
        )
        await self.office.sql(f"UPDATE trunk_health SET good_at = good_at - {ago}, answered_at = answered_at - {ago}")  # noqa: S608
        await self.office.sql(f"UPDATE trunk_failures SET at = at - {ago}")  # noqa: S608
        await self.office.sql(f"UPDATE dials SET intent_at = intent_at - {ago}")  # noqa: S608

    async def pause_s(self) -> float:
        (row,) = await self.office.sql("SELECT date_part('epoch', circuit_until - circuit_opened_at) AS s FROM trunk_channels")
        return round(row["s"])

    async def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        rows = await self.office.sql("SELECT kind, subject, detail::text AS detail FROM system_events ORDER BY id")
        return [(row["kind"], row["subject"], json.loads(row["detail"])) for row in rows if row["kind"].startswith("trunk.")]

    async def remembers(self) -> int:
        (row,) = await self.office.sql("SELECT count(*) AS n FROM trunk_failures")
        return row["n"]


@pytest.fixture
def trunk(office: Office) -> Trunk:
    return Trunk(office)


async def suppress(office: Office, to: str, source: str) -> None:
    await office.sql(
        "INSERT INTO do_not_call (account_id, number_key, to_number, kind, source)"
        " VALUES (1, number_key($1), $1, 'suppression', $2)",
        to,
        source,
    )


async def suppressed(office: Office) -> set[str]:
    return {row["source"] for row in await office.sql("SELECT source FROM do_not_call")}


async def test_failures_of_several_numbers_pause_a_trunk(trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS - 1)
    assert not await trunk.is_open()
    await trunk.fail(1, first=50, code="tls")
    status = await trunk.status()
    assert (status.state, status.openings) == (Circuit.OPEN, 1)
    assert status.why == "5 numbers in a row failed by the trunk, the last with tls"
    assert await trunk.pause_s() == 30
    ((kind, subject, detail),) = await trunk.events()
    assert (kind, subject, detail["openings"], detail["why"]) == ("trunk.circuit_opened", "main", 1, status.why)


async def test_one_number_that_fails_again_and_again_pauses_nothing(trunk: Trunk):
    for _ in range(3 * TRUNK_NUMBERS):
        await trunk.judge("trunk", number(1), code="503")
        await trunk.judge("number", number(2), code="404")
    assert (await trunk.status()).state is Circuit.CLOSED


async def test_failures_long_ago_do_not_count(trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS - 1)
    await trunk.pass_time(301)
    await trunk.fail(TRUNK_NUMBERS - 1, first=20)
    assert not await trunk.is_open()


@pytest.mark.parametrize("good", ["good", "answered"])
async def test_a_good_dial_ends_the_run_and_is_forgotten_with_it(trunk: Trunk, good: str):
    await trunk.fail(TRUNK_NUMBERS - 1)
    await trunk.judge(good)
    assert await trunk.remembers() == 0
    await trunk.fail(TRUNK_NUMBERS - 1, first=20)
    assert not await trunk.is_open()


async def test_the_end_of_a_conversation_that_began_before_the_failures_says_nothing(office: Office, trunk: Trunk):
    call = await office.active()
    await trunk.pass_time(120)
    await trunk.fail(TRUNK_NUMBERS - 1)
    await trunk.judge("answered", call_id=call.call_id)
    await trunk.fail(1, first=50)
    assert await trunk.is_open()


async def test_a_call_that_rings_is_good_news_at_once(office: Office, trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS - 1)
    await office.ringing()
    await trunk.fail(TRUNK_NUMBERS - 1, first=20)
    assert not await trunk.is_open()


async def test_nothing_is_concluded_while_a_dial_between_the_failures_is_undecided(office: Office, trunk: Trunk):
    await trunk.fail(CODE_NUMBERS - 1, verdict="number", code="404")
    call = await office.dialing()
    await trunk.fail(3, verdict="number", code="404", first=50)
    assert not await trunk.is_open()
    await office.sql("UPDATE calls SET state = 'scheduled', worker_id = NULL, trunk_id = NULL, claimed_at = NULL,"
                     " dial_at = NULL, dialed_at = NULL WHERE id = $1", call.call_id)  # fmt: skip
    await trunk.fail(1, verdict="number", code="404", first=60)
    assert await trunk.is_open()


async def test_one_code_for_every_number_pauses_the_trunk_and_suppresses_nobody(office: Office, trunk: Trunk):
    calls = await trunk.fail(CODE_NUMBERS - 1, verdict="number", code="404")
    for n, call_id in enumerate(calls):
        await suppress(office, number(1 + n), f"call {call_id}")
    await suppress(office, number(90), "call 17")
    await suppress(office, number(1 + len(calls)), "operator")
    assert not await trunk.is_open()
    await trunk.fail(1, verdict="number", code="404", first=CODE_NUMBERS)
    status = await trunk.status()
    assert (status.state, status.why) == (Circuit.OPEN, "8 numbers in a row ended with 404")
    assert await suppressed(office) == {"call 17", "operator"}
    ((_, _, detail),) = await trunk.events()
    assert detail["suppressions_taken_back"] == CODE_NUMBERS - 1


async def test_a_dial_of_the_run_that_ends_after_the_opening_suppresses_nobody_either(office: Office, trunk: Trunk):
    late = await office.dialing()
    await trunk.pass_time(60)
    await trunk.fail(CODE_NUMBERS, verdict="number", code="404")
    assert await trunk.is_open()
    await suppress(office, late.to, f"call {late.call_id}")
    await trunk.judge("number", late.to, code="404", call_id=late.call_id)
    assert await suppressed(office) == set()
    assert (await trunk.status()).openings == 1


@pytest.mark.parametrize(("verdict", "code"), [("number", "484"), ("trunk", "503"), ("good", "")])
async def test_anything_else_between_breaks_the_run_of_one_code(trunk: Trunk, verdict: str, code: str):
    await trunk.fail(CODE_NUMBERS - 1, verdict="number", code="404")
    await trunk.judge(verdict, number(70), code=code)
    await trunk.fail(CODE_NUMBERS - 1, verdict="number", code="404", first=20)
    assert not await trunk.is_open()
    await trunk.fail(1, verdict="number", code="404", first=40)
    assert await trunk.is_open()


async def test_a_probe_that_fails_pauses_the_trunk_for_longer_up_to_half_an_hour(trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS)
    pauses = []
    for _ in range(8):
        await trunk.pass_time(1801)
        assert (await trunk.status()).state is Circuit.HALF_OPEN
        await trunk.judge("trunk", number(1), code="503")
        assert await trunk.is_open()
        pauses.append(await trunk.pause_s())
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert (await trunk.status()).why == "a probe failed: 503"


async def test_a_good_probe_closes_the_circuit_and_the_next_pause_is_short_again(trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS)
    await trunk.pass_time(31)
    await trunk.judge("trunk", number(1), code="503")
    await trunk.pass_time(61)
    await trunk.judge("good")
    assert (await trunk.status()).state is Circuit.CLOSED
    assert [kind for kind, *_ in await trunk.events()] == [
        "trunk.circuit_opened",
        "trunk.circuit_opened",
        "trunk.circuit_closed",
    ]
    await trunk.fail(TRUNK_NUMBERS)
    assert (await trunk.pause_s(), (await trunk.status()).openings) == (30, 1)


async def test_dials_from_before_the_opening_neither_close_the_circuit_nor_make_the_pause_longer(office: Office, trunk: Trunk):
    calls = [await office.dialing(to=number(800 + n)) for n in range(2)]
    await trunk.pass_time(60)
    await trunk.fail(TRUNK_NUMBERS)
    before = await trunk.status()
    await trunk.judge("good", call_id=calls[0].call_id)
    await trunk.judge("trunk", number(801), code="503", call_id=calls[1].call_id)
    assert await trunk.status() == before


async def test_a_number_that_does_not_exist_neither_closes_nor_prolongs_a_pause_for_failures_of_the_trunk(trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS)
    await trunk.pass_time(31)
    await trunk.office.sql("UPDATE trunk_channels SET probe_call_id = 77, probe_until = now() + interval '3 min'")
    await trunk.judge("number", number(3), code="404", call_id=77)
    status = await trunk.status()
    assert (status.state, status.openings) == (Circuit.HALF_OPEN, 1)
    (row,) = await trunk.office.sql("SELECT probe_call_id FROM trunk_channels")
    assert row["probe_call_id"] is None
    await trunk.fail(CODE_NUMBERS - 1, verdict="number", code="404", first=100)
    assert (await trunk.status()).openings == 2


async def test_after_a_run_of_one_code_the_same_code_prolongs_the_pause(trunk: Trunk):
    await trunk.fail(CODE_NUMBERS, verdict="number", code="404")
    await trunk.pass_time(31)
    await trunk.judge("number", number(90), code="404")
    assert (await trunk.status()).why == "a probe failed: 404 again"
    assert await trunk.pause_s() == 60


async def test_a_probe_that_says_nothing_lets_the_next_call_probe(trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS)
    await trunk.pass_time(31)
    await trunk.office.sql("UPDATE trunk_channels SET probe_call_id = 77, probe_until = now() + interval '3 min'")
    await trunk.judge("nothing", call_id=78)
    await trunk.judge("nothing", call_id=77)
    (row,) = await trunk.office.sql("SELECT probe_call_id FROM trunk_channels")
    assert row["probe_call_id"] is None
    assert (await trunk.status()).state is Circuit.HALF_OPEN


async def test_only_one_call_probes_and_a_ring_closes_the_circuit_before_the_call_ends(office: Office, trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS)
    for n in range(3):
        await office.ready(1, to=number(700 + n))
    assert await office.queue.claim_calls(10) == []
    await trunk.pass_time(31)
    (probe,) = await office.queue.claim_calls(10)
    assert await office.queue.claim_calls(10) == []
    await office.begin(probe)
    assert await office.queue.record_ringing(probe, pdd_ms=800, detail={})
    assert (await trunk.status()).state is Circuit.CLOSED
    assert len(await office.queue.claim_calls(10)) == 2
    assert (await office.drift()).total == 0


async def test_good_news_is_written_once_a_minute_and_a_good_trunk_is_not_locked(office: Office, trunk: Trunk):
    await trunk.judge("answered")
    (before,) = await office.sql("SELECT *, xmin::text FROM trunk_health")
    await trunk.judge("good")
    await trunk.judge("answered")
    await trunk.judge("nothing")
    assert await office.sql("SELECT *, xmin::text FROM trunk_health") == [before]
    await trunk.pass_time(61)
    await trunk.judge("good")
    (after,) = await office.sql("SELECT *, good_at > now() - interval '5 s' AS fresh FROM trunk_health")
    assert after["fresh"]
    assert after["answered_at"] < before["answered_at"]


async def test_a_trunk_is_believed_about_numbers_only_while_it_completes_calls(office: Office, trunk: Trunk):
    async def believed() -> bool:
        return (await office.sql("SELECT may_suppress(1) AS yes"))[0]["yes"]

    assert not await believed()
    await trunk.judge("good")
    assert not await believed()
    await trunk.judge("answered")
    assert await believed()
    await trunk.fail(TRUNK_NUMBERS)
    assert not await believed()
    await office.trunks.reset_circuit("main")
    assert await believed()
    await trunk.pass_time(86_401)
    assert not await believed()


async def test_an_operator_closes_a_circuit_and_the_failures_before_are_forgotten(office: Office, trunk: Trunk):
    await trunk.fail(TRUNK_NUMBERS)
    assert (await office.trunks.reset_circuit("main")).circuit.state is Circuit.CLOSED
    await trunk.fail(TRUNK_NUMBERS - 1, first=20)
    assert not await trunk.is_open()
    assert (await trunk.events())[-1] == ("trunk.circuit_closed", "main", {"by": "operator"})


async def test_old_failures_are_forgotten_though_no_dial_goes_well(trunk: Trunk):
    await trunk.fail(3)
    await trunk.pass_time(3601)
    await trunk.fail(1, first=20)
    assert await trunk.remembers() == 1


async def test_one_trunk_s_failures_are_not_another_s(office: Office, trunk: Trunk):
    await office.trunks.create(NewTrunk(name="other", sip_trunk_id="ST_o", max_channels=1, max_cps=1.0))
    await trunk.fail(TRUNK_NUMBERS - 1)
    await office.sql("SELECT judge_trunk(2, 1, '+12125550177', 'trunk', '503')")
    assert not await trunk.is_open()
    assert (await office.trunks.get("other")).circuit.state is Circuit.CLOSED


NUMBER_DOES_NOT_EXIST = Outcome(
    state=State.NOT_CONNECTED,
    reason=EndReason.SIP_FAILED_WRONG_NUMBER,
    dialled=Dialled.NO,
    sip_code=404,
    hangup_cause="unallocated_number",
)
UNALLOCATED = Aftermath(trunk_verdict=TrunkVerdict.NUMBER, trunk_code="404", suppress_number_s=86_400.0)
WELL = Aftermath(trunk_verdict=TrunkVerdict.ANSWERED, trunk_code="200")
BROKEN = Aftermath(trunk_verdict=TrunkVerdict.TRUNK, trunk_code="503")


async def dialing(office: Office, count: int, *, first: int = 1) -> list[ClaimedCall]:
    return [await office.dialing(to=number(first + n)) for n in range(count)]


@pytest.fixture
async def ends(office: Office) -> EndsStore:
    await office.change_account("acme", max_concurrent=1000)
    return EndsStore(database=office.database)


async def test_calls_that_end_with_one_code_open_the_circuit_and_none_of_their_numbers_stays_suppressed(
    office: Office, trunk: Trunk, ends: EndsStore
):
    await ends.finish(await office.active(), HUNG_UP, WELL)
    for n, call in enumerate(await dialing(office, CODE_NUMBERS - 1)):
        assert (await ends.finish(call, NUMBER_DOES_NOT_EXIST, UNALLOCATED)).ours
        assert len(await suppressed(office)) == n + 1
    (call,) = await dialing(office, 1, first=50)
    await ends.finish(call, NUMBER_DOES_NOT_EXIST, UNALLOCATED)
    assert await trunk.is_open()
    assert await suppressed(office) == set()
    assert (await office.drift()).total == 0


async def test_calls_that_end_together_are_judged_together(office: Office, trunk: Trunk, ends: EndsStore):
    calls = [await office.claimed(to=number(1 + n)) for n in range(CODE_NUMBERS + 1)]
    well = calls.pop()
    for call in (*calls[:4], well, *calls[4:]):
        assert isinstance(await office.begin(call), DialGranted)
    await office.sql("UPDATE calls SET deferrals = deferrals WHERE id = $1", well.call_id)  # its row is the last, too
    batch = [End(call=call, outcome=NUMBER_DOES_NOT_EXIST, aftermath=UNALLOCATED) for call in calls]
    await ends.finish_all([*batch, End(call=well, outcome=BUSY, aftermath=Aftermath(trunk_verdict=TrunkVerdict.GOOD))])
    assert not await trunk.is_open()


async def test_calls_that_go_back_after_failures_of_the_trunk_open_its_circuit_and_wait(
    office: Office, trunk: Trunk, ends: EndsStore
):
    for call in await dialing(office, TRUNK_NUMBERS):
        assert await ends.requeue(call, delay_s=0, waiting_for=WaitingFor.TRUNK_CAPACITY, detail={}, aftermath=BROKEN)
    assert await trunk.is_open()
    await office.ready(1, to=number(90))
    assert await office.queue.claim_calls(100) == []
    await trunk.pass_time(31)
    (probe,) = await office.queue.claim_calls(100)
    await ends.requeue(probe, delay_s=60, waiting_for=WaitingFor.AGENT, detail={})
    (probe,) = await office.queue.claim_calls(100)
    assert isinstance(await office.begin(probe), DialGranted)
    await ends.finish(probe, BUSY, Aftermath(trunk_verdict=TrunkVerdict.GOOD))
    assert (await trunk.status()).state is Circuit.CLOSED
    assert (await office.drift()).total == 0


async def test_a_claimed_call_is_not_dialled_once_its_trunk_is_paused(office: Office, trunk: Trunk):
    call = await office.claimed()
    await trunk.fail(TRUNK_NUMBERS)
    refused = await office.begin(call)
    assert isinstance(refused, DialForbidden)
    assert refused.gate is Gate.TRUNK_CIRCUIT


async def test_workers_that_judge_the_same_trunks_at_once_neither_deadlock_nor_lose_a_channel(office: Office, ends: EndsStore):
    await office.trunks.create(NewTrunk(name="other", sip_trunk_id="ST_o", max_channels=1000, max_cps=1000.0))
    groups = TrunkGroupStore(database=office.database)
    await groups.create("both", [GroupMember(trunk="main"), GroupMember(trunk="other")])
    for n in range(120):
        await office.ready(1, to=number(n), trunk="both")
    choice = random.Random(11)
    verdicts = [*TrunkVerdict, TrunkVerdict.TRUNK, TrunkVerdict.NUMBER]
    left = 120

    async def work() -> None:
        nonlocal left
        queue = await office.another_worker()
        async with asyncio.timeout(120):
            while left:
                calls = await queue.claim_calls(choice.randint(1, 8))
                for call in calls:
                    await office.begin(call)
                if not calls:
                    await asyncio.sleep(0.005)
                    continue
                await ends.finish_all(
                    [
                        End(
                            call=call,
                            outcome=NUMBER_DOES_NOT_EXIST,
                            aftermath=Aftermath(
                                trunk_verdict=choice.choice(verdicts), trunk_code="404", suppress_number_s=60.0
                            ),
                        )
                        for call in choice.sample(calls, len(calls))
                    ]
                )
                left -= len(calls)

    async def reset() -> None:
        while left:
            for name in ("main", "other"):
                await office.trunks.reset_circuit(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(work() for _ in range(4)), reset())
    assert await office.held() == (0, 0)
    assert (await office.drift()).total == 0


SEED = """
SET session_replication_role = replica;
INSERT INTO calls (account_id, trunk_group_id, request_digest, to_number, agent_name, state, run_at, expires_at,
                   end_reason, ended_at, dialled, attempt, epoch, dialed_at, trunk_id)
SELECT 1, 1, '', '+1212' || (5000000 + g), 'a', 'not_connected', now(), now() + interval '1 h',
       'USER_BUSY', now(), 'yes', 1, 1, now(), 1
  FROM generate_series(1, 20000) g;
INSERT INTO dials (call_id, attempt, number, epoch, worker_id, trunk_id, account_id, to_number, room, dial_at,
                   ended_at, spent, dialled)
SELECT id, 1, 1, 1, (SELECT id FROM workers LIMIT 1), 1, 1, to_number, 'r', now(), now(), true, 'yes' FROM calls;
INSERT INTO do_not_call (account_id, number_key, kind, source)
SELECT 1, number_key('+1212' || (5000000 + g)), 'suppression', 'call 1' FROM generate_series(1, 20000) g;
SET session_replication_role = origin;
ANALYZE
"""


async def test_judging_reads_no_table_of_calls_dials_or_listed_numbers_whole(office: Office):
    connection = await office.database.connect()
    await connection.execute(SEED)
    await connection.execute("SET plan_cache_mode = force_generic_plan")

    async def scans() -> dict[str, int]:
        rows = await connection.fetch("SELECT relname, seq_scan FROM pg_stat_xact_user_tables")
        return {row["relname"]: row["seq_scan"] for row in rows if row["relname"] in ("calls", "dials", "do_not_call")}

    async with connection.transaction():
        before = await scans()
        for k, (verdict, code) in enumerate((("good", ""), ("number", "404"), ("trunk", "503"), ("answered", ""))):
            for n in range(100 * k, 100 * k + CODE_NUMBERS):
                await connection.execute("SELECT judge_trunk(1, $1, $2, $3, $4)", n + 1, f"+1212{5000001 + n}", verdict, code)
            await connection.execute("SELECT reset_trunk_circuit(1)")
        assert await connection.fetchval("SELECT circuit_changes FROM trunk_channels") == 2
        assert await scans() == before
    await connection.close()
