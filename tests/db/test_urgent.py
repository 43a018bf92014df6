"""Urgent calls (priority above 0): slots reserved for them, first in their account, and nothing bought from other accounts."""

from __future__ import annotations

from collections import Counter, deque

import pytest

from orchestrator.store.policy import NewTrunk
from orchestrator.store.records import ClaimedCall
from tests.db.office import BUSY, Office


async def claim_all(office: Office) -> list[ClaimedCall]:
    calls = []
    while more := await office.queue.claim_calls(20):
        calls += more
    return calls


async def priorities_of(office: Office, calls: list[ClaimedCall]) -> Counter[int]:
    rows = await office.sql("SELECT priority FROM calls WHERE id = ANY ($1)", [call.call_id for call in calls])
    return Counter(row["priority"] for row in rows)


async def test_only_urgent_calls_take_the_reserved_slots(office: Office):
    await office.change_account("acme", max_concurrent=10, reserved=4)
    await office.ready(20)
    plain = await claim_all(office)
    assert await priorities_of(office, plain) == {0: 6}
    await office.ready(3, priority=1)
    assert await priorities_of(office, await claim_all(office)) == {1: 3}
    await office.ready(5, priority=2)
    assert await priorities_of(office, await claim_all(office)) == {2: 1}
    assert await office.finish(plain[0], BUSY)
    assert await priorities_of(office, await claim_all(office)) == {2: 1}, "urgent calls go first to whatever is free"
    for call in plain[1:5]:
        assert await office.finish(call, BUSY)
    assert await priorities_of(office, await claim_all(office)) == {2: 3}, "and the reserve stays free for the next urgent ones"
    assert await office.finish(plain[5], BUSY)
    assert await claim_all(office) == []
    assert (await office.drift()).total == 0


async def test_a_claim_takes_urgent_calls_and_then_as_many_others_as_the_reserve_allows(office: Office):
    await office.change_account("acme", max_concurrent=10, reserved=4)
    await office.ready(20)
    await office.ready(2, priority=5)
    assert await priorities_of(office, await office.queue.claim_calls(20)) == {5: 2, 0: 4}


async def test_an_account_that_reserves_all_its_slots_dials_urgent_calls_only(office: Office):
    await office.change_account("acme", max_concurrent=3, reserved=5)
    await office.ready(5)
    assert await claim_all(office) == []
    await office.ready(5, priority=1)
    assert await priorities_of(office, await claim_all(office)) == {1: 3}


async def test_a_reserve_that_is_changed_counts_at_once(office: Office):
    await office.change_account("acme", max_concurrent=5, reserved=5)
    await office.ready(10)
    assert await claim_all(office) == []
    await office.change_account("acme", reserved=2)
    assert len(await claim_all(office)) == 3
    await office.change_account("acme", reserved=0)
    assert len(await claim_all(office)) == 2


async def test_a_paused_account_dials_no_urgent_calls_either(office: Office):
    await office.ready(3, priority=9)
    await office.change_account("acme", paused=True)
    assert await claim_all(office) == []
    await office.change_account("acme", paused=False)
    assert len(await claim_all(office)) == 3


async def test_a_withdrawn_urgent_call_is_no_longer_counted(office: Office):
    await office.change_account("acme", max_concurrent=5, reserved=5)
    (call_id, *_) = await office.ready(2, priority=1)
    await office.ready(3)
    await office.calls.request_cancel(call_id)
    assert (await office.drift()).total == 0
    assert len(await claim_all(office)) == 1


WEIGHTS = {"whale": 1.0, "double": 2.0, "third": 1.0, "fourth": 1.0}
CHANNELS = 50
ROUNDS = 300


@pytest.mark.parametrize("agents", ["shared", "own"])
async def test_slots_are_shared_by_weight_although_one_account_has_only_urgent_calls(office: Office, agents: str):
    """One trunk that is always full; calls end in the order in which they began; no clock is looked at."""
    await office.trunks.create(NewTrunk(name="full", sip_trunk_id="ST_f", max_channels=CHANNELS, max_cps=10_000.0))
    for name, weight in WEIGHTS.items():
        agent = "agent" if agents == "shared" else f"agent of {name}"
        await office.open_account(name, weight=weight, max_concurrent=1000, trunk="full", agent_name=agent)
        for _ in range(3 if name == "whale" else 1):
            await office.enqueue(1000, account=name, priority=100 if name == "whale" else 0)
    while await office.stage():
        pass
    live: deque[ClaimedCall] = deque()
    held: Counter[str] = Counter()
    for turn in range(ROUNDS):
        live.extend(await claim_all(office))
        assert len(live) == CHANNELS, "there is always demand"
        held.update(call.account for call in live)
        for _ in range(CHANNELS // 2 if turn % 40 == 20 else 1):  # now and then many end at once
            assert await office.finish(live.popleft(), BUSY)
    total = sum(held.values())
    for name, weight in WEIGHTS.items():
        fair = weight / sum(WEIGHTS.values())
        assert abs(held[name] / total - fair) <= 0.05 * fair, (name, held)
