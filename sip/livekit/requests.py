"""The requests that go to LiveKit, made from plans; a plan that cannot be dialled is refused here, before anything is sent.

Knows the fields of LiveKit's messages and their limits, and sends nothing.
"""

from __future__ import annotations

import math
import re

from google.protobuf.duration_pb2 import Duration
from livekit.protocol import agent_dispatch as proto_dispatch
from livekit.protocol import room as proto_room
from livekit.protocol import sip as proto_sip

from sip.errors import BadPlan
from sip.leg import DialPlan, RoomPlan
from sip.livekit.rooms import LEG_PREFIX, Deployment
from sip.livekit.timings import LiveKitTimings

DURATION_BACKSTOP_S = 30.0
"""The carrier ends a call this much later than we would: it tells its own end and a hang-up of the callee apart by nothing."""
LONGEST_CALL_S = 24 * 3600.0
"""LiveKit's cap on max_call_duration."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")  # token of RFC 3261, section 25.1
_DTMF = re.compile(r"[0-9A-Da-d*#wW]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def leg_identity(plan: DialPlan) -> str:
    """Who the leg is in the room."""
    return f"{LEG_PREFIX}{plan.dial_id}"


def room_request(plan: RoomPlan, *, deployment: Deployment, timings: LiveKitTimings) -> proto_room.CreateRoomRequest:
    """A room marked as ours, and its agent asked to join in the same call, so that no half of it can fail alone.

    No limit on participants: listeners and supervisors may join. A job that fails is not restarted: the call would be half
    over.
    """
    return proto_room.CreateRoomRequest(
        name=plan.name,
        empty_timeout=timings.empty_timeout_s,
        departure_timeout=timings.departure_timeout_s,
        metadata=deployment.metadata(name=plan.name, call_id=plan.call_id),
        agents=[
            proto_dispatch.RoomAgentDispatch(
                agent_name=plan.agent_name,
                metadata=plan.agent_metadata,
                restart_policy=proto_dispatch.JobRestartPolicy.JRP_NEVER,
            )
        ],
    )


def dial_request(plan: DialPlan, *, room: str, timings: LiveKitTimings) -> proto_sip.CreateSIPParticipantRequest:
    """The one request of a dial. Raises BadPlan."""
    _check(plan)
    request = proto_sip.CreateSIPParticipantRequest(
        sip_trunk_id=plan.trunk.sip_trunk_id,
        sip_call_to=plan.to,
        sip_number=plan.caller_id or "",
        room_name=room,
        participant_identity=leg_identity(plan),
        dtmf=plan.dtmf,
        headers=dict(plan.headers),
        wait_until_answered=True,
        # Whole seconds, rounded up: the library reads nothing smaller when it computes its own limit.
        ringing_timeout=Duration(seconds=math.ceil(plan.request_ring_s)),
        max_call_duration=Duration(seconds=math.ceil(min(LONGEST_CALL_S, plan.max_duration_s + DURATION_BACKSTOP_S))),
    )
    if plan.display_name is not None:
        request.display_name = plan.display_name
    if timings.media_timeout_s > 0:
        request.media.media_timeout.seconds = math.ceil(timings.media_timeout_s)
    return request


def _check(plan: DialPlan) -> None:
    if not _E164.fullmatch(plan.to):
        raise BadPlan("the number to dial is not E.164 (a plus sign and 7 to 15 digits)")
    if plan.caller_id is not None and not _E164.fullmatch(plan.caller_id):
        raise BadPlan("the caller id is not E.164 (a plus sign and 7 to 15 digits)")
    if not plan.trunk.sip_trunk_id:
        raise BadPlan(f"trunk {plan.trunk.name} has no LiveKit trunk id (ST_...)")
    if not plan.dial_id or _CONTROL.search(plan.dial_id):
        raise BadPlan("a dial needs an id of printable characters")
    if plan.display_name is not None and (len(plan.display_name) > 128 or _CONTROL.search(plan.display_name)):
        raise BadPlan("the display name is longer than 128 characters or holds control characters")
    for name, value in plan.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadPlan(f"{name!r} is not a name of a SIP header")
        if _CONTROL.search(value):
            raise BadPlan(f"the value of SIP header {name} holds control characters")
    if not _DTMF.fullmatch(plan.dtmf):
        raise BadPlan("digits may be 0-9, A-D, *, # and w (half a second of silence)")
    if not (plan.ring_timeout_s > 0 and plan.post_dial_allowance_s >= 0 and plan.max_duration_s > 0):
        raise BadPlan("ring time and maximum duration must be above 0, the post-dial allowance not below")
