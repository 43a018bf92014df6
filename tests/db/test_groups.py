"""Trunk groups: which trunk a call gets, as operators say, from the next claim on."""

from __future__ import annotations

import asyncio
from collections import Counter

import asyncpg
import pytest

from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.store.groups import TrunkGroupStore
from orchestrator.store.policy import AccountChange, GroupMember, NewTrunk, TrunkChange
from orchestrator.store.pool import Statements
from tests.db.office import Office


@pytest.fixture
async def groups(office: Office) -> TrunkGroupStore:
    """The office's account calls over a group of two small trunks."""
    for name in ("a", "b"):
        await office.trunks.create(
            NewTrunk(
                name=name,
                sip_trunk_id=f"ST_{name}",
                max_channels=4,
                max_cps=1000.0,
                caller_ids=(f"+1212555019{ord(name) % 10}",),
            )
        )
    store = TrunkGroupStore(database=office.database)
    await store.create("both", [GroupMember(trunk="a"), GroupMember(trunk="b", position=2)])
    await office.change_account("acme", max_concurrent=100, trunk="both")
    return store


async def claimed_trunks(office: Office, count: int) -> Counter[str]:
    for n in range(count):
        await office.ready(1, to=f"+1212555{n:04d}")
    return Counter(call.trunk.name for call in await office.queue.claim_calls(100))


async def test_the_first_position_is_filled_before_the_next(office: Office, groups: TrunkGroupStore):
    assert await claimed_trunks(office, 3) == {"a": 3}
    assert await claimed_trunks(office, 3) == {"a": 1, "b": 2}


async def test_within_a_position_calls_are_spread_by_weight(office: Office, groups: TrunkGroupStore):
    await groups.update("both", [GroupMember(trunk="a", weight=3.0), GroupMember(trunk="b", weight=1.0)])
    assert await claimed_trunks(office, 4) == {"a": 3, "b": 1}


async def test_a_change_of_trunks_holds_from_the_next_claim_on(office: Office, groups: TrunkGroupStore):
    await claimed_trunks(office, 1)
    await groups.update("both", [GroupMember(trunk="b")])
    assert await claimed_trunks(office, 2) == {"b": 2}
    assert (await office.trunks.get("a")).channels == 1
    assert (await office.drift()).total == 0


async def test_nobody_claims_from_a_group_while_its_trunks_change(office: Office, groups: TrunkGroupStore, database_url: str):
    await office.ready(1)
    operator = await asyncpg.connect(database_url)
    async with operator.transaction():
        await operator.fetch(Statements().text("lock_trunk_group"), "both")
        claim = asyncio.ensure_future(office.queue.claim_calls(1))
        while not await operator.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"):
            assert not claim.done()
            await asyncio.sleep(0.01)
        await operator.execute(
            "DELETE FROM trunk_group_members WHERE trunk_group_id = (SELECT id FROM trunk_groups WHERE name = 'both')"
            " AND trunk_id = (SELECT id FROM trunks WHERE name = 'a')"
        )
    assert [call.trunk.name for call in await claim] == ["b"]
    await operator.close()


async def test_a_group_knows_its_trunks_caller_ids_and_owner(office: Office, groups: TrunkGroupStore):
    row = await groups.get("both")
    assert row.caller_ids == ("+12125550197", "+12125550198")
    assert (row.owner, row.of_one_trunk) == (None, False)
    await office.trunks.update("b", TrunkChange(owner="acme"))
    assert (await groups.get("both")).owner == "acme"
    assert (await groups.get("main")).of_one_trunk


async def test_a_group_never_has_trunks_of_two_accounts(office: Office, groups: TrunkGroupStore):
    await office.open_account("globex", max_concurrent=1, trunk="main")
    await office.trunks.update("a", TrunkChange(owner="acme"))
    before = await groups.list()
    with pytest.raises(Conflict, match="trunks of account acme and of account globex"):
        await office.trunks.update("b", TrunkChange(owner="globex"))
    await groups.update("both", [GroupMember(trunk="a")])
    await office.trunks.update("b", TrunkChange(owner="globex"))
    with pytest.raises(Conflict, match="trunks of account acme and of account globex"):
        await groups.update("both", [GroupMember(trunk="a"), GroupMember(trunk="b")])
    with pytest.raises(Conflict, match="trunks of account"):
        await groups.create("new", [GroupMember(trunk="a"), GroupMember(trunk="b")])
    assert [row.name for row in await groups.list()] == [row.name for row in before]


async def test_an_account_cannot_take_another_s_trunk_as_its_default(office: Office, groups: TrunkGroupStore):
    await office.open_account("globex", max_concurrent=1, trunk="main")
    await office.trunks.update("a", TrunkChange(owner="acme"))
    for trunk in ("a", "both"):
        with pytest.raises(Conflict, match=f"trunk {trunk} is for calls of account acme alone"):
            await office.accounts.update("globex", AccountChange(trunk=trunk))
    await office.accounts.update("acme", AccountChange(trunk="a"))


@pytest.mark.parametrize("state", ["scheduled", "ready", "claimed", "active"])
async def test_a_trunk_that_another_account_s_calls_use_is_not_given_away(office: Office, groups: TrunkGroupStore, state: str):
    await office.open_account("globex", max_concurrent=1, trunk="main")
    match state:
        case "scheduled":
            await office.enqueue(1, trunk="a")
        case "ready":
            await office.ready(1, trunk="a")
        case "claimed":
            await office.claimed(trunk="a")
        case _:
            await office.active(trunk="a")
    await office.accounts.update("acme", AccountChange(trunk="main"))
    with pytest.raises(Conflict, match="calls of account acme wait for it or are live"):
        await office.trunks.update("a", TrunkChange(owner="globex"))
    assert (await office.trunks.get("a")).owner is None


async def test_a_group_is_removed_with_its_routes_only_when_nothing_uses_it(office: Office, groups: TrunkGroupStore):
    await groups.create("spare", [GroupMember(trunk="a")])
    await groups.remove("spare")
    with pytest.raises(Conflict, match="account acme has trunk group both as its default"):
        await groups.remove("both")
    await office.ready(1)
    await office.accounts.update("acme", AccountChange(trunk="main"))
    with pytest.raises(Conflict, match="calls have been queued for trunk group both"):
        await groups.remove("both")
    await office.sql("UPDATE lanes SET ready = 0")
    await office.sql("DELETE FROM call_events")
    await office.sql("DELETE FROM calls")
    await groups.remove("both")
    with pytest.raises(NotFound, match="no trunk group both"):
        await groups.get("both")


async def test_a_group_without_trunks_cannot_be(office: Office, groups: TrunkGroupStore):
    with pytest.raises(BadInput, match="at least one trunk"):
        await groups.create("none", [])
    with pytest.raises(BadInput, match="at least one trunk"):
        await groups.update("both", [])
    assert len((await groups.get("both")).members) == 2
