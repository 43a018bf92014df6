"""Rooms as LiveKit shows them: whose they are, and who is in them.

A room is ours if its name begins with this deployment's prefix and its metadata carries the deployment's id, or is empty;
nothing else is ever touched. Turns LiveKit's messages into views that the rest of the package reasons about; knows no events.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from livekit.protocol import models as proto_models

from sip.events import Moment
from sip.leg import RoomName
from sip.livekit.endsignal import END_ATTRIBUTE, OPT_OUT_ATTRIBUTE

CALL_STATUS = "sip.callStatus"
"""The SIP service's word: `dialing`, `ringing`, `automation` (digits are being sent), `active`, `hangup`."""
RANG_STATUSES = frozenset({"ringing", "automation", "active"})
ANSWERED_STATUSES = frozenset({"automation", "active"})
LEG_PREFIX = "callee-"
OUR_PREFIX = "orchestrator-"
"""Identities of those whom we send into rooms ourselves: listeners, players of messages."""


class Deployment:
    """The marks that this deployment puts on its rooms, and reads again."""

    def __init__(self, *, deployment_id: UUID) -> None:
        self._id = str(deployment_id)
        self._prefix = f"oc-{deployment_id.hex[:8]}-"

    def room_name(self, *, call_id: str, epoch: int) -> RoomName:
        """`oc-<8 hex digits of the deployment>-<call>-<epoch>`."""
        return RoomName(f"{self._prefix}{call_id}-{epoch}")

    def named_ours(self, name: str) -> bool:
        """Whether the name is one of ours; enough for hints only."""
        return name.startswith(self._prefix)

    def is_ours(self, *, name: str, metadata: str) -> bool:
        """Whether name and metadata say that the room is ours.

        No metadata at all is a room of ours that a late participant brought to life again after its deletion.
        """
        if not self.named_ours(name):
            return False
        if not metadata:
            return True
        try:
            mark = json.loads(metadata)
        except ValueError:
            return False
        return isinstance(mark, dict) and mark.get("orchestrator_deployment") == self._id

    def split(self, name: str) -> tuple[str, int | None]:
        """Call id and epoch of a name of ours; None for an epoch that is not a number."""
        call_id, _, epoch = name.removeprefix(self._prefix).rpartition("-")
        return call_id, int(epoch) if epoch.isascii() and epoch.isdigit() else None

    def metadata(self, *, name: str, call_id: str) -> str:
        """What marks a room as ours."""
        return json.dumps({"orchestrator_deployment": self._id, "call_id": call_id, "epoch": self.split(name)[1]})

    def probe_name(self, suffix: str) -> str:
        """A name of ours that no call has."""
        return f"{self._prefix}probe-{suffix}"


@dataclass(frozen=True, slots=True)
class Span:
    """A look at a room: what it shows was true at some moment between the two (clock seconds)."""

    sent_s: float
    received_s: float


def between(low_s: float, high_s: float) -> Moment:
    """Some moment between the two."""
    low_s = min(low_s, high_s)
    return Moment(at_s=(low_s + high_s) / 2, error_s=(high_s - low_s) / 2)


def overlap(a: Moment, b: Moment) -> Moment:
    """Where two bounds on a moment overlap; the first if they do not, as when two machines' clocks disagree."""
    low_s, high_s = max(a.at_s - a.error_s, b.at_s - b.error_s), min(a.at_s + a.error_s, b.at_s + b.error_s)
    return between(low_s, high_s) if low_s <= high_s else a


