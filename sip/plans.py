"""What no carrier could dial: checked before anything is sent, the same for every carrier.

Knows SIP's rules for what goes into an INVITE; knows no carrier and no account.
"""

from __future__ import annotations

import re

from sip.errors import BadPlan
from sip.leg import DialPlan

LONGEST_DISPLAY_NAME = 128
"""Characters."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")  # token of RFC 3261, section 25.1
_DIGITS = re.compile(r"[0-9A-Da-d*#wW]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_dial_plan(plan: DialPlan) -> None:
    """Raise BadPlan, naming what is wrong."""
    if not _E164.fullmatch(plan.to):
        raise BadPlan("the number to dial is not E.164 (a plus sign and 7 to 15 digits)")
    if plan.caller_id is not None and not _E164.fullmatch(plan.caller_id):
        raise BadPlan("the caller id is not E.164 (a plus sign and 7 to 15 digits)")
    if not plan.trunk.sip_trunk_id:
        raise BadPlan(f"trunk {plan.trunk.name} has no id at the media server (ST_...)")
    if not plan.dial_id or _CONTROL.search(plan.dial_id):
        raise BadPlan("a dial needs an id of printable characters")
    if plan.display_name is not None and (len(plan.display_name) > LONGEST_DISPLAY_NAME or _CONTROL.search(plan.display_name)):
        raise BadPlan(f"the display name is longer than {LONGEST_DISPLAY_NAME} characters or holds control characters")
    for name, value in plan.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadPlan(f"{name!r} is not a name of a SIP header")
        if _CONTROL.search(value):
            raise BadPlan(f"the value of SIP header {name} holds control characters")
    if not _DIGITS.fullmatch(plan.dtmf):
        raise BadPlan("digits may be 0-9, A-D, *, # and w (half a second of silence)")
    if not (plan.ring_timeout_s > 0 and plan.post_dial_allowance_s >= 0 and plan.max_duration_s > 0):
        raise BadPlan("ring time and maximum duration must be above 0, the post-dial allowance not below")
