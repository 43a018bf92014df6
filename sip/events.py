"""What happens in a room: the events by which a carrier tells of agents, of a leg, and of what is heard on it.

`at` is always the carrier's best knowledge of when something happened, not of when we heard of it. Moments are seconds of the
carrier's `Clock`, each with a bound on its error, since some carriers learn of things by looking now and then.

Knows neither orders nor plans (`sip.leg`), and nothing of accounts, queues or Postgres.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from sip.causes import HangupCause, Signal
from sip.voicemail.events import DetectorEvent

Fact = str | int | float | bool | None
"""One value of evidence."""


class Dialled(enum.Enum):
    """Whether a request to dial reached the network, so that a phone may have rung."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time as far as it is known: within `error_s` of `at_s` on either side (carrier clock, seconds)."""

    at_s: float
    error_s: float = 0.0

    @property
    def earliest_s(self) -> float:
        """The beginning of the interval in which it lies."""
        return self.at_s - self.error_s


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """An agent is in the room."""

    identity: str
    at: Moment


@dataclass(frozen=True, slots=True)
class AgentLeft:
    """An agent is not in the room any more. A crash and a polite leave look alike, unless `on_purpose`."""

    identity: str
    at: Moment
    on_purpose: bool
    """It gave our end signal before it left."""
    reason: str = ""
    """The end signal's reason, or the media server's word for the leave."""


@dataclass(frozen=True, slots=True)
class EndSignal:
    """The agent asks for the end of the call by its end signal (attribute `orchestrator.end`)."""

    identity: str
    at: Moment
    reason: str


@dataclass(frozen=True, slots=True)
class OptOut:
    """The agent says that the callee wants no more calls (attribute `orchestrator.do_not_call`). Told once for each agent."""

    identity: str
    at: Moment
    reason: str
    """In the agent's words."""


@dataclass(frozen=True, slots=True)
class Ringing:
    """The first 18x."""

    at: Moment
    source: str
    """What told: `poll`, `webhook`, `script`."""


@dataclass(frozen=True, slots=True)
class EarlyMedia:
    """Audio before the answer is being heard."""

    at: Moment


@dataclass(frozen=True, slots=True)
class Answered:
    """The 200."""

    at: Moment
    source: str
    """What told: `request` (the waiting request returned), `poll`, `webhook`, `script`."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """The carrier's ids of the leg: `sip_call_id` (SIP Call-ID), `livekit_sip_call_id` (`SCL_...`), `participant_sid`."""


@dataclass(frozen=True, slots=True)
class Digit:
    """A DTMF digit from the far end."""

    digit: str
    at: Moment


@dataclass(frozen=True, slots=True)
class Ended:
    """The leg is over; this is its last event."""

    at: Moment
    cause: HangupCause
    """What the signals say. Whoever ordered the end knows better (OUTCOMES.md, rule 1)."""
    signal: Signal
    dialled: Dialled
    rang: bool
    """An 18x was seen or an answer came."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """As in `Answered`."""
    evidence: Mapping[str, Fact] = field(default_factory=dict)
    """What the rules saw: `rule`, `inferred`, `ring_s`, `ring_error_s`, `source` ..."""


@dataclass(frozen=True, slots=True)
class RoomClosed:
    """The room is gone and no leg was ever dialled in it."""

    at: Moment
    reason: str


@dataclass(frozen=True, slots=True)
class ListeningStarted:
    """The callee's audio is being heard; without it, or after `ListeningLost`, no detection is to be expected."""

    at: Moment


@dataclass(frozen=True, slots=True)
class ListeningLost:
    """Nobody listens (any more): the listener died, the room was full of trouble, no track came. The call goes on."""

    at: Moment
    why: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A detector tells something of the callee's audio."""

    at: Moment
    """When it was told."""
    what: DetectorEvent
    """Its times are of the listener's stream; `answered_s` converts them."""
    answered_s: float | None = None
    """The time of the answer in that stream; None: before the answer."""


class Quiet(enum.Enum):
    """Who or what is not heard."""

    CALLEE_WARNING = "callee_warning"
    """The callee, for `silence_warning_s`."""
    CALLEE = "callee"
    """The callee, for `silence_s`."""
    BOTH = "both"
    """Neither callee nor agents, for `idle_s`."""
    MEDIA = "media"
    """No packets at all, for `media_lost_s`."""


@dataclass(frozen=True, slots=True)
class WentQuiet:
    """Somebody has not been heard for as long as the plan says; since the answer at most."""

    at: Moment
    quiet: Quiet
    for_s: float


@dataclass(frozen=True, slots=True)
class MessagePlayed:
    """A message that was to be left (`Leg.leave_message`) is over."""

    at: Moment
    complete: bool
    """It was played to its end."""
    played_s: float
    why: str = ""
    """If not complete: what went wrong."""


RoomEvent = (
    AgentJoined
    | AgentLeft
    | EndSignal
    | OptOut
    | Ringing
    | EarlyMedia
    | Answered
    | Digit
    | ListeningStarted
    | ListeningLost
    | Heard
    | WentQuiet
    | MessagePlayed
    | Ended
    | RoomClosed
)
