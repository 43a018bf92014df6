"""Databases with many waiting calls, made by SQL in bulk: a queue that has been filled for days, in a minute."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.migrations import migrate
from orchestrator.store.pool import Database

SERVER_SETTINGS = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "512MB",
    "checkpoint_timeout": "15min",
    "max_connections": "60",
    # A new server has no old segments of its log to use again, as one has that has run for a while.
    "wal_init_zero": "off",
}
SEEDING_TIMEOUT_S = 1200.0
AT_ONCE = 10
"""Calls at once of each account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What waits where."""

    calls: int
    """Ready calls."""
    accounts: int
    groups: int = 20
    trunks_per_group: int = 3
    whale: float = 0.0
    """Part of the calls that belongs to the first account."""
    future: int = 0
    """Calls that are not due yet."""
    channels: int = 100_000
    """Channels of each trunk."""

    def __str__(self) -> str:
        return f"{self.calls:,} calls, {self.accounts:,} accounts, {self.groups} trunk groups of {self.trunks_per_group}"


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """A private server without fsync, so that the figures are the statements' own and not the disk's."""
    with TemporaryDirectory(prefix="orchestrator-bench-") as directory:
        async with EmbeddedPostgres(Path(directory) / "pg", durable=False, settings=SERVER_SETTINGS) as url:
            yield url


async def new_database(server_url: str, name: str) -> str:
    """An empty database on the server, whatever was in it before."""
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


async def drop_database(server_url: str, name: str) -> None:
    """Give its room back."""
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()


async def furnish(url: str, layout: Layout) -> None:
    """The program's schema with accounts, trunks, one agent pool, and the layout's calls. Heads of lanes lie all over it."""
    database = Database(url, command_timeout_s=SEEDING_TIMEOUT_S)
    await migrate(database)
    connection = await database.connect()
    try:
        # As a replica, no foreign key and no trigger is checked row by row: the rows are what the doors would have made.
        await connection.execute("SET session_replication_role = replica")
        await _policy(connection, layout)
        await _calls(connection, layout)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


async def _policy(connection: asyncpg.Connection, layout: Layout) -> None:
    trunks = layout.groups * layout.trunks_per_group
    for statement in (
        f"INSERT INTO trunks (name, sip_trunk_id) SELECT 'trunk-' || t, 'ST_' || t FROM generate_series(1, {trunks}) t",
        f"""INSERT INTO trunk_channels (trunk_id, max_channels, max_cps)
            SELECT id, {layout.channels}, 10000 FROM trunks""",
        "INSERT INTO trunk_health (trunk_id) SELECT id FROM trunks",
        f"INSERT INTO trunk_groups (name) SELECT 'group-' || g FROM generate_series(1, {layout.groups}) g",
        f"""INSERT INTO trunk_group_members (trunk_group_id, trunk_id, position)
            SELECT 1 + (t - 1) / {layout.trunks_per_group}, t, 1 + ((t - 1) % {layout.trunks_per_group}) / 2
              FROM generate_series(1, {trunks}) t""",
        f"""INSERT INTO accounts (name, country, trunk_group_id, calling_hours)
            SELECT 'account-' || a, 'US', 1 + a % {layout.groups}, '{{always}}' FROM generate_series(1, {layout.accounts}) a""",
        f"INSERT INTO account_slots (account_id, max_concurrent) SELECT id, {AT_ONCE} FROM accounts",
        "INSERT INTO agent_pools (name) VALUES ('agent')",
        "INSERT INTO routes (trunk_group_id, agent_pool_id) SELECT id, 1 FROM trunk_groups ORDER BY id",
    ):
        await connection.execute(statement)


async def _calls(connection: asyncpg.Connection, layout: Layout) -> None:
    indexes = await connection.fetch(
        """SELECT i.relname, pg_get_indexdef(i.oid) AS definition
             FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            WHERE x.indrelid = 'calls'::regclass AND NOT x.indisprimary"""
    )
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['relname']}")
    columns = """account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, priority, state, created_at,
                 run_at, expires_at, window_from, window_until, hours_version"""
    account = f"CASE WHEN g <= {layout.calls * layout.whale} THEN 1 ELSE 1 + g % {layout.accounts} END"
    await connection.execute(
        f"""INSERT INTO calls ({columns})
            SELECT a, 1 + a % {layout.groups}, 1 + a % {layout.groups}, '', '+1' || (2125550000 + g), 'agent',
                   (g % 17 = 0)::integer, 'ready', now() - interval '2 h', now() - random() * interval '1 h',
                   now() + interval '1 day', now() - interval '1 day', now() + interval '30 days', 1
              FROM (SELECT g, {account} AS a FROM generate_series(1, {layout.calls}) g) g"""
    )
    if layout.future:
        await connection.execute(
            f"""INSERT INTO calls ({columns})
                SELECT a, 1 + a % {layout.groups}, NULL, '', '+1' || (3125550000 + g), 'agent', 0, 'scheduled', now(),
                       now() + interval '1 h' + random() * interval '1 day', now() + interval '3 days', NULL, NULL, NULL
                  FROM (SELECT g, 1 + g % {layout.accounts} AS a FROM generate_series(1, {layout.future}) g) g"""
        )
    for index in indexes:
        await connection.execute(index["definition"])
    await connection.execute(
        """INSERT INTO lanes (account_id, route_id, ready, urgent, share, has_room, has_urgent_room, last_claim_at)
           SELECT account_id, route_id, count(*), count(*) FILTER (WHERE priority > 0), 0, true, true, '-infinity'
             FROM calls WHERE state = 'ready' GROUP BY account_id, route_id"""
    )


async def fill_accounts(url: str, where: str) -> None:
    """Bring accounts to their limit by live calls that nobody conducts, so that all counters are true."""
    connection = await asyncpg.connect(url, command_timeout=SEEDING_TIMEOUT_S)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("INSERT INTO workers (name, version, capacity) VALUES ('elsewhere', '0', 1000000)")
        await connection.execute(
            f"""WITH chosen AS (
                    SELECT a.id AS account_id, a.trunk_group_id FROM accounts a WHERE {where}
                ), live AS (
                    INSERT INTO calls (account_id, trunk_group_id, route_id, request_digest, to_number, agent_name, state,
                                       run_at, expires_at, epoch, worker_id, trunk_id, claimed_at, dial_at, window_from,
                                       window_until, hours_version)
                    SELECT c.account_id, c.trunk_group_id, c.trunk_group_id, '', '+13125550100', 'agent', 'claimed',
                           now() - interval '1 h', now() + interval '1 day', 1,
                           (SELECT id FROM workers WHERE name = 'elsewhere'),
                           (SELECT min(trunk_id) FROM trunk_group_members m WHERE m.trunk_group_id = c.trunk_group_id),
                           now(), now(),
                           now() - interval '1 day', now() + interval '30 days', 1
                      FROM chosen c CROSS JOIN generate_series(1, {AT_ONCE})
                 RETURNING account_id, trunk_id
                ), slots AS (
                    UPDATE account_slots s SET inflight = inflight + l.n
                      FROM (SELECT account_id, count(*) AS n FROM live GROUP BY account_id) l WHERE l.account_id = s.account_id
                )
                UPDATE trunk_channels t SET channels = channels + l.n
                  FROM (SELECT trunk_id, count(*) AS n FROM live GROUP BY trunk_id) l WHERE l.trunk_id = t.trunk_id"""
        )
        await connection.execute(
            """UPDATE lanes l SET share = s.share, has_room = s.has_room, has_urgent_room = s.has_urgent_room
                 FROM account_slots s WHERE s.account_id = l.account_id"""
        )
        await connection.execute("VACUUM (ANALYZE) account_slots, lanes, trunk_channels, calls")
    finally:
        await connection.close()


def quantile(samples: list[float], share: float) -> float:
    """The sample below which this share of them lies; 0 without samples."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def shown(row: dict[str, object]) -> str:
    """One figure as a line for programs."""
    return json.dumps(row)
