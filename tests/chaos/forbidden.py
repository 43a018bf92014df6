"""What the last gate and the claim forbid, looked for in what was dialled and claimed all the same.

Each check asks for what is forbidden in words of its own, from intents, events and the far end's ledger: not by the functions
that are to prevent it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import asyncpg

from tests.chaos.limits import Counted, Findings
from tests.standin.ledger import Dial

EVERYTHING, ACCOUNT, TRUNK, AGENTS = "everything", "account", "trunk", "agents"


@dataclass(frozen=True, slots=True)
class Stop:
    """A time in which nobody may be dialled, on the clock that the database has, too."""

    what: str
    """EVERYTHING, or what is paused: an ACCOUNT, a TRUNK, AGENTS."""
    name: str
    """Its name."""
    from_s: float
    """When it had been committed."""
    until_s: float = float("inf")
    """When it was about to be taken back."""


class Watched(Counted, Protocol):
    """What is looked at."""

    @property
    def after_call(self) -> int:
        """Only calls with higher ids are judged."""
        ...

    @property
    def stops(self) -> Sequence[Stop]:
        """When whom an operator stopped."""
        ...


async def look_for_forbidden(scene: Watched, dials: Sequence[Dial], verdict: Findings) -> None:
    """Everything below. `dials`: what the far end has seen."""
    await _stops(scene, dials, verdict)
    await _times(scene, verdict)
    await _spacing(scene, verdict)
    await _circuits(scene, verdict)
    _caller_ids(scene, dials, verdict)


async def _stops(scene: Watched, dials: Sequence[Dial], verdict: Findings) -> None:
    """What commits before the intent forbids it; what comes later does not."""
    if not scene.stops:
        return
    rows = await scene.query(
        """SELECT d.room, date_part('epoch', d.intent_at) AS intent_s,
                  a.name AS account, t.name AS trunk, c.agent_name AS agents
             FROM dials d
             JOIN calls c ON c.id = d.call_id
             JOIN accounts a ON a.id = d.account_id
             JOIN trunks t ON t.id = d.trunk_id
            WHERE c.id > $1""",
        scene.after_call,
    )
    rung = {dial.request.room for dial in dials if dial.invited_at_s is not None}
    for row in rows:
        for stop in scene.stops:
            concerned = stop.what == EVERYTHING or row[stop.what] == stop.name
            if concerned and row["room"] in rung and stop.from_s + scene.limits.stopping_s < row["intent_s"] < stop.until_s:
                what = "all dialling was stopped" if stop.what == EVERYTHING else "it was paused"
                verdict.found(f"rung although {what}", f"{stop}: {dict(row)}")


async def _times(scene: Watched, verdict: Findings) -> None:
    """Of a call's dials the last one has the window that the call was placed in, unless it was placed anew afterwards."""
    rows = await scene.query(
        """SELECT d.call_id, d.intent_at, d.dial_at, c.expires_at, c.window_from, c.window_until,
                  d.dial_at >= c.expires_at AS late,
                  (d.intent_at >= c.window_from AND d.dial_at < c.window_until) IS NOT TRUE
                  AND NOT EXISTS (SELECT FROM dials o WHERE o.call_id = d.call_id AND o.intent_at > d.intent_at)
                  AND NOT EXISTS (
                      SELECT FROM call_events e
                       WHERE e.call_id = d.call_id AND e.at > d.intent_at AND e.state IN ('scheduled', 'ready')) AS closed
             FROM dials d JOIN calls c ON c.id = d.call_id
            WHERE c.id > $1""",
        scene.after_call,
    )
    for row in rows:
        if row["late"]:
            verdict.found("rung although its time had run out", str(dict(row)))
        if row["closed"]:
            verdict.found("rung outside its calling window", str(dict(row)))


