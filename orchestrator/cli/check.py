"""`orchestrator check`: whether calls could be placed, and what to do about what stands in their way. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import click

from orchestrator.builders import build_carrier, database_url
from orchestrator.cli.desk import Desk, with_desk
from orchestrator.cli.exits import Exit
from orchestrator.errors import DatabaseError, DatabaseUnavailable
from orchestrator.metrics import Metrics
from orchestrator.settings import Settings
from orchestrator.store.accounts import AccountStore
from orchestrator.store.cluster import Cluster, ClusterStore
from orchestrator.store.migrations import check_schema
from orchestrator.store.policy import AccountRow, TrunkStatus
from orchestrator.store.pool import Database, own_errors
from orchestrator.store.trunks import TrunkStore
from orchestrator.store.workers import WorkerStore
from sip.clock import Clock
from sip.leg import Finding

CARRIER_PATIENCE_S = 60.0
"""For all that the carrier looks at; each of its requests has a timeout of its own."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the database told, for the checks that follow."""

    deployment_id: UUID
    trunks: Sequence[TrunkStatus]


@click.command()
@with_desk
def check(desk: Desk) -> Exit:
    """Check settings, database, trunks and LiveKit: what is wrong, and what to do.

    Leaves with 1 if anything must be mended before calls can be placed.
    """
    findings = asyncio.run(_findings(desk.settings))
    wrong = [finding for finding in findings if not finding.ok and finding.fatal]
    desk.answer(findings)
    for finding in findings:
        mark = "ok  " if finding.ok else "FAIL" if finding.fatal else "warn"
        desk.say(f"{mark}  {finding.subject:<10} {finding.text}")
        if finding.remedy and not finding.ok:
            desk.say(f"      {'':<10} to do: {finding.remedy}")
    desk.say("" if wrong else "nothing stands in the way of calls")
    if wrong:
        desk.say(f"{len(wrong)} of these must be mended before calls can be placed")
    return Exit.FAILURE if wrong else Exit.OK


async def _findings(settings: Settings) -> list[Finding]:
    findings = [Finding(subject="settings", ok=False, text=text, fatal=False) for text in settings.warnings]
    if not findings:
        findings.append(Finding(subject="settings", ok=True, text=f"read; carrier is {settings.carrier.kind.value}"))
    of_database, known = await _check_database(settings)
    return [*findings, *of_database, *await _check_carrier(settings, known)]


async def _check_database(settings: Settings) -> tuple[list[Finding], Known | None]:
    try:
        async with _database(settings) as database:
            found = [await _check_server(database), *await _check_durability(database)]
            pending = await check_schema(database)
            if pending:
                # An embedded server's schema is made by whatever command comes first.
                owned = not settings.database.url.get_secret_value()
                text = f"its schema is not this program's: {', '.join(pending)} has not run"
                remedy = "run `orchestrator migrate`"
                return [*found, Finding(subject="schema", ok=False, text=text, remedy=remedy, fatal=not owned)], None
            found.append(Finding(subject="schema", ok=True, text="it is this program's"))
            found += _check_cluster(await ClusterStore(database=database).describe())
            trunks = await TrunkStore(database=database).list()
            accounts = await AccountStore(database=database).list()
            known = Known(deployment_id=await WorkerStore(database=database).deployment_id(), trunks=trunks)
            return [*found, *_check_trunks(settings, trunks), *_check_accounts(accounts)], known
    except DatabaseUnavailable as error:
        where = settings.database.shown_url or f"the embedded server in {settings.database.data_dir}"
        return [
            Finding(subject="database", ok=False, text=str(error), remedy=f"start it, or correct database.url (now {where})")
        ], None
    except DatabaseError as error:
        return [Finding(subject="database", ok=False, text=str(error), remedy="see the message")], None


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    async with database_url(settings) as url:
        database = Database(url, min_size=1, max_size=1, command_timeout_s=settings.database.command_timeout_s)
        await database.open()
        try:
            yield database
        finally:
            await database.close()


async def _check_server(database: Database) -> Finding:
    version = await _setting(database, "server_version")
    return Finding(subject="database", ok=True, text=f"PostgreSQL {version}")


