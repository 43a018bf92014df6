"""How long and how often: the times and bounds of the LiveKit carrier, and whom it tells how it fares.

Knows nothing of where settings come from or of how metrics are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LiveKitTimings:
    """Times in real seconds. The defaults suit a LiveKit in the same region."""

    request_timeout_s: float = 10.0
    """Bound on every call to LiveKit but the dial request."""
    look_timeout_s: float = 5.0
    """Bound on the calls that only look (list participants, list rooms): a late look is worth little."""
    dial_connect_s: float = 2.0
    """The dial request must be on its way within this; else it is given up, with nothing sent: no request leaves long
    after the intent was written (DESIGN.md, the last gate)."""
    dial_margin_s: float = 15.0
    """How much longer than the ring time the dial request may take: the SIP service joins the room before it dials."""
    ring_poll_s: float = 0.5
    """Between looks at a room whose callee does not ring yet; the bound on the error of the ring time."""
    sweep_s: float = 1.0
    """Between listings of all our rooms, one request each."""
    active_look_s: float = 2.0
    """Between looks at an active room, as far as `looks_per_s` leaves room: end signals of agents are found by it."""
    looks_per_s: float = 50.0
    """Bound on looks at single rooms, over all rooms. Looks that matter more go first; the others come later."""
    looks_at_once: int = 32
    """Bound on looks that are under way."""
    leg_reason_grace_s: float = 2.0
    """How long to wait for the webhook that says why an answered leg is gone."""
    ring_notice_s: float = 1.0
    """How long to wait for the webhook that says whether a refused leg had been ringing, if that changes the cause."""
    order_grace_s: float = 7.0
    """After we deleted a room, how long a leg may still come to join it, and its dial request may take to fail; then the leg
    counts as ended. The SIP service gives up joining after 5 s."""
    reconcile_margin_s: float = 10.0
    """How long after its ring time a leg whose request's result is unknown may still turn up."""
    webhook_max_age_s: float = 300.0
    """Webhooks older than this are refused."""
    webhook_recent_s: float = 120.0
    """Webhooks count as working for this long after the last one; only then is it worth waiting for one."""
    media_timeout_s: float = 30.0
    """An answered leg without audio packets for this long is ended by the SIP service. 0: the trunk's own setting."""
    empty_timeout_s: int = 60
    """LiveKit closes a room that nobody but agents joined after this; must outlast the wait for the agent and the dial."""
    departure_timeout_s: int = 20
    """A room is closed by LiveKit this long after the last who is not an agent left."""


class Observer(Protocol):
    """Hears how the carrier fares; for metrics. Must not block or raise."""

    def carrier_error(self, kind: str) -> None:
        """A call to LiveKit failed: `unreachable`, `timeout`, `garbage`, `key_refused`, `server_error`, `refused`,
        `dial_unknown`; or we did: `defect`."""
        ...

    def looked(self, count: int) -> None:
        """So many looks at single rooms were made."""
        ...

    def webhook(self, outcome: str) -> None:
        """A webhook came: `accepted`, `duplicate`, `foreign`; or refused: `signature`, `body`, `stale`, `garbage`."""
        ...


class Unobserved:
    """An Observer that does not care."""

    def carrier_error(self, kind: str) -> None:
        """Nothing."""

    def looked(self, count: int) -> None:
        """Nothing."""

    def webhook(self, outcome: str) -> None:
        """Nothing."""
