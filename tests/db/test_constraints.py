"""What must never be is refused by the database itself, whoever asks."""

from __future__ import annotations

import re

import asyncpg
import pytest

from orchestrator.outcomes import AnsweredBy, EndReason
from orchestrator.store.records import EXPIRY_REASONS, WaitingFor
from sip.events import Dialled
from tests.db.office import Office

LIVE = (
    "epoch = 1, attempt = 1, worker_id = (SELECT id FROM workers LIMIT 1), trunk_id = 1, claimed_at = now(), dial_at = now(),"
    " dialed_at = now()"
)
OVER = "ended_at = now(), dialled = 'yes', end_reason = 'USER_BUSY'"


def insert_call(**fields: str) -> str:
    """A statement that queues a call behind the doors' backs."""
    values = {
        "account_id": "1",
        "trunk_group_id": "1",
        "request_digest": "''",
        "to_number": "'+12125550100'",
        "agent_name": "'a'",
        "run_at": "now()",
        "expires_at": "now() + interval '1 h'",
    } | fields
    return f"INSERT INTO calls ({', '.join(values)}) VALUES ({', '.join(values.values())})"  # noqa: S608


async def refused(office: Office, statement: str, rule: str) -> None:
    """The statement fails by that rule, and changes nothing."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
        await office.sql(statement)
    assert rule in (refusal.value.constraint_name or refusal.value.column_name), f"{statement}: {refusal.value}"


QUEUED = [
    ("account_id", "99", "calls_account_id_fkey"),
    ("trunk_group_id", "99", "calls_trunk_group_id_fkey"),
    ("to_number", "'12125550100'", "e164_shape"),
    ("to_number", "'+1 212'", "e164_shape"),
    ("caller_id", "'anonymous'", "e164_shape"),
    ("metadata", "'[]'", "metadata_rule"),
    ("metadata", "jsonb_build_object('x', repeat('y', 65536))", "metadata_rule"),
    ("headers", """'{"X-A": "b\\r\\nVia: c"}'""", "headers_rule"),
    ("headers", """'{"X:A": "b"}'""", "headers_rule"),
    ("agent_name", "''", "label_length"),
    ("batch", "''", "label_length"),
    ("dtmf", "'x'", "calls_dtmf_check"),
    ("display_name", "repeat('x', 129)", "calls_display_name_check"),
    ("ring_timeout_s", "4.9", "calls_ring_timeout_s_check"),
    ("ring_timeout_s", "'NaN'", "calls_ring_timeout_s_check"),
    ("max_duration_s", "0", "calls_max_duration_s_check"),
    ("priority", "101", "calls_priority_check"),
    ("expires_at", "now() - interval '1 s'", "calls_expire_after_their_time"),
    ("state", "'lost'", "calls_state_check"),
    ("waiting_for", "'godot'", "calls_waiting_for_check"),
    ("epoch", "-1", "calls_epoch_check"),
    ("evidence", "'[]'", "calls_evidence_object"),
    ("request_digest", "NULL", "request_digest"),
    ("trunk_id", "1", "calls_waiting_hold_nothing"),
    ("worker_id", "gen_random_uuid()", "calls_waiting_hold_nothing"),
    ("end_reason", "'USER_BUSY'", "calls_reason_if_terminal"),
    ("ended_at", "now()", "calls_ended_if_terminal"),
    ("dialled", "'no'", "calls_dialled_if_terminal"),
    ("answered_at", "now()", "calls_answered_if_active"),
    ("answered_by", "'human'", "calls_answered_by_if_answered"),
]


async def test_an_impossible_queued_call_is_refused(office: Office):
    await office.sql(insert_call())
    for column, value, rule in QUEUED:
        await refused(office, insert_call(**{column: value}), rule)


STATES = [
    ("state = 'ready', worker_id = (SELECT id FROM workers)", "calls_waiting_hold_nothing"),
    (f"state = 'claimed', {LIVE}, trunk_id = NULL", "calls_live_hold_everything"),
    (f"state = 'claimed', {LIVE}, worker_id = NULL", "calls_live_hold_everything"),
    (f"state = 'claimed', {LIVE}, trunk_id = 99", "calls_trunk_id_fkey"),
    (f"state = 'claimed', {LIVE}, route_id = NULL", "calls_ready_have_a_route"),
    ("state = 'ready', route_id = NULL", "calls_ready_have_a_route"),
    ("state = 'ready', window_from = now(), window_until = now() - interval '1 s'", "calls_window_in_order"),
    ("avoid_trunk_id = 99", "calls_avoid_trunk_id_fkey"),
    ("expires_after_s = 0", "calls_expires_after_s_check"),
    ("redial = '[]'", "calls_redial_check"),
    ("direction = 'sideways'", "calls_direction_check"),
    (f"state = 'claimed', {LIVE}, dial_at = NULL", "calls_live_hold_everything"),
    (f"state = 'claimed', {LIVE}, epoch = 0", "calls_live_hold_everything"),
    (f"state = 'dialing', {LIVE}, attempt = 0", "calls_dialing_have_an_attempt"),
    (f"state = 'ringing', {LIVE}", "calls_ringing_since"),
    (f"state = 'active', {LIVE}", "calls_answered_if_active"),
    (f"state = 'not_connected', {LIVE}, {OVER}, answered_at = now()", "calls_answered_if_active"),
    (f"state = 'not_connected', {OVER}, end_reason = NULL", "calls_reason_if_terminal"),
    (f"state = 'not_connected', {OVER}, end_reason = 'NO_IDEA'", "end_reason_vocabulary"),
    (f"state = 'not_connected', {OVER}, end_reason = 'CANCELED_BY_REQUEST'", "calls_canceled_by_request"),
    (f"state = 'canceled', {OVER}", "calls_canceled_by_request"),
    (f"state = 'not_connected', {OVER}, dialled = 'perhaps'", "dialled_vocabulary"),
    (f"state = 'not_connected', {OVER}, ended_at = NULL", "calls_ended_if_terminal"),
    (f"state = 'not_connected', {OVER}, ring_ms = -1", "calls_ring_ms_check"),
    (f"state = 'not_connected', {OVER}, sip_code = 42", "calls_sip_code_check"),
    (f"state = 'not_connected', {OVER}, q850_cause = 128", "calls_q850_cause_check"),
    (f"state = 'ended', {LIVE}, {OVER}, answered_at = now(), answered_by = 'ghost'", "calls_answered_by_check"),
]


async def test_an_impossible_state_of_a_call_is_refused(office: Office):
    await office.ready(1)
    await office.sql("ALTER TABLE calls DISABLE TRIGGER calls_transition")
    for change, rule in STATES:
        # In UPDATE a column may be set once: the last one given counts.
        columns = dict(part.split(" = ", 1) for part in re.split(r", (?=\w+ = )", change))
        changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
        await refused(office, f"UPDATE calls SET {changes}", rule)  # noqa: S608


LIMITS = [
    ("UPDATE account_slots SET max_concurrent = 0", "account_slots_max_concurrent_check"),
    ("UPDATE account_slots SET weight = 0.0001", "account_slots_weight_check"),
    ("UPDATE account_slots SET weight = 'NaN'", "account_slots_weight_check"),
    ("UPDATE account_slots SET reserved = -1", "account_slots_reserved_check"),
    ("UPDATE account_slots SET inflight = -1", "account_slots_inflight_check"),
    ("UPDATE account_slots SET inbound = -1", "account_slots_inbound_check"),
    ("UPDATE agent_pools SET capacity = 0", "agent_pools_capacity_check"),
    ("UPDATE agent_pools SET inflight = 1", "agent_pools_check"),
    ("UPDATE agent_pools SET circuit_until = now()", "agent_pools_check"),
    ("UPDATE agent_pools SET probe_call_id = 1", "agent_pools_check"),
    ("UPDATE trunk_channels SET circuit_until = now()", "trunk_channels_check"),
    ("UPDATE trunk_channels SET probe_call_id = 1", "trunk_channels_check"),
    ("INSERT INTO lanes VALUES (1, 1, 1, 2, 0, true, true, now())", "lanes_check"),
    (
        "INSERT INTO routes (trunk_group_id, agent_pool_id) SELECT trunk_group_id, agent_pool_id FROM routes",
        "routes_trunk_group_id",
    ),
    ("INSERT INTO agent_pools (name) SELECT name FROM agent_pools", "agent_pools_name_key"),
    ("UPDATE switches SET stopped_at = now()", "switches_check"),
    ("INSERT INTO switches DEFAULT VALUES", "switches_pkey"),
    ("UPDATE trunk_channels SET max_channels = 0", "trunk_channels_max_channels_check"),
    ("UPDATE trunk_channels SET max_cps = 0.001", "trunk_channels_max_cps_check"),
    ("UPDATE trunk_channels SET max_cps = 10001", "trunk_channels_max_cps_check"),
    ("UPDATE trunk_channels SET channels = -1", "trunk_channels_channels_check"),
    ("UPDATE trunks SET caller_ids = '{anonymous}'", "e164_shape"),
    ("UPDATE trunks SET caller_ids = '{NULL}'", "trunks_caller_ids_check"),
    ("UPDATE trunks SET patterns = '{}'", "trunks_patterns_check"),
    ("""UPDATE trunks SET patterns = '[["a"]]'""", "trunks_patterns_check"),
    ("""UPDATE trunks SET patterns = '[["a", 1]]'""", "trunks_patterns_check"),
    ("UPDATE trunks SET preconnect_voicemail_codes = '{200}'", "trunks_preconnect_voicemail_codes_check"),
    ("UPDATE trunks SET max_ring_s = 0.5", "trunks_max_ring_s_above_min_ring_s"),
    ("UPDATE accounts SET name = 'with space'", "accounts_name_check"),
    ("UPDATE accounts SET country = 'usa'", "accounts_country_check"),
    ("UPDATE accounts SET allowed_countries = '{US,xx}'", "accounts_allowed_countries_check"),
    ("UPDATE accounts SET ring_timeout_s = 61", "accounts_ring_timeout_s_check"),
    ("INSERT INTO accounts (name, country) VALUES ('acme', 'US')", "accounts_name_key"),
    ("DELETE FROM accounts", "account_slots_account_id_fkey"),
    ("INSERT INTO deployment DEFAULT VALUES", "deployment_pkey"),
    ("INSERT INTO workers (name, version, capacity) VALUES ('w', '1', 0)", "workers_capacity_check"),
    ("INSERT INTO call_events (call_id, epoch, kind) VALUES (1, 0, 'state')", "call_events_check"),
]


async def test_an_impossible_limit_policy_or_counter_is_refused(office: Office):
    await office.ready(1)
    for statement, rule in LIMITS:
        await refused(office, statement, rule)


async def test_a_claim_has_one_dial_and_an_attempt_ends_once(office: Office):
    await office.dialing()
    await refused(
        office,
        "INSERT INTO dials (call_id, attempt, number, epoch, worker_id, trunk_id, room, dial_at)"
        " SELECT c.id, 1, 2, c.epoch, c.worker_id, 1, 'room', now() FROM calls c",
        "dials_call_id_epoch_key",
    )
    await refused(office, "INSERT INTO attempts (call_id, number) SELECT id, 2 FROM calls", "attempts_one_open")
    await refused(office, "UPDATE attempts SET ended_at = now()", "attempts_check")
    await refused(office, "UPDATE dials SET ended_at = now()", "dials_check")


async def test_the_same_key_stands_once_for_an_account(office: Office):
    await office.sql(insert_call(idempotency_key="'a'"))
    await refused(office, insert_call(idempotency_key="'a'"), "calls_idempotency_key")


async def test_the_databases_vocabularies_are_the_programs(office: Office):
    async def vocabulary(constraint: str) -> set[str]:
        (row,) = await office.sql("SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conname = $1", constraint)
        return set(re.findall(r"'([A-Za-z0-9_]+)'", row["text"]))

    assert await vocabulary("end_reason_vocabulary") == {reason.value for reason in EndReason}
    assert await vocabulary("calls_answered_by_check") == {who.value for who in AnsweredBy}
    assert await vocabulary("dialled_vocabulary") == {value.value for value in Dialled}
    assert await vocabulary("calls_waiting_for_check") == {value.value for value in WaitingFor}
    assert EXPIRY_REASONS.keys() == set(WaitingFor)