async def _spacing(scene: Watched, verdict: Findings) -> None:
    """Of every two dials of one account to one number, unless the first is known to have rung nowhere."""
    for name, spacing in scene.limits.spacing.items():
        rows = await scene.query(
            """SELECT d.to_number, d.intent_at,
                      count(*) FILTER (WHERE o.intent_at > d.intent_at - $3 * interval '1 s') AS near,
                      count(*) FILTER (WHERE o.intent_at > d.intent_at - $4 * interval '1 s') AS within
                 FROM dials d
                 JOIN accounts a ON a.id = d.account_id AND a.name = $2
                 JOIN dials o ON o.account_id = d.account_id AND o.to_number = d.to_number AND o.id < d.id
                             AND o.spent IS DISTINCT FROM false
                WHERE d.call_id > $1
                GROUP BY d.id""",
            scene.after_call,
            name,
            spacing.gap_s,
            spacing.within_s,
        )
        for row in rows:
            if row["near"]:
                verdict.found("a number again within its gap", f"{name}, {spacing}: {dict(row)}")
            if row["within"] >= spacing.most:
                verdict.found("a number more often than its cap", f"{name}, {spacing}: {dict(row)}")


def _caller_ids(scene: Watched, dials: Sequence[Dial], verdict: Findings) -> None:
    cap = scene.limits.caller_id_cap
    if cap is None:
        return
    shown = Counter(
        (dial.request.caller_id, datetime.fromtimestamp(dial.invited_at_s, UTC).date())
        for dial in dials
        if dial.invited_at_s is not None
    )
    for (caller_id, day), count in shown.items():
        if count > cap or not caller_id:
            verdict.found("a caller id more often than its cap", f"{caller_id!r} on {day}: {count} of {cap}")


async def _circuits(scene: Watched, verdict: Findings) -> None:
    """While a circuit is open nothing is claimed for it, nor dialled on its trunk; afterwards one call at a time, as a probe.

    An agent that is there closes its pool's circuit, so that of agents only claims are looked at. There is one trunk.
    """
    turns = """
        WITH turns AS (
            SELECT split_part(kind, '.', 1) AS what, subject, kind LIKE '%circuit_opened' AS opens, at,
                   (detail ->> 'until')::timestamptz AS until,
                   coalesce(lead(at) OVER (PARTITION BY split_part(kind, '.', 1), subject ORDER BY id), 'infinity') AS next_at
              FROM system_events WHERE kind LIKE '%.circuit_opened' OR kind LIKE '%.circuit_closed'
        ), claim AS (
            SELECT e.call_id, c.agent_name, e.at,
                   (SELECT min(n.at) FROM call_events n
                     WHERE n.call_id = e.call_id AND n.id > e.id
                       AND n.state IN ('scheduled', 'ready', 'ended', 'not_connected', 'canceled')) AS over_at
              FROM call_events e JOIN calls c ON c.id = e.call_id
             WHERE e.state = 'claimed' AND c.id > $1
        ), claimed AS (
            SELECT t.*, c.call_id, c.at AS claimed_at, c.over_at
              FROM turns t JOIN claim c ON (t.what = 'trunk' OR c.agent_name = t.subject)
             WHERE t.opens AND c.at > t.at AND c.at < t.next_at
        )"""
    rows: list[asyncpg.Record] = []
    for forbidden in (
        "SELECT * FROM claimed WHERE claimed_at < until",
        """SELECT * FROM turns t JOIN dials d ON d.call_id > $1
            WHERE t.opens AND t.what = 'trunk'
              AND d.intent_at > t.at + $2 * interval '1 s' AND d.intent_at < least(t.until, t.next_at)""",
        """SELECT one.*, other.call_id AS other, other.claimed_at AS other_at
             FROM claimed one JOIN claimed other ON (other.what, other.subject, other.at) = (one.what, one.subject, one.at)
            WHERE one.claimed_at >= one.until AND other.claimed_at >= one.claimed_at AND other.call_id <> one.call_id
              AND other.claimed_at < least(one.over_at, one.claimed_at + interval '3 min')""",
    ):
        gap_s = () if "$2" not in forbidden else (scene.limits.stopping_s,)
        rows += await scene.query(f"{turns} {forbidden}", scene.after_call, *gap_s)
    for row in rows:
        verdict.found("claimed or rung although a circuit was open", str(dict(row)))