class Role(enum.Enum):
    """What somebody in a room is to us."""

    LEG = "leg"
    AGENT = "agent"
    OTHER = "other"
    """Listeners, supervisors, recorders."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """Somebody in a room."""

    identity: str
    sid: str
    role: Role
    attributes: Mapping[str, str]

    @property
    def call_status(self) -> str:
        """The SIP service's word for the state of the leg; empty if it gave none."""
        return self.attributes.get(CALL_STATUS, "")

    @property
    def end_signal(self) -> str:
        """The reason with which an agent asks for the end; empty if it does not."""
        return self.attributes.get(END_ATTRIBUTE, "")

    @property
    def opt_out(self) -> str:
        """What an agent gives as the callee's wish not to be called again; empty if it gives none."""
        return self.attributes.get(OPT_OUT_ATTRIBUTE, "")

    @property
    def leg_ids(self) -> Mapping[str, str]:
        """The ids by which LiveKit and the carrier know the leg, as in `Answered.ids`."""
        found = {
            "sip_call_id": self.attributes.get("sip.callIDFull", ""),
            "livekit_sip_call_id": self.attributes.get("sip.callID", ""),
            "participant_sid": self.sid,
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class View:
    """What one look at a room showed."""

    span: Span
    occupants: Mapping[str, Occupant]

    def with_role(self, role: Role) -> list[Occupant]:
        """Those of one role."""
        return [occupant for occupant in self.occupants.values() if occupant.role is role]


@dataclass(frozen=True, slots=True)
class LeaveNotice:
    """A webhook's word that somebody left, and why."""

    identity: str
    sid: str
    reason: str
    """LiveKit's DisconnectReason by name; `UNKNOWN_REASON` if it knows none."""
    attributes: Mapping[str, str]
    at: Moment

    @property
    def rang(self) -> bool:
        """The leg's last status proves an 18x or an answer."""
        return self.attributes.get(CALL_STATUS, "") in RANG_STATUSES

    @property
    def is_dropped(self) -> bool:
        """An answered leg that the SIP service let go of without anybody's wish, as for missing audio: it gives no reason then,
        which the server takes for CLIENT_INITIATED, and does not set the status `hangup` as it does before every hang-up."""
        return self.reason == "CLIENT_INITIATED" and self.attributes.get(CALL_STATUS, "") in ANSWERED_STATUSES

    @property
    def end_signal(self) -> str:
        """The reason with which an agent had asked for the end; empty if it had not."""
        return self.attributes.get(END_ATTRIBUTE, "")

    @property
    def opt_out(self) -> str:
        """What an agent gave as the callee's wish not to be called again; empty if it gave none."""
        return self.attributes.get(OPT_OUT_ATTRIBUTE, "")


def role_of(participant: proto_models.ParticipantInfo) -> Role:
    """Hidden agents and those whom we send ourselves are not agents that a callee could talk to."""
    if participant.identity.startswith(LEG_PREFIX) and participant.kind == proto_models.ParticipantInfo.Kind.SIP:
        return Role.LEG
    if participant.identity.startswith(OUR_PREFIX):
        return Role.OTHER
    if participant.kind == proto_models.ParticipantInfo.Kind.AGENT and not participant.permission.hidden:
        return Role.AGENT
    return Role.OTHER


def is_present(participant: proto_models.ParticipantInfo) -> bool:
    """A leg is there from the moment it joins; an agent once its connection stands, since before that it may never come."""
    state = proto_models.ParticipantInfo.State
    if role_of(participant) is Role.AGENT:
        return participant.state == state.ACTIVE
    return participant.state != state.DISCONNECTED


def read_view(participants: Iterable[proto_models.ParticipantInfo], span: Span) -> View:
    """Who is in the room, by LiveKit's list."""
    return View(
        span=span,
        occupants={
            participant.identity: Occupant(
                identity=participant.identity,
                sid=participant.sid,
                role=role_of(participant),
                attributes=dict(participant.attributes),
            )
            for participant in participants
            if is_present(participant)
        },
    )


def reason_name(participant: proto_models.ParticipantInfo) -> str:
    """LiveKit's reason of a leave, by name; a number that this library does not know as a number."""
    try:
        return proto_models.DisconnectReason.Name(participant.disconnect_reason)
    except ValueError:
        return str(int(participant.disconnect_reason))
