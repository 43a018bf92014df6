"""What a failed dial request proves: which signal it carries, whether anything was dialled, and whether the dial is over.

    what came back                                        dialled   over
    the request never left (refused, DNS, TLS, too slow)  no        yes
    key refused (HTTP 401), no SIP service, service full, no        yes
      room gone (the fence), unknown trunk
    the trunk's name, TCP or TLS fails                    no        yes
    a SIP code; failed authentication, without a code     yes       yes
    "sip request timed out", "transaction failed ..."     unknown*  yes
    another well-formed error                             unknown*  yes
    no answer in time, connection lost, garbage, or a     unknown*  NO: reconciled with the room, never repeated
      server error that no known text explains

    * the leg knows more: an 18x makes it a yes.

What it means is for the tables of `sip.causes`; the words are theirs too. A twirp code names no cause (LIVEKIT.md, section 0),
but it bears on one question, whether the dial is over: the SIP service turns its own 5xx-class errors into others once an
INVITE was sent, so a well-formed error outside that class comes from a place that has finished with this dial.
"""

from __future__ import annotations

from dataclasses import dataclass

from livekit.api import ServerError, SipCallError

from sip.causes import NEVER_SENT_TEXTS, NO_CODE_TEXTS, HangupCause, Signal
from sip.events import Dialled


@dataclass(frozen=True, slots=True)
class DialFailure:
    """The dial request did not succeed; what that proves."""

    signal: Signal
    dialled: Dialled
    over: bool
    """False: the leg may be alive, and only looking at the room can tell."""
    cause: HangupCause | None = None
    """What the connection itself proves; None: ask the tables of causes."""


# By the rule under which sip.causes knows the words: whether the INVITE had left by then.
_DIALLED = {
    **dict.fromkeys((text.rule for text in NEVER_SENT_TEXTS), Dialled.NO),
    **dict.fromkeys(("trunk_dns", "trunk_connect", "trunk_tls"), Dialled.NO),
    **dict.fromkeys(("trunk_auth", "no_common_codec"), Dialled.YES),
    **dict.fromkeys(("ring_limit", "no_final_response", "trunk_connection_lost"), Dialled.UNKNOWN),
}

# Twirp codes under which the server reports failures of its own, whatever became of the dial.
_OPEN_CODES = frozenset({"internal", "unknown", "unavailable", "deadline_exceeded", "dataloss", "malformed", "bad_route"})

KEY_REFUSED = "LiveKit refused the API key"


def not_sent(text: str) -> DialFailure:
    """The request never left this process, or was turned away at the door."""
    return DialFailure(Signal(text=text), Dialled.NO, over=True, cause=HangupCause.MEDIA_SERVER_UNAVAILABLE)


def result_unknown(text: str) -> DialFailure:
    """The request left, and what became of it did not come back."""
    return DialFailure(Signal(text=text), Dialled.UNKNOWN, over=False)


def read_server_error(error: ServerError, *, text: str) -> DialFailure:
    """Read an answer that is an error. `text`: its message, free of secrets."""
    if isinstance(error, SipCallError) and error.sip_status_code is not None:
        signal = Signal(sip_code=error.sip_status_code, sip_reason=error.sip_status or "", text=text)
        return DialFailure(signal, Dialled.YES, over=True)
    if error.status == 401:
        return not_sent(KEY_REFUSED)
    known = next((known for known in (*NEVER_SENT_TEXTS, *NO_CODE_TEXTS) if known.found_in(text)), None)
    if known is not None:
        return DialFailure(Signal(text=text), _DIALLED[known.rule], over=True)
    if not text or error.code in _OPEN_CODES:
        return result_unknown(text or f"HTTP {error.status} without a LiveKit error")
    return DialFailure(Signal(text=text), Dialled.UNKNOWN, over=True)
