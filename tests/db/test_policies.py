"""Accounts, trunks and workers as operators make, change and see them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.errors import BadInput, Conflict, NotFound
from orchestrator.store.policy import AccountChange, NewAccount, NewTrunk, TrunkChange
from orchestrator.store.records import CallerIdChoice
from tests.db.office import Office


async def test_an_account_is_made_changed_and_shown(office: Office):
    made = await office.accounts.create(
        NewAccount(
            name="b",
            max_concurrent=7,
            country="DE",
            weight=2.5,
            reserved=1,
            allowed_countries=("DE", "AT"),
            allowed_specials=("toll_free",),
            caller_ids=("+4930123456",),
            agent_name="x",
            ring_timeout_s=25.0,
            max_duration_s=600.0,
            trust_agent_leave=True,
            trunk="main",
            calling_hours=("mon-fri 09:00-20:00", "sun closed"),
            closed_on_holidays=True,
            dial_unknown_zone=True,
            max_attempts=3,
            redial_delays_s={"soon": (300.0, 900.0)},
            redial_jitter=0.2,
            number_gap_s=60.0,
            number_most_dials=7,
            number_window_s=86_400.0,
            caller_id_choice=CallerIdChoice.NEAREST,
            caller_id_cap=200,
        )
    )
    assert await office.accounts.get("b") == made
    assert (made.calling_hours, made.closed_on_holidays) == (("mon-fri 09:00-20:00", "sun closed"), True)
    assert (made.max_attempts, made.redial_delays_s, made.number_most_dials) == (3, {"soon": (300.0, 900.0)}, 7)
    assert (made.country, made.allowed_countries, made.allowed_specials) == ("DE", ("DE", "AT"), frozenset({"toll_free"}))
    assert (made.caller_ids, made.trunk, made.paused, made.inflight, made.ready) == (("+4930123456",), "main", False, 0, 0)
    changed = await office.accounts.update(
        "b", AccountChange(max_concurrent=3, paused=True, allowed_specials=(), agent_name="")
    )
    assert changed == dataclasses.replace(made, max_concurrent=3, paused=True, allowed_specials=frozenset(), agent_name="")
    uncapped = await office.accounts.update("b", AccountChange(number_most_dials=0, caller_id_cap=0, calling_hours=()))
    assert uncapped == dataclasses.replace(changed, number_most_dials=None, caller_id_cap=None, calling_hours=())
    assert [account.name for account in await office.accounts.list()] == ["acme", "b"]


async def test_an_account_shows_what_it_holds_and_what_waits(office: Office):
    await office.ready(4)
    await office.queue.claim_calls(1)
    account = await office.accounts.get("acme")
    assert (account.inflight, account.ready) == (1, 3)
    assert (await office.trunks.get("main")).channels == 1


BAD_ACCOUNTS: list[tuple[dict[str, Any], str]] = [
    ({"max_concurrent": 0}, "max_concurrent must be from 1"),
    ({"max_concurrent": -1}, "max_concurrent must be from 1"),
    ({"weight": 0.0}, "weight must be from"),
    ({"weight": float("nan")}, "weight must be from"),
    ({"reserved": -1}, "reserved must be from 0"),
    ({"ring_timeout_s": 4.0}, "ring_timeout_s must be from 5 to 60, not 4"),
    ({"max_duration_s": 1e9}, "max_duration_s must be from 1"),
    ({"country": "usa"}, "country: 'usa' is not an ISO"),
    ({"allowed_countries": ("US", "Canada")}, "allowed_countries: 'Canada'"),
    ({"allowed_specials": ("Toll Free",)}, "allowed_specials: 'Toll Free'"),
    ({"caller_ids": ("2125550100",)}, "caller_ids: '2125550100' is not an E.164"),
    ({"agent_name": "x" * 256}, "agent_name"),
    ({"calling_hours": ("25:00-26:00",)}, "calling hours '25:00-26:00': 25:00 is no time of day"),
    ({"calling_hours": ("sun closed",)}, "no day of the week is ever open"),
    ({"calling_hours": ("zone Mars/Olympus",)}, "'Mars/Olympus' is no time zone"),
    ({"max_attempts": 0}, "max_attempts must be from 1 to 50"),
    ({"redial_delays_s": {"soon": (-1.0,)}}, "a delay of redial class soon must be above 0"),
    ({"redial_delays_s": {"sooner": (60.0,)}}, "no redial class 'sooner'; did you mean soon"),
    (
        {"redial_delays_s": {"soon": (60.0,)}, "number_gap_s": 61.0},
        "60 s of redial class soon is shorter than the account's 61 s",
    ),
    ({"redial_jitter": 1.1}, "redial_jitter must be from 0 to 1"),
    ({"number_gap_s": -1.0}, "number_gap_s must be from 0"),
    ({"number_window_s": 59.0}, "number_window_s must be from 60"),
    ({"number_most_dials": -1}, "number_most_dials must be from"),
    ({"caller_id_cap": -1}, "caller_id_cap must be from"),
]


async def test_an_account_that_cannot_be_is_refused_and_nothing_changes(office: Office):
    before = await office.accounts.get("acme")
    for fields, says in BAD_ACCOUNTS:
        with pytest.raises(BadInput, match=says):
            await office.accounts.create(NewAccount(**({"name": "new", "max_concurrent": 1, "country": "US"} | fields)))
        with pytest.raises(BadInput, match=says):
            await office.accounts.update("acme", AccountChange(**({"paused": True} | fields)))
    with pytest.raises(BadInput, match="account name 'a b'"):
        await office.accounts.create(NewAccount(name="a b", max_concurrent=1, country="US"))
    with pytest.raises(NotFound, match="no trunk nowhere"):
        await office.accounts.create(NewAccount(name="new", max_concurrent=1, country="US", trunk="nowhere"))
    with pytest.raises(NotFound, match="no trunk nowhere"):
        await office.accounts.update("acme", AccountChange(paused=True, trunk="nowhere"))
    with pytest.raises(Conflict, match="an account acme already"):
        await office.accounts.create(NewAccount(name="acme", max_concurrent=1, country="US"))
    for operation in (office.accounts.get("nobody"), office.accounts.update("nobody", AccountChange(paused=True))):
        with pytest.raises(NotFound, match="no account nobody"):
            await operation
    assert list(await office.accounts.list()) == [before]


async def test_a_trunk_is_made_changed_and_shown(office: Office):
    made = await office.trunks.create(
        NewTrunk(
            name="b",
            sip_trunk_id="ST_b",
            max_channels=30,
            max_cps=2.5,
            caller_ids=("+12125550188",),
            preconnect_voicemail_codes=(480, 487),
            max_ring_s=20.0,
            patterns=(("unpaid", "trunk_auth"),),
        )
    )
    assert await office.trunks.get("b") == made
    assert (made.max_cps, made.trunk.preconnect_voicemail_codes) == (2.5, frozenset({480, 487}))
    changed = await office.trunks.update("b", TrunkChange(enabled=False, max_channels=5, patterns=()))
    assert changed == dataclasses.replace(
        made, enabled=False, max_channels=5, trunk=dataclasses.replace(made.trunk, patterns=())
    )
    assert [status.trunk.name for status in await office.trunks.list()] == ["b", "main"]


BAD_TRUNKS: list[tuple[dict[str, Any], str]] = [
    ({"max_channels": 0}, "max_channels must be from 1"),
    ({"max_cps": 0.0}, "max_cps must be from"),
    ({"dial_slack_ms": -1}, "dial_slack_ms"),
    ({"sip_trunk_id": ""}, "sip_trunk_id"),
    ({"caller_ids": ("x",)}, "caller_ids: 'x'"),
    ({"preconnect_voicemail_codes": (200,)}, "preconnect_voicemail_codes"),
    ({"min_ring_s": 5.0, "max_ring_s": 5.0}, "max_ring_s 5 must be above min_ring_s 5"),
    ({"patterns": (("(", "trunk_auth"),)}, "'\\(' is not a regular expression"),
    ({"patterns": (("x", "bad_luck"),)}, "'bad_luck' is not a hang-up cause: use one of"),
]


async def test_a_trunk_that_cannot_be_is_refused_and_nothing_changes(office: Office):
    before = await office.trunks.get("main")
    base = {"name": "new", "sip_trunk_id": "ST_n", "max_channels": 1, "max_cps": 1.0}
    for fields, says in BAD_TRUNKS:
        with pytest.raises(BadInput, match=says):
            await office.trunks.create(NewTrunk(**(base | fields)))
        with pytest.raises(BadInput, match=says):
            await office.trunks.update("main", TrunkChange(**({"enabled": False} | fields)))
    with pytest.raises(BadInput, match="max_ring_s"):
        await office.trunks.update("main", TrunkChange(max_ring_s=0.5))
    with pytest.raises(Conflict, match="main already"):
        await office.trunks.create(NewTrunk(**(base | {"name": "main"})))
    for operation in (office.trunks.get("nowhere"), office.trunks.update("nowhere", TrunkChange(enabled=True))):
        with pytest.raises(NotFound, match="no trunk nowhere"):
            await operation
    assert list(await office.trunks.list()) == [before]


async def test_two_workers_of_one_name_are_two_and_stop_one_by_one(office: Office):
    first = await office.workers.register(name="same", version="1", capacity=5)
    second = await office.workers.register(name="same", version="1", capacity=5)
    assert first != second
    assert await office.workers.heartbeat(first, live_calls=3, capacity=5, draining=False)
    for _ in range(2):
        await office.workers.deregister(first)
    assert not await office.workers.heartbeat(first, live_calls=3, capacity=5, draining=False)
    assert [worker.id for worker in await office.workers.list() if worker.name == "same"] == [second]


async def test_the_deployments_id_stays(office: Office):
    assert await office.workers.deployment_id() == await office.workers.deployment_id()


async def test_a_policy_that_a_hand_wrote_wrongly_is_shown_and_keeps_nobody_from_pausing_the_account(office: Office):
    await office.sql("""UPDATE accounts SET redial_delays = '{"soon": 5}', calling_hours = '{25:00}' WHERE name = 'acme'""")
    assert (await office.accounts.get("acme")).calling_hours == ("25:00",)
    paused = await office.accounts.update("acme", AccountChange(paused=True))
    assert (paused.paused, paused.redial_delays_s) == (True, {"soon": (5,)})