async def _check_durability(database: Database) -> list[Finding]:
    """Whoever loses a committed transaction dials a call twice (DESIGN.md, I1)."""
    found = []
    for name, remedy in (
        ("synchronous_commit", "set synchronous_commit = on in postgresql.conf, and see ALTER ROLE and ALTER DATABASE"),
        ("fsync", "set fsync = on in postgresql.conf"),
    ):
        value = await _setting(database, name)
        text = f"{name} is {value}"
        if value == "off":
            text += ": a crash of its machine would forget calls that were dialled, and they would be dialled again"
        found.append(Finding(subject="database", ok=value != "off", text=text, remedy=remedy))
    return found


def _check_cluster(cluster: Cluster) -> list[Finding]:
    """A database that was restored or failed over may have forgotten calls that were dialled (DESIGN.md, I1)."""
    if cluster.held_why or not cluster.same:
        text = cluster.held_why or "it is not the one on which calls were dialled"
        remedy = "see that nobody is called twice, then `orchestrator confirm-restore`"
        return [Finding(subject="restore", ok=False, text=f"dialling is held: {text}", remedy=remedy)]
    if cluster.system_identifier is None or cluster.timeline is None:
        lacking = "timeline" if cluster.timeline is None else "system identifier"
        text = f"the server does not let this role ask for its {lacking}: a restore is noticed by the rest only"
        remedy = "grant pg_monitor to the role, or stop workers before a restore"
        return [Finding(subject="restore", ok=False, text=text, remedy=remedy, fatal=False)]
    return [Finding(subject="restore", ok=True, text=f"none: timeline {cluster.timeline} of {cluster.system_identifier}")]


async def _setting(database: Database, name: str) -> str:
    """A server setting as our own sessions have it."""
    connection = await database.connect()
    try:
        with own_errors():
            return str(await connection.fetchval("SELECT current_setting($1)", name))
    finally:
        await connection.close(timeout=5)


def _check_trunks(settings: Settings, trunks: Sequence[TrunkStatus]) -> list[Finding]:
    if not any(status.enabled for status in trunks):
        return [
            Finding(
                subject="trunks",
                ok=False,
                text="all are disabled" if trunks else "there are none",
                remedy="`orchestrator trunks set NAME --enabled`" if trunks else "`orchestrator trunks add`",
                fatal=settings.is_real,
            )
        ]
    return [
        Finding(
            subject="trunks",
            ok=status.enabled,
            text=f"{status.trunk.name}: {status.max_channels} channels, {status.max_cps:g} dials a second"
            + ("" if status.enabled else ", disabled"),
            remedy=f"`orchestrator trunks set {status.trunk.name} --enabled`",
            fatal=False,
        )
        for status in trunks
    ]


def _check_accounts(accounts: Sequence[AccountRow]) -> list[Finding]:
    if not accounts:
        return [Finding(subject="accounts", ok=False, text="there are none", remedy="`orchestrator accounts add`", fatal=False)]
    found = [
        Finding(
            subject="accounts",
            ok=False,
            text=f"{account.name} has no trunk: its calls must name one",
            remedy=f"`orchestrator accounts set {account.name} --trunk NAME`",
            fatal=False,
        )
        for account in accounts
        if account.trunk is None
    ]
    found += [
        Finding(
            subject="accounts",
            ok=False,
            text=f"{account.name} is paused",
            remedy=f"`orchestrator accounts set {account.name} --no-paused`",
            fatal=False,
        )
        for account in accounts
        if account.paused
    ]
    return found or [Finding(subject="accounts", ok=True, text=f"{len(accounts)}, each with a trunk")]


async def _check_carrier(settings: Settings, known: Known | None) -> list[Finding]:
    carrier = build_carrier(
        settings,
        deployment_id=known.deployment_id if known else uuid4(),
        clock=Clock(),
        metrics=Metrics(),
    )
    try:
        async with asyncio.timeout(CARRIER_PATIENCE_S):
            trunk_ids = [status.trunk.sip_trunk_id for status in known.trunks if status.enabled] if known else []
            return list(await carrier.check(trunk_ids=trunk_ids))
    except TimeoutError:
        text = f"it did not answer all questions within {CARRIER_PATIENCE_S:g} s"
        return [Finding(subject="livekit", ok=False, text=text, remedy="see whether the server is overloaded")]
    finally:
        await carrier.aclose()
