"""Calls that somebody makes to us: they begin at ringing or active in a worker's hands, without a queue and without a limit.

They count in their account's `inbound`, and hold no slot, no trunk's channel and no agent pool's place. From then on they are
calls like all others: `QueueStore.record_answer` and the notes apply, and they end by `EndsStore.finish`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.errors import NotFound
from orchestrator.ids import E164, AccountId, CallId, WorkerId
from orchestrator.lifecycle import State
from orchestrator.store.pool import Database
from orchestrator.store.rows import json_text
from sip.events import Fact


@dataclass(frozen=True, slots=True)
class NewInbound:
    """A call that has come in."""

    account: str
    """The account's name."""
    key: str
    """What it is known by where it came from, such as its SIP Call-ID: the same key is the same call. 1 to 240 characters."""
    state: State
    """RINGING or ACTIVE."""
    to: E164
    """The number that was called."""
    caller: E164 | None
    """Who calls; None: withheld."""
    agent_name: str
    metadata: str = "{}"
    """JSON object for the agent."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """As in `sip.events.Answered`."""
    detail: Mapping[str, Fact] = field(default_factory=dict)
    """For its first event."""


@dataclass(frozen=True, slots=True)
class InboundCall:
    """What guards the writes that follow (`orchestrator.store.records.Claim`)."""

    call_id: CallId
    account_id: AccountId
    epoch: int
    ours: bool
    """False: another worker has it, or it has ended."""


class InboundStore:
    """The door through which inbound calls are written down."""

    def __init__(self, *, database: Database, worker_id: WorkerId) -> None:
        self._database = database
        self._worker_id = worker_id

    async def begin(self, new: NewInbound) -> InboundCall:
        """Write the call down and count it, once for each key: may be asked again when its answer was lost.

        Raises NotFound without such an account, BadInput for what cannot be stored.
        """
        if new.state not in (State.RINGING, State.ACTIVE):
            raise ValueError(f"an inbound call begins at ringing or active, not {new.state.value}")
        row = await self._database.fetch_one(
            "begin_inbound_call",
            new.account,
            self._worker_id,
            new.key,
            new.state.value,
            new.to,
            new.caller,
            new.agent_name,
            new.metadata,
            new.ids.get("sip_call_id", ""),
            new.ids.get("livekit_sip_call_id", ""),
            new.ids.get("participant_sid", ""),
            json_text(new.detail),
        )
        if row is None:
            raise NotFound(f"there is no account {new.account!r}: make it first, or correct the name")
        return InboundCall(
            call_id=CallId(row["call_id"]), account_id=AccountId(row["account_id"]), epoch=row["epoch"], ours=row["ours"]
        )
