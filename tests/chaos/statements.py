"""Test copies of the database's functions, each without one protection.

The text of the function that the database runs is taken, the protection is cut out by exact replacement, and the rest put back.
A text that is not there, or not once, is an error: then the protection has moved, and this list must follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg


class NotThereError(AssertionError):
    """The protection is not where it is said to be."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One place of one function."""

    function: str
    protection: str
    """Its text."""
    instead: str


GATE = "dial_forbidden"
CUTS: dict[str, tuple[Cut, ...]] = {
    "epoch guard of begin_dial": (
        Cut(
            "begin_dial",
            "WHERE c.id = p_call_id AND c.epoch = p_epoch AND c.state = 'claimed'",
            "WHERE c.id = p_call_id AND c.state = 'claimed'",
        ),
    ),
    "cancel check in the gate": (Cut(GATE, "WHEN v.cancel_requested_at IS NOT NULL THEN", "WHEN false THEN"),),
    "do-not-call check in the gate": (Cut(GATE, "WHEN is_listed(v.account_id, v.to_number) THEN", "WHEN false THEN"),),
    "one call to a number at once": (
        Cut(GATE, "IF gate IS NULL AND EXISTS (SELECT FROM calls b", "IF false AND EXISTS (SELECT FROM calls b"),
    ),
    "account limit in the claim": (
        Cut("claim_candidates", "a.max_concurrent - a.inflight AS urgent_room,", "1000 AS urgent_room,"),
        Cut("claim_candidates", "greatest(0, a.max_concurrent - a.reserved - a.inflight) AS plain_room", "1000 AS plain_room"),
    ),
    "channels in the claim": (Cut("trunk_openings", "LEAST(((t).max_channels - (t).channels), ", "LEAST(1000000, "),),
    "pace in the intent": (
        Cut(
            "begin_dial",
            "SET next_invite_at = greatest(t.next_invite_at, clock_timestamp()) + t.dial",
            "SET next_invite_at = clock_timestamp() + t.dial",
        ),
    ),
    "epoch guard of finish": (
        Cut(
            "finish_calls",
            "c.account_id = e.account_id AND c.epoch = e.epoch\n               AND c.state IN ('claimed'",
            "c.account_id = e.account_id\n               AND c.state IN ('claimed'",
        ),
    ),
    "release of the slot in finish": (Cut("finish_calls", "PERFORM give_back_slots(v_accounts, v_inbound);", ""),),
    "release of the channel in finish": (
        Cut("give_back_channels", "SET channels = t.channels - u.n", "SET channels = t.channels"),
    ),
    "recovery reconciles dialled calls": (
        Cut("requeue_stranded", "AND c.epoch = p_epoch AND c.state = 'claimed'", "AND c.epoch = p_epoch"),
    ),
    "capacity of agents in the claim": (Cut("pool_openings", "GREATEST(0, ((p).capacity - (p).inflight))", "1000000"),),
    "reserve for urgent calls in the claim": (
        Cut(
            "claim_candidates",
            "greatest(0, a.max_concurrent - a.reserved - a.inflight) AS plain_room",
            "greatest(0, a.max_concurrent - a.inflight) AS plain_room",
        ),
    ),
    "expiry in the gate": (
        Cut(GATE, "WHEN v.expires_at <= v_now THEN", "WHEN false THEN"),
        Cut("begin_dial", "v_call.expires_at <= v_latest", "false"),
    ),
    "calling window in the gate": (
        Cut(
            GATE,
            "WHEN (v.window_from <= v_now AND v_now < v.window_until AND v.hours_are_current) IS NOT TRUE THEN",
            "WHEN false THEN",
        ),
        Cut("begin_dial", "v_call.window_until <= v_latest", "false"),
    ),
    "hold after a restore in the gate": (
        Cut(GATE, "WHEN v.held_at IS NOT NULL OR NOT same_cluster() THEN", "WHEN false THEN"),
    ),
    "pause of an account in the gate": (Cut(GATE, "WHEN v.account_paused THEN", "WHEN false THEN"),),
    "pause of a trunk in the gate": (Cut(GATE, "WHEN NOT v.trunk_enabled THEN", "WHEN false THEN"),),
    "pause of agents in the gate": (Cut(GATE, "WHEN v.agents_paused THEN", "WHEN false THEN"),),
    "gap between dials of a number": (Cut(GATE, "IF gate IS NULL AND v.gap > interval '0' THEN", "IF false THEN"),),
    "cap of dials to a number": (Cut(GATE, "IF gate IS NULL AND v.most_dials > 0 THEN", "IF false THEN"),),
    "cap of dials with a caller id": (
        Cut("open_caller_ids", "WHERE o.cap IS NULL OR o.dials < o.cap", "WHERE true"),
        Cut("begin_dial", "EXIT WHEN v_cap IS NULL OR v_dials < v_cap;", "EXIT;"),
    ),
    "circuit of a trunk in the gate": (Cut(GATE, "WHEN v.trunk_circuit THEN", "WHEN false THEN"),),
    "circuit of agents in the claim": (
        Cut(
            "pool_openings",
            "(((p).circuit_until IS NOT NULL) AND (((p).circuit_until > now())"
            " OR (((p).probe_call_id IS NOT NULL) AND ((p).probe_until >= now()))))",
            "false",
        ),
    ),
    "one probe of a trunk": (
        Cut("trunk_openings", "CASE WHEN ((t).circuit_until IS NULL) THEN 1000000 ELSE 1 END", "1000000"),
    ),
    "one probe of agents": (Cut("pool_openings", "CASE WHEN ((p).circuit_until IS NULL) THEN 1000000 ELSE 1 END", "1000000"),),
    "kill switch in the gate": (Cut(GATE, "WHEN v.stopped_at IS NOT NULL THEN", "WHEN false THEN"),),
}
STATEMENTS: dict[str, tuple[str, ...]] = {
    "one call to a number at once": ("DROP INDEX calls_one_for_a_number",),
}
"""What else goes."""


async def take_out_of_the_database(connection: asyncpg.Connection[asyncpg.Record], name: str) -> None:
    """Take one protection out of this database. Raises NotThereError."""
    for cut in CUTS[name]:
        rows = await connection.fetch("SELECT pg_get_functiondef(oid) AS text FROM pg_proc WHERE proname = $1", cut.function)
        texts = [row["text"] for row in rows if row["text"].count(cut.protection) == 1]
        if len(texts) != 1:
            raise NotThereError(f"{name}: {cut.protection!r} is not once in one of {len(rows)} functions {cut.function}")
        await connection.execute(texts[0].replace(cut.protection, cut.instead))
    for statement in STATEMENTS.get(name, ()):
        await connection.execute(statement)
