"""What a claimed call becomes for the carrier: the plan of its room and of its dial."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orchestrator.detection import DetectionPolicy
from orchestrator.ids import E164
from orchestrator.store.records import ClaimedCall, DialGranted, TrunkRow
from sip.causes import HangupCause, TrunkRules
from sip.leg import DialPlan, ListeningPlan, RoomName, RoomPlan, TrunkRoute

CALLEE_IDENTITY_PREFIX = "callee-"


@dataclass(frozen=True, slots=True)
class ListeningTimes:
    """When a deployment notices quiet, for calls whose policy does not say. Clock seconds; 0: never."""

    silence_warning_s: float = 0.0
    """0: half of the time after which the call is ended, if it is."""
    silence_s: float = 0.0
    idle_s: float = 0.0
    media_lost_s: float = 0.0


def listening_plan(policy: DetectionPolicy, times: ListeningTimes) -> ListeningPlan | None:
    """What is listened for in the room of a call with this policy; None: nobody listens."""
    if not policy.on:
        return None
    silence_s = _said(policy.silence_s, times.silence_s)
    warning_s = policy.silence_warning_s
    if warning_s is None:
        warning_s = times.silence_warning_s
        if silence_s is not None and not 0 < warning_s < silence_s:
            warning_s = silence_s / 2
    return ListeningPlan(
        detector=policy.detector,
        silence_warning_s=warning_s or None,
        silence_s=silence_s,
        idle_s=_said(policy.idle_s, times.idle_s),
        media_lost_s=_said(policy.media_lost_s, times.media_lost_s),
    )


def _said(own_s: float | None, deployment_s: float) -> float | None:
    return (deployment_s if own_s is None else own_s) or None


def room_plan(call: ClaimedCall, *, name: RoomName, post_dial_allowance_s: float, listening: ListeningTimes | None) -> RoomPlan:
    """The room for this claim, and what the agent is told when it is asked to join. `listening`: None: nobody listens."""
    listened = None if listening is None else listening_plan(call.detection, listening)
    told = {
        "call_id": str(call.call_id),
        "to": call.to,
        "callee_identity_prefix": CALLEE_IDENTITY_PREFIX,
        "metadata": json.loads(call.metadata),
        "detection": {
            "on": listened is not None,
            "hold_first_words": listened is not None and call.detection.hold_first_words,
        },
    }
    return RoomPlan(
        name=name,
        call_id=str(call.call_id),
        agent_name=call.agent_name,
        agent_metadata=json.dumps(told),
        max_duration_s=call.max_duration_s + call.ring_timeout_s + post_dial_allowance_s,
        listening=listened,
    )


def dial_plan(call: ClaimedCall, granted: DialGranted, *, to: E164, post_dial_allowance_s: float) -> DialPlan:
    """The one request of this dial."""
    return DialPlan(
        call_id=str(call.call_id),
        dial_id=str(granted.dial_id),
        to=to,
        trunk=_route(call.trunk),
        caller_id=granted.caller_id,
        display_name=call.display_name,
        headers=call.headers,
        dtmf=call.dtmf,
        ring_timeout_s=call.ring_timeout_s,
        post_dial_allowance_s=post_dial_allowance_s,
        max_duration_s=call.max_duration_s,
    )


def _route(trunk: TrunkRow) -> TrunkRoute:
    return TrunkRoute(
        name=trunk.name,
        sip_trunk_id=trunk.sip_trunk_id,
        rules=TrunkRules(
            preconnect_voicemail=trunk.preconnect_voicemail,
            preconnect_voicemail_codes=trunk.preconnect_voicemail_codes,
            min_ring_s=trunk.min_ring_s,
            max_ring_s=trunk.max_ring_s,
            busy_means_declined=trunk.busy_means_declined,
            patterns=tuple((pattern, HangupCause(cause)) for pattern, cause in trunk.patterns),
        ),
    )
