"""The port: what the orchestrator asks of a carrier, and what it hears back.

    carrier.open_room(RoomPlan) -> Room      a room marked as ours, an agent asked to join it; nobody's phone rings
    room.next_event()                        AgentJoined ...
    carrier.dial(room, DialPlan) -> Leg      exactly one create request, sent once, never repeated
    room.next_event()                        Ringing, Answered, Heard, AgentLeft, EndSignal, Ended ..., as they become known
    leg.hang_up()                            the answer to it is an Ended event, like to everything else
    carrier.close_room(name)                 the fence: afterwards no late request can dial into it

A leg tells its end once, as `Ended`, and nothing after it except what agents do. Events are `sip.events`.

Knows nothing of accounts, queues or Postgres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from sip.causes import TrunkRules
from sip.events import Moment, RoomEvent
from sip.voicemail.events import DetectorSettings

E164 = NewType("E164", str)
"""A telephone number as `+` and 7 to 15 digits (ITU-T E.164)."""

RoomName = NewType("RoomName", str)


@dataclass(frozen=True, slots=True)
class ListeningPlan:
    """What is to be listened for in a room. Seconds; None: not listened for."""

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    silence_warning_s: float | None = None
    """The callee has been silent for so long: told once for each silence, so that the agent can be warned."""
    silence_s: float | None = None
    """The callee has been silent for so long: told once."""
    idle_s: float | None = None
    """Neither callee nor agents have been heard for so long: told once."""
    media_lost_s: float | None = None
    """No audio packets came from the callee for so long: told once."""


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """What a room for one claim of a call must be."""

    name: RoomName
    """Carries this deployment's id; see `Carrier.room_name`."""
    call_id: str
    agent_name: str
    """The agents that are asked to join, by the name under which they registered."""
    agent_metadata: str
    """JSON object, given to the agent's job."""
    max_duration_s: float
    """Upper bound of the whole room's life, for limits that end an orphan by itself."""
    listening: ListeningPlan | None = None
    """None: nobody listens."""


@dataclass(frozen=True, slots=True)
class TrunkRoute:
    """Where the request goes and how this trunk's answers are read."""

    name: str
    sip_trunk_id: str
    """The id under which the media server knows the trunk (`ST_...`)."""
    rules: TrunkRules = field(default_factory=TrunkRules)


@dataclass(frozen=True, slots=True)
class DialPlan:
    """One dial: one request, one INVITE at most."""

    call_id: str
    dial_id: str
    """Unique for each dial; the leg's identity in the room is made of it."""
    to: E164
    trunk: TrunkRoute
    caller_id: E164 | None = None
    """None: the trunk's own default number."""
    display_name: str | None = None
    """None: the number is shown; an empty string: no display name is sent. At most 128 characters."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Extra SIP headers of the INVITE."""
    dtmf: str = ""
    """Digits sent right after the answer; `w` waits half a second."""
    ring_timeout_s: float = 30.0
    """How long a phone may ring, counted from the first 18x."""
    post_dial_allowance_s: float = 12.0
    """How much longer than `ring_timeout_s` the request asks for: the SIP service's ring timer starts before the INVITE."""
    max_duration_s: float = 3600.0
    """Our own maximum; the carrier asks for 30 s more as a backstop."""
    not_after_s: float | None = None
    """The request must not leave after this (carrier clock): somebody may have taken us for dead by then. None: at any time."""

    @property
    def request_ring_s(self) -> float:
        """The ring time that the request asks for: ring time and allowance, 75 s at most (the server gives up at 80 s)."""
        return min(75.0, self.ring_timeout_s + self.post_dial_allowance_s)


@dataclass(frozen=True, slots=True)
class LegRecord:
    """What is on record of a leg whose watcher is gone, for whoever takes it over (`Carrier.adopt`)."""

    room: RoomName
    plan: DialPlan
    """As it was dialled; what has changed since is of no matter to the leg."""
    dialled_at_s: float
    """When the request left, or a little before (carrier clock)."""
    ringing: Moment | None = None
    """The first 18x; None: none was seen."""
    answered: Moment | None = None
    """The 200; None: it was not seen."""


