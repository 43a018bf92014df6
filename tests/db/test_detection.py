"""What accounts and calls say about who answers: stored, put together for the claim, and refused where it cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from orchestrator.detection import NO_DETECTION, RULES, Action, DetectionPolicy, read_detection
from orchestrator.errors import BadInput, Conflict
from orchestrator.lifecycle import State
from orchestrator.store.migrations import MIGRATIONS_DIRECTORY, migrate, read_migrations
from orchestrator.store.policy import AccountChange
from orchestrator.store.pool import Database
from orchestrator.store.recovery import RecoveryStore
from orchestrator.store.views import NewCall
from tests.db.office import TO, Office

VERSION = 13
HANGS_UP = {"on_voicemail": "hang_up"}


async def test_a_new_account_is_listened_to_and_by_default_only_a_fax_is_hung_up_on(office: Office):
    assert (await office.accounts.get("acme")).detection == {}
    assert (await office.claimed()).detection == DetectionPolicy()


async def test_a_claimed_call_has_its_own_policy_over_its_accounts(office: Office):
    changed = await office.accounts.update("acme", _change({**HANGS_UP, "silence_s": 20}))
    assert changed.detection == {**HANGS_UP, "silence_s": 20}
    call = await office.claimed(detection={"on_voicemail": "leave_message", "message": "/srv/bye.wav"})
    assert call.detection == DetectionPolicy(on_voicemail=Action.LEAVE_MESSAGE, message="/srv/bye.wav", silence_s=20.0)


async def test_what_is_changed_goes_over_what_is_there_and_none_takes_it_back(office: Office):
    await office.open_account("b", detection={**HANGS_UP, "silence_s": 20})
    changed = await office.accounts.update("b", _change({"on_voicemail": None, "on_menu": "hang_up"}))
    assert changed.detection == {"silence_s": 20, "on_menu": "hang_up"}
    assert (await office.accounts.update("b", _change(None, paused=True))).detection == changed.detection


@pytest.mark.parametrize("bad", [{"on_voicemail": "shout"}, {"silence_s": -1}, {"silence_s": 10, "silence_warning_s": 20}])
async def test_a_bad_policy_of_an_account_is_refused_and_changes_nothing(office: Office, bad: dict[str, object]):
    for attempt in (office.accounts.update("acme", _change(bad)), office.open_account("b", detection=bad)):
        with pytest.raises(BadInput, match="detection: "):
            await attempt
    assert (await office.accounts.get("acme")).detection == {}


async def test_a_row_that_a_hand_has_spoiled_is_claimed_and_counts_as_not_said(office: Office):
    await office.sql("""UPDATE accounts SET detection = '{"on_voicemail": 7, "on_menu": "hang_up"}'""")
    (call_id,) = await office.ready()
    await office.sql("""UPDATE calls SET detection = '{"pace": "never"}' WHERE id = $1""", call_id)
    (call,) = await office.queue.claim_calls(1)
    assert call.detection == DetectionPolicy(on_menu=Action.HANG_UP)


# -- the doors -----------------------------------------------------------------------------------------------------------------


async def test_the_same_key_with_another_policy_is_another_request(office: Office):
    call = NewCall(account="acme", to=TO, idempotency_key="k", detection=HANGS_UP)
    (first,) = await office.calls.enqueue([call])
    (again,) = await office.calls.enqueue([call])
    assert (again.call_id, again.created) == (first.call_id, False)
    for other in (None, {"on_voicemail": "carry_on"}):
        with pytest.raises(Conflict):
            await office.calls.enqueue([NewCall(account="acme", to=TO, idempotency_key="k", detection=other)])


async def test_a_request_of_a_version_that_knew_no_detection_is_recognised(office: Office):
    """Its digest was made of fewer fields; its retry must not be a conflict, nor call anybody twice."""
    (old,) = await office.sql(
        "SELECT sha256(convert_to(jsonb_build_array($1::text, '', '{}'::jsonb, NULL::text, NULL::text, '{}'::jsonb, '',"
        " NULL::float8, NULL::float8, NULL::text)::text, 'UTF8')) AS digest",
        TO,
    )
    (call,) = await office.calls.enqueue([NewCall(account="acme", to=TO, idempotency_key="k")])
    (row,) = await office.sql("SELECT request_digest FROM calls WHERE id = $1", call.call_id)
    assert row["request_digest"] == old["digest"]


async def test_the_sql_door_takes_a_policy_and_names_what_is_wrong_with_one(office: Office):
    (row,) = await office.sql(
        "SELECT enqueue_call('acme', $1, detection => $2::text::jsonb) AS id", TO, json.dumps({**HANGS_UP, "on_fax": None})
    )
    (stored,) = await office.sql("SELECT detection FROM calls WHERE id = $1", row["id"])
    assert json.loads(stored["detection"]) == {**HANGS_UP, "on_fax": None}
    with pytest.raises(asyncpg.PostgresError, match=r'detection on_voicemail must be one of .*, not "shout"'):
        await office.sql("SELECT enqueue_call('acme', $1, detection => '{\"on_voicemail\": \"shout\"}')", TO)


def samples() -> list[dict[str, object]]:
    """For each field values that are allowed, that are just not, and of other types."""
    values: list[object] = [
        *(True, "true", 0, 1, -1, 0.5, 0.89, 0.9, 1.01, 60, 60.5, 600, 600.5, 3600, 3601, 86_400, 86_401, 0.99),
        *("carry_on", "hang_up", "leave_message", "HANG_UP", "careful", "fast", "", "/srv/bye.wav", "bye.wav", "/a\nb"),
        *("/" + "a" * 999, "/" + "a" * 1000, ["hang_up"], {"on": True}, None),
    ]
    return [{name: value} for name in (*RULES, "volume") for value in values]


async def test_the_database_allows_what_the_program_allows(office: Office):
    asked = samples()
    rows = await office.sql(
        "SELECT detection_fault(s::jsonb) AS fault FROM unnest($1::text[]) WITH ORDINALITY AS u (s, n) ORDER BY n",
        [json.dumps(sample) for sample in asked],
    )
    assert len(rows) == len(asked)
    for sample, row in zip(asked, rows, strict=True):
        assert (row["fault"] is None) == _is_read(sample), (sample, row["fault"])


@pytest.mark.parametrize("whole", ["[]", '"on"', "7"])
async def test_the_database_takes_nothing_but_an_object(office: Office, whole: str):
    (row,) = await office.sql("SELECT detection_fault($1::text::jsonb) AS fault", whole)
    assert "must be a JSON object" in row["fault"]


# -- what was there before -----------------------------------------------------------------------------------------------------


async def test_accounts_that_were_there_before_go_on_without_detection(empty_database_url: str, tmp_path: Path):
    before = Path(shutil.copytree(MIGRATIONS_DIRECTORY, tmp_path / "migrations"))
    for migration in read_migrations():
        if migration.version >= VERSION:
            (before / migration.name).unlink()
    database = Database(empty_database_url, min_size=1, max_size=2)
    await migrate(database, directory=before)
    raw = await asyncpg.connect(empty_database_url)
    await raw.execute("INSERT INTO accounts (name, country) VALUES ('old', 'US')")
    await migrate(database)
    await raw.execute("INSERT INTO accounts (name, country) VALUES ('new', 'US')")
    rows = await raw.fetch("SELECT name, detection FROM accounts ORDER BY id")
    await raw.close()
    assert [(row["name"], json.loads(row["detection"])) for row in rows] == [("old", {"on": False}), ("new", {})]
    assert DetectionPolicy(on=False) == NO_DETECTION


def test_programs_that_do_not_know_it_run_on():
    (migration,) = [migration for migration in read_migrations() if migration.version == VERSION]
    assert migration.compatible


# -- a call whose worker died --------------------------------------------------------------------------------------------------


async def test_who_takes_a_call_over_learns_its_last_verdict(office: Office):
    call = await office.active()
    for kind in ("machine", "person"):
        assert await office.queue.record_note(call, "verdict", {"kind": kind, "stage": "final"})
    await office.sql("UPDATE workers SET heartbeat_at = now() - interval '1 h'")
    other = await office.another_worker()
    adopted = await RecoveryStore(database=office.database, worker_id=other._worker_id).adopt(call, lease_s=10.0)
    assert adopted is not None
    assert adopted.state is State.ACTIVE
    assert adopted.verdict == {"kind": "person", "stage": "final"}


async def test_a_verdict_of_an_earlier_attempt_is_none_of_this_one(office: Office):
    call = await office.active()
    await office.queue.record_note(call, "verdict", {"kind": "machine", "stage": "final"})
    await office.sql("UPDATE calls SET answered_at = clock_timestamp() WHERE id = $1", call.call_id)
    await office.sql("UPDATE workers SET heartbeat_at = now() - interval '1 h'")
    other = await office.another_worker()
    adopted = await RecoveryStore(database=office.database, worker_id=other._worker_id).adopt(call, lease_s=10.0)
    assert adopted is not None
    assert adopted.verdict == {}


def _change(detection: dict[str, object] | None, **fields: Any) -> AccountChange:
    return AccountChange(detection=detection, **fields)


def _is_read(sample: dict[str, object]) -> bool:
    try:
        read_detection(sample)
    except BadInput:
        return False
    return True
