"""What a media server makes of a callee's answer: LiveKit's words, codes and reasons (LIVEKIT.md, section 0).

What these signals mean is left to the rules that read those of real trunks (`sip.causes`): a test number proves them too.
"""

from __future__ import annotations

from sip.causes import Signal
from sip.simulated.steps import HangUp, LoseLeg, LoseMedia, NotTaken, Refuse

RING_OUT = Signal(text="sip request timed out", disconnect_reason="USER_UNAVAILABLE")
"""Nobody answered in time, or nothing responded at all: only a ringing that was seen tells the two apart."""
TAKEN_AWAY = Signal(text="sip request timed out")
"""We ended it before the answer: the same words as for a ring-out."""
HUNG_UP_BY_US = Signal()
ROOM_DELETED_BEFORE_THE_ANSWER = Signal(text="sip request timed out", disconnect_reason="ROOM_DELETED")
ROOM_DELETED = Signal(disconnect_reason="ROOM_DELETED")
BYE = Signal(disconnect_reason="CLIENT_INITIATED")
"""The callee hung up, or the media server's own maximum duration was over: they look the same."""
NO_ROOM_TEXT = "update room failed: not found"
"""A dial into a room that does not exist; no INVITE is sent."""

_NO_CREDENTIALS = "sip server required auth, but no username or password was provided"
_UNAVAILABLE_CODES = (404, 408, 480)


def signal_of(step: Refuse | NotTaken | HangUp | LoseMedia | LoseLeg) -> Signal:
    """What is said when this step ends a call. Neither a Q.850 cause nor headers of a refusal get through."""
    match step:
        case Refuse(sip_code=401 | 407):
            return Signal(text=_NO_CREDENTIALS, disconnect_reason="USER_REJECTED")
        case Refuse(sip_code=sip_code, sip_reason=sip_reason):
            text = f"sip status: {sip_code}: {sip_reason}"
            return Signal(sip_code=sip_code, sip_reason=sip_reason, text=text, disconnect_reason=_leave_after(sip_code))
        case NotTaken(text=text):
            return Signal(text=text)
        case HangUp():
            return BYE
        case LoseMedia():
            return Signal(text="media-timeout")
        case LoseLeg():
            return Signal()


def _leave_after(sip_code: int) -> str:
    if sip_code in _UNAVAILABLE_CODES:
        return "USER_UNAVAILABLE"
    return "CLIENT_INITIATED" if 500 <= sip_code < 600 else "USER_REJECTED"
