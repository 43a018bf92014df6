"""What a claimed call becomes for the carrier: the plan of its room and of its dial."""

from __future__ import annotations

import json

from orchestrator.ids import E164
from orchestrator.store.records import ClaimedCall, DialGranted, TrunkRow
from sip.causes import HangupCause, TrunkRules
from sip.leg import DialPlan, RoomName, RoomPlan, TrunkRoute

CALLEE_IDENTITY_PREFIX = "callee-"


def room_plan(call: ClaimedCall, *, name: RoomName, post_dial_allowance_s: float) -> RoomPlan:
    """The room for this claim, and what the agent is told when it is asked to join."""
    told = {
        "call_id": str(call.call_id),
        "to": call.to,
        "callee_identity_prefix": CALLEE_IDENTITY_PREFIX,
        "metadata": json.loads(call.metadata),
    }
    return RoomPlan(
        name=name,
        call_id=str(call.call_id),
        agent_name=call.agent_name,
        agent_metadata=json.dumps(told),
        max_duration_s=call.max_duration_s + call.ring_timeout_s + post_dial_allowance_s,
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
