"""What LiveKit answers when a dial fails, and with which reason the participant leaves.

Read from the SIP service's source (errors.go, participant.go) and the server's protocol (sip.go), and compared with what
server 1.13.5 and SIP service 1.10 answered when SIPp was the far end.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tests.standin.twirp import TwirpError, from_sip_service


class Leave(enum.Enum):
    """How the SIP participant leaves; the value is the name of the reason in its Leave message.

    For `DROPPED` the SIP service gives no reason, and the server takes that for CLIENT_INITIATED.
    """

    HANGUP = "CLIENT_INITIATED"
    REJECTED = "USER_REJECTED"
    UNAVAILABLE = "USER_UNAVAILABLE"
    DROPPED = "UNKNOWN_REASON"


SIP_REQUEST_TIMED_OUT = from_sip_service("canceled", "sip request timed out")
"""A ring-out, an unreachable trunk, and a leg that was removed while it rang: all the same."""
CPU_EXHAUSTED = from_sip_service("unavailable", "cpu exhausted")
SHUTTING_DOWN = from_sip_service("canceled", "service shutting down")
ROOM_GONE = from_sip_service("internal", "update room failed: not found")
"""The fence: nothing was dialled."""
UNKNOWN_TRUNK = TwirpError("not_found", "requested sip trunk does not exist")
NO_CREDENTIALS = from_sip_service("failed_precondition", "sip server required auth, but no username or password was provided")

_CODES: Mapping[str, Iterable[int]] = MappingProxyType(
    {
        "not_found": (301, 302, 404, 410, 481, 604),
        "permission_denied": (401, 402, 403, 433, 470, 603, 607, 608),
        "unauthenticated": (407, 428, 436, 437, 438, 494),
        "deadline_exceeded": (408, 504),
        "failed_precondition": (409, 412, 482, 483, 500, 501, 502, 503),
        "resource_exhausted": (440, 480, 486, 600),
        "aborted": (487, 491),
    }
)
_TEXT_MAY_BE_REPLACED = frozenset({400, 404, 480, 486, 488})
"""For these the SIP service takes a body or Twilio's header in place of the reason phrase, and says `INVITE failed`."""
_TRUNK_LIMITS = ("cps limit exceeded", "concurrent call limit exceeded")
_BLOCKED_BY_CARRIER = "32203"


def refusal(sip_code: int, sip_reason: str, headers: Iterable[tuple[str, str]] = ()) -> TwirpError:
    """The answer to a request whose INVITE got this final response."""
    if sip_code in (401, 407):
        return NO_CREDENTIALS
    twilio = next((value for name, value in headers if name.lower() == "x-twilio-error"), "")
    status = twilio if twilio and sip_code in _TEXT_MAY_BE_REPLACED else sip_reason
    prefix = "INVITE failed: " if sip_code in _TEXT_MAY_BE_REPLACED else "unexpected status from INVITE response: "
    if twilio.split()[:1] == [_BLOCKED_BY_CARRIER]:
        prefix = ""
    return from_sip_service(
        next((code for code, sip_codes in _CODES.items() if sip_code in sip_codes), _code_of_class(sip_code)),
        f"{prefix}sip status: {sip_code}: {status}",
        {"sip_status_code": str(sip_code), "sip_status": status},
    )


def leave_of_refusal(sip_code: int, sip_reason: str) -> Leave:
    """How the participant leaves after this final response."""
    if sip_code in (404, 408, 480):
        return Leave.UNAVAILABLE
    if 300 <= sip_code < 400:
        return Leave.DROPPED
    if 500 <= sip_code < 600 and not any(limit in sip_reason.lower() for limit in _TRUNK_LIMITS):
        return Leave.DROPPED
    return Leave.REJECTED


def _code_of_class(sip_code: int) -> str:
    return "failed_precondition" if 500 <= sip_code < 600 else "invalid_argument"
