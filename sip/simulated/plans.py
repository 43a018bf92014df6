"""Dial plans that nobody could carry out, so that a call that no trunk would take is refused here as well."""

from __future__ import annotations

import re

from sip.errors import BadPlan
from sip.leg import DialPlan

DISPLAY_NAME_CHARACTERS = 128

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")  # token of RFC 3261, section 25.1
_DIGITS = re.compile(r"[0-9A-Da-d*#wW]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_plan(plan: DialPlan) -> None:
    """Raises BadPlan."""
    for what, number in (("number to dial", plan.to), ("caller id", plan.caller_id)):
        if number is not None and not _E164.fullmatch(number):
            raise BadPlan(f"the {what} is not E.164 (a plus sign and 7 to 15 digits)")
    if not plan.trunk.sip_trunk_id:
        raise BadPlan(f"trunk {plan.trunk.name} has no id at the media server (ST_...)")
    if not plan.dial_id or _CONTROL.search(plan.dial_id):
        raise BadPlan("a dial needs an id of printable characters")
    if plan.display_name is not None and (
        len(plan.display_name) > DISPLAY_NAME_CHARACTERS or _CONTROL.search(plan.display_name)
    ):
        raise BadPlan(f"the display name is longer than {DISPLAY_NAME_CHARACTERS} characters or holds control characters")
    for name, value in plan.headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadPlan(f"{name!r} is not a name of a SIP header")
        if _CONTROL.search(value):
            raise BadPlan(f"the value of SIP header {name} holds control characters")
    check_digits(plan.dtmf)
    if not (plan.ring_timeout_s > 0 and plan.post_dial_allowance_s >= 0 and plan.max_duration_s > 0):
        raise BadPlan("ring time and maximum duration must be above 0, the post-dial allowance not below")


def check_digits(digits: str) -> None:
    """Raises BadPlan."""
    if not _DIGITS.fullmatch(digits):
        raise BadPlan("digits may be 0-9, A-D, *, # and w (half a second of silence)")