class Room(Protocol):
    """A room with its agent and, once dialled, its leg. One reader."""

    @property
    def name(self) -> RoomName:
        """Unique for each claim of a call."""
        ...

    async def next_event(self) -> RoomEvent:
        """The next event, waiting for it. Cancelling loses nothing."""
        ...


class Leg(Protocol):
    """One dialled leg. Both orders return when the carrier has taken them; repeating them is harmless."""

    async def hang_up(self) -> None:
        """End the leg: CANCEL while it rings, BYE once answered. Raises CarrierUnavailable."""
        ...

    async def send_digits(self, digits: str) -> None:
        """Send DTMF on an answered leg; characters 0-9, A-D, *, #, and `w` for half a second. Raises CarrierUnavailable."""
        ...

    async def leave_message(self, path: str) -> None:
        """Play an audio file to the callee; its end is a `MessagePlayed`. Raises CarrierUnavailable if nobody could play it."""
        ...

    async def stop_message(self) -> None:
        """Stop what `leave_message` plays, since a person is on the line; its end is a `MessagePlayed` that is not complete.

        Harmless when nothing plays. Raises CarrierUnavailable.
        """
        ...

    async def tell_agents(self, facts: Mapping[str, str]) -> None:
        """Tell the agents in the room what is known of the callee (names and values are documented in
        `sip.livekit.endsignal` beside what agents tell us). Raises CarrierUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class LiveRoom:
    """A room of this deployment that the carrier knows to exist."""

    name: RoomName
    call_id: str
    has_leg: bool
    has_agent: bool
    leg_state: str
    """`dialing`, `ringing`, `automation`, `active`, `hangup`, or empty without a leg."""
    age_s: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `orchestrator check`."""

    subject: str
    ok: bool
    text: str
    """What was found; if not ok, what is wrong."""
    remedy: str = ""
    """What to do about it."""
    fatal: bool = True
    """False: a warning, dialling works without."""


class Carrier(Protocol):
    """Whoever can dial. Safe for thousands of rooms at once in one event loop."""

    @property
    def is_real(self) -> bool:
        """Whether a real phone can ring."""
        ...

    def room_name(self, *, call_id: str, epoch: int) -> RoomName:
        """The name of the room for one claim of a call: this deployment's id, the call and the epoch, hence unique."""
        ...

    async def open_room(self, plan: RoomPlan) -> Room:
        """Make the room and ask the agent to join it; does not wait for the agent (that is an `AgentJoined`).

        Raises CarrierUnavailable or RoomRefused; then there is nothing to close.
        """
        ...

    async def dial(self, room: Room, plan: DialPlan) -> Leg:
        """Send the one request and return at once; what becomes of it comes as events of the room, in the end an `Ended`.

        Raises BadPlan, before anything was sent.
        """
        ...

    async def adopt(self, record: LegRecord) -> tuple[Room, Leg] | None:
        """Take over a leg that somebody else dialled and watches no more; None if there is no such leg in its room now.

        Events are told from now on: agents that are there as AgentJoined; what the record does not know of and has happened
        meanwhile as Ringing or Answered, with the whole time in which nobody watched as its error. No request waits for this
        leg, so that an end before the answer has no SIP code: its cause is what the media server's word for the leave can
        tell, else LEG_LOST. Raises CarrierUnavailable.
        """
        ...

    async def has_fence(self) -> bool:
        """Whether a late request into a room that was deleted dials nobody; False also if that cannot be told. Never raises."""
        ...

    async def close_room(self, name: RoomName) -> None:
        """Delete the room with all that is in it. No error if it does not exist. Raises CarrierUnavailable."""
        ...

    async def list_rooms(self) -> Sequence[LiveRoom]:
        """All rooms that carry this deployment's id, and no others. Raises CarrierUnavailable."""
        ...

    async def room_names(self) -> Sequence[RoomName]:
        """Their names alone, by one request however many there are. Raises CarrierUnavailable."""
        ...

    async def check(self, *, trunk_ids: Sequence[str]) -> Sequence[Finding]:
        """What works and what does not: connection, key, the fence, the trunks by the media server's ids. Never raises."""
        ...

    async def run(self) -> None:
        """Watch over all rooms until cancelled. Must run for events to come."""
        ...

    async def aclose(self) -> None:
        """Release connections. Rooms stay as they are."""
        ...
