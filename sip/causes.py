"""From signals to one hang-up cause: what SIP, Q.850 and the media server's words say about the end of a leg.

Implements OUTCOMES.md, "From signals to reasons", from rule 2 on; the first that applies decides:

    a specific Q.850 cause > words that say the trunk was never asked > the trunk's own patterns > named texts > the SIP code

Rule 1, what we ordered ourselves, is known to whoever gave the order and comes before all of this. Every table here is total;
what no table knows is UNKNOWN: nothing is guessed into a specific cause.

Texts and the SIP code decide, never the media server's error code or HTTP status, each of which means too many things
(LIVEKIT.md, section 0). Texts without a source are LiveKit's: server 1.13.5, SIP service 1.10. Knows no port and no carrier.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


class HangupCause(enum.Enum):
    """Why a leg ended, in telephony terms."""

    NORMAL_CLEARING = "normal_clearing"
    """The far end hung up an answered call."""
    ORDERED = "ordered"
    """We hung up; whoever gave the order knows why."""
    ROOM_DELETED = "room_deleted"
    """Somebody else deleted the room: agents end calls that way."""
    USER_BUSY = "user_busy"
    NO_ANSWER = "no_answer"
    CALL_REJECTED = "call_rejected"
    FORWARDED_TO_VOICEMAIL = "forwarded_to_voicemail"
    """Inferred by the pre-connect rule on signalling."""
    UNALLOCATED_NUMBER = "unallocated_number"
    NUMBER_BLOCKED = "number_blocked"
    SPAM_REJECTED = "spam_rejected"
    SUBSCRIBER_ABSENT = "subscriber_absent"
    TRUNK_CAPACITY = "trunk_capacity"
    TRUNK_AUTH = "trunk_auth"
    TRUNK_CONFIG = "trunk_config"
    TRUNK_UNREACHABLE = "trunk_unreachable"
    NETWORK_ERROR = "network_error"
    MEDIA_SERVER_UNAVAILABLE = "media_server_unavailable"
    """The media server or its SIP service could not take the dial; nothing was dialled."""
    MEDIA_LOST = "media_lost"
    LEG_LOST = "leg_lost"
    """The leg is gone and nothing says why."""
    UNKNOWN = "unknown"


NOT_FROM_A_TRUNK = frozenset(
    HangupCause[name]
    for name in ("NORMAL_CLEARING", "ORDERED", "ROOM_DELETED", "MEDIA_SERVER_UNAVAILABLE", "MEDIA_LOST", "LEG_LOST")
)
"""Causes that no answer of a trunk can mean; a trunk's pattern may not name them."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What the network and the media server said about an end."""

    sip_code: int | None = None
    sip_reason: str = ""
    q850_cause: int | None = None
    text: str = ""
    """The media server's error message."""
    disconnect_reason: str = ""
    """The media server's reason of the participant's leave, e.g. `CLIENT_INITIATED`."""


@dataclass(frozen=True, slots=True)
class TrunkRules:
    """How one trunk's answers are read. Raises ValueError for a pattern that could not be used."""

    preconnect_voicemail: bool = True
    """False switches the pre-connect rule off."""
    preconnect_voicemail_codes: frozenset[int] = frozenset({480})
    min_ring_s: float = 1.0
    max_ring_s: float = 18.0
    busy_means_declined: bool = False
    """486 after ringing is a decline on this trunk."""
    patterns: tuple[tuple[str, HangupCause], ...] = ()
    """(regular expression, cause); the first that is found decides. Searched, ignoring case, in `<SIP code> <SIP reason>`, a
    line break, and the media server's message: `^404 .*unpaid` asks for the code, `channel limit` for none. They override the
    SIP code, since one code means different things on different carriers."""

    def __post_init__(self) -> None:
        for pattern, cause in self.patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"the trunk's pattern {pattern!r} is not a regular expression: {error}") from None
            if cause in NOT_FROM_A_TRUNK:
                raise ValueError(f"the trunk's pattern {pattern!r} cannot mean {cause.value}: no answer of a trunk means that")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the signals mean, and why."""

    cause: HangupCause
    rule: str
    """Name of the rule that decided, for the evidence."""
    evidence: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """What the rule saw."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one signal means before and after ringing was seen."""

    no_18x: HangupCause
    after_18x: HangupCause

    def given(self, *, rang: bool) -> HangupCause:
        """The column that applies."""
        return self.after_18x if rang else self.no_18x


def _always(cause: HangupCause) -> Meaning:
    return Meaning(cause, cause)


BUSY = _always(HangupCause.USER_BUSY)
DECLINED = Meaning(HangupCause.NUMBER_BLOCKED, HangupCause.CALL_REJECTED)
SPAM = _always(HangupCause.SPAM_REJECTED)
NOT_THERE = Meaning(HangupCause.SUBSCRIBER_ABSENT, HangupCause.NO_ANSWER)
ABSENT = _always(HangupCause.SUBSCRIBER_ABSENT)
NO_ANSWER = _always(HangupCause.NO_ANSWER)
WRONG_NUMBER = _always(HangupCause.UNALLOCATED_NUMBER)
AUTH = _always(HangupCause.TRUNK_AUTH)
CAPACITY = _always(HangupCause.TRUNK_CAPACITY)
CONFIG = _always(HangupCause.TRUNK_CONFIG)
NETWORK_ERROR = _always(HangupCause.NETWORK_ERROR)
CANCELED = Meaning(HangupCause.UNKNOWN, HangupCause.NO_ANSWER)
SILENT_TRUNK = Meaning(HangupCause.TRUNK_UNREACHABLE, HangupCause.NO_ANSWER)
# The trunk was never asked; that something rang nevertheless is a contradiction, and then nothing is certain.
NEVER_ASKED = Meaning(HangupCause.MEDIA_SERVER_UNAVAILABLE, HangupCause.UNKNOWN)
UNKNOWN = _always(HangupCause.UNKNOWN)

_CONFIG_CODES = (
    *(400, 405, 406, 409, 411, 412, 413, 414, 415, 416, 417, 420, 421, 422, 423, 424, 428, 429, 433, 436, 437, 438, 439, 440),
    *(469, 470, 482, 483, 488, 489, 493, 494, 501, 505, 513, 555, 580, 606),
    403,  # unless a limit text or the trunk's pattern says otherwise
)

SIP_CODES: dict[int, Meaning] = {
    **dict.fromkeys(range(300, 700), UNKNOWN),
    **dict.fromkeys((486, 600), BUSY),
    603: DECLINED,
    **dict.fromkeys((607, 608), SPAM),
    480: NOT_THERE,  # after the pre-connect rule
    408: NOT_THERE,
    **dict.fromkeys((404, 410, 484, 485, 604, 301), WRONG_NUMBER),
    **dict.fromkeys((401, 402, 407), AUTH),
    **dict.fromkeys(_CONFIG_CODES, CONFIG),
    **dict.fromkeys((481, 491, 500, 502, 503, 504), NETWORK_ERROR),
    487: CANCELED,
}
"""Every final SIP response that is no success, 300 to 699 (RFC 3261, section 21; OUTCOMES.md)."""

Q850_CAUSES: dict[int, Meaning] = {
    **dict.fromkeys(range(1, 128), UNKNOWN),
    17: BUSY,
    21: DECLINED,
    18: NOT_THERE,
    19: NO_ANSWER,
    **dict.fromkeys((3, 20, 27), ABSENT),
    **dict.fromkeys((1, 22, 28), WRONG_NUMBER),
    **dict.fromkeys((34, 42, 44, 47), CAPACITY),
    **dict.fromkeys((2, 29, 43, 50, 55, 57, 58, 63, 65, 69, 79, 88), CONFIG),
    **dict.fromkeys((38, 41, 102, 111), NETWORK_ERROR),
}
"""Every cause value, 1 to 127 (ITU-T Q.850, section 2.2.7; OUTCOMES.md)."""

Q850_SAYING_NOTHING = frozenset({16, 31, 127})
"""Normal clearing, normal unspecified, interworking unspecified: whatever else is known decides."""


@dataclass(frozen=True, slots=True)
class NamedText:
    """Words with a known meaning, searched ignoring case."""

    rule: str
    words: str
    meaning: Meaning
    proves_nothing_rang: bool = False
    """They are said only where no INVITE could leave, or where the trunk itself refused it."""

    def found_in(self, said: str) -> bool:
        """Whether the words are there."""
        return re.search(self.words, said, re.IGNORECASE) is not None


NEVER_SENT_TEXTS = (
    NamedText("no_sip_service", r"no response from servers|sip not connected", NEVER_ASKED, True),
    NamedText("sip_service_full", r"cpu exhausted|failed to listen on udp port", NEVER_ASKED, True),
    # The SIP service joins the room before it dials. "not found" is the fence: the room was deleted or never made.
    NamedText("room_gone", r"update room failed: .*not found", NEVER_ASKED, True),
    NamedText("room_not_joined", r"update room failed", NEVER_ASKED, True),
    NamedText(
        "key_refused",
        r"invalid api key|refused the api key|invalid (authorization|token)|permissions denied",
        NEVER_ASKED,
        True,
    ),
    NamedText("media_server_unreachable", r"cannot connect to host", NEVER_ASKED, True),  # aiohttp's words
    NamedText("unknown_trunk", r"sip trunk does not exist|object cannot be found|no numbers on outbound trunk", CONFIG, True),
)
"""The media server's words, without a SIP code: the trunk was never asked, so no pattern of a trunk speaks about them."""

CARRIER_TEXTS = (
    NamedText("limit_text", r"cps limit exceeded|concurrent call limit exceeded", CAPACITY, True),
    NamedText("network_blocked", r"network blocked", SPAM),  # ATIS-1000099, 603+
    # The SIP service's words for 603 with X-Twilio-Error 32203, in versions that show them.
    NamedText("carrier_blocked", r"carrier blocked call", _always(HangupCause.NUMBER_BLOCKED)),
)
"""Words in a trunk's answer, whatever its code."""

NO_CODE_TEXTS = (
    NamedText("trunk_auth", r"max auth retry|server required auth|no auth header|invalid challenge", AUTH, True),
    # Found in the callee's 200, so somebody had picked up.
    NamedText("no_common_codec", r"common audio codec not found|no common encryption", CONFIG),
    NamedText("trunk_dns", r"no such host|server misbehaving|fail to resolve target|\blookup \S", SILENT_TRUNK, True),
    NamedText(
        "trunk_connect", r"\bdial (tcp|udp|tls)\b|connection refused|no route to host|is unreachable", SILENT_TRUNK, True
    ),
    NamedText("trunk_tls", r"\btls: |\bx509: ", SILENT_TRUNK, True),
    # The connection broke after it was made: the INVITE may have got through.
    NamedText("trunk_connection_lost", r"connection reset|broken pipe|\b(read|write) tcp\b", SILENT_TRUNK),
    NamedText("no_final_response", r"transaction failed to complete", SILENT_TRUNK),
    NamedText("ring_limit", r"sip request timed out", SILENT_TRUNK),
)
"""The SIP service's words, without a SIP code, for a dial that was sent or should have been."""

MEDIA_TIMEOUT = re.compile(r"media[- ]timeout", re.IGNORECASE)

SAYS_WHAT_IT_WAS = re.compile(
    r"no answer|not answer|busy|declin|reject|block|disturb|not registered|unregistered|offline|switched off|out of coverage",
    re.IGNORECASE,
)
"""Reason phrases of a 480 that say more than that the user is unavailable: then the ring time needs no interpretation."""

RING_TIMER_EDGE_S = 1.0
"""Within this of our own ring timer, a short ring is as likely to be the timer's doing (OUTCOMES.md)."""

PATTERN_SEARCH_CHARACTERS = 2000
"""How much of an answer the trunk's patterns are searched in: bodies can be long, and regular expressions slow."""


def hangup_cause(
    signal: Signal,
    *,
    answered: bool,
    rang: bool,
    ring_s: float | None,
    ring_timeout_s: float | None,
    rules: TrunkRules,
    ring_error_s: float = 0.0,
) -> Reading:
    """Read the end of a leg that nobody here ordered.

    `rang`: an 18x was seen. `ring_s`: from the first 18x to the end, true within `ring_error_s`; None if not known.
    `ring_timeout_s`: our own ring timer, from the first 18x; None if there is none.
    """
    if answered:
        return _after_the_answer(signal)
    cause = signal.q850_cause
    if cause in Q850_CAUSES and cause not in Q850_SAYING_NOTHING:
        meaning = Q850_CAUSES[cause]
        return _declined_if_busy(
            signal, Reading(meaning.given(rang=rang), "q850", {"q850_cause": cause}), rang=rang, rules=rules
        )
    by_text = _by_text(signal, rang=rang, rules=rules)
    if by_text is not None:
        return by_text
    if signal.sip_code is None:
        return _without_a_code(signal, rang=rang)
    if rang and (signal.sip_code in rules.preconnect_voicemail_codes or signal.sip_code == 480):
        by_ring = _by_ring(signal, ring_s=ring_s, ring_error_s=ring_error_s, ring_timeout_s=ring_timeout_s, rules=rules)
        if by_ring is not None:
            return by_ring
    meaning = SIP_CODES.get(signal.sip_code, UNKNOWN)
    return _declined_if_busy(signal, Reading(meaning.given(rang=rang), "sip_code"), rang=rang, rules=rules)


def cause_of_leave(reason: str, *, rang: bool) -> Reading:
    """Read the end of an unanswered leg of which nothing is known but the media server's word for its leave.

    So it is with a leg that was adopted: the request whose answer would hold the SIP code died with its worker. A word that
    fits several causes names none: a rejected or unavailable callee is one only after an 18x, since trunks that refuse a call
    and numbers that do not exist look the same before it (LIVEKIT.md, 2.6). No word at all is a lost leg.
    """
    if reason in ("", "UNKNOWN_REASON"):
        return Reading(HangupCause.LEG_LOST, "leave_unexplained")
    causes = {"ROOM_DELETED": HangupCause.ROOM_DELETED}
    if rang:
        causes |= {
            "USER_UNAVAILABLE": HangupCause.NO_ANSWER,
            "USER_REJECTED": HangupCause.CALL_REJECTED,
            "SIP_TRUNK_FAILURE": HangupCause.NETWORK_ERROR,
        }
    return Reading(causes.get(reason, HangupCause.UNKNOWN), "leave_reason", {"inferred": "leave_reason"})


def proves_nothing_rang(signal: Signal, *, rang: bool, rules: TrunkRules | None = None) -> bool:
    """Whether the end of an unanswered leg proves that no phone rang: the same attempt may dial again (DESIGN.md, Attempts).

    True for words said before an INVITE could leave, failures to reach the trunk, authentication and configuration codes, and
    limit texts, those of the trunk's own patterns included. Never after an 18x, a timeout, a lost connection, or a callee's 200
    that was of no use; nor by a Q.850 cause alone, which may come from far behind the trunk.
    """
    if rang:
        return False
    for said in (signal, replace(signal, q850_cause=None)):
        reading = hangup_cause(said, answered=False, rang=False, ring_s=None, ring_timeout_s=None, rules=rules or TrunkRules())
        refused = said.sip_code is not None and reading.cause in _REFUSED_BY_THE_TRUNK
        if reading.rule not in _PROVING_RULES and not refused:
            return False
    return True


_REFUSED_BY_THE_TRUNK = frozenset({HangupCause.TRUNK_AUTH, HangupCause.TRUNK_CONFIG, HangupCause.TRUNK_CAPACITY})
_PROVING_RULES = frozenset(
    text.rule for text in (*NEVER_SENT_TEXTS, *CARRIER_TEXTS, *NO_CODE_TEXTS) if text.proves_nothing_rang
)


def _after_the_answer(signal: Signal) -> Reading:
    """OUTCOMES.md, After the answer. The end by the service's own maximum duration looks like the callee's BYE."""
    if MEDIA_TIMEOUT.search(signal.text):
        return Reading(HangupCause.MEDIA_LOST, "media_timeout")
    if signal.disconnect_reason == "CLIENT_INITIATED":
        return Reading(HangupCause.NORMAL_CLEARING, "leave_reason")
    if signal.disconnect_reason == "ROOM_DELETED":
        return Reading(HangupCause.ROOM_DELETED, "leave_reason")
    return Reading(HangupCause.LEG_LOST, "leave_unexplained")


def _by_text(signal: Signal, *, rang: bool, rules: TrunkRules) -> Reading | None:
    """Rule 3: words, and the trunk's own patterns."""
    if signal.sip_code is None:
        for text in NEVER_SENT_TEXTS:
            if text.found_in(signal.text):
                return Reading(text.meaning.given(rang=rang), text.rule)
    code = "" if signal.sip_code is None else f"{signal.sip_code} "
    said = f"{code}{signal.sip_reason}\n{signal.text}"[:PATTERN_SEARCH_CHARACTERS]
    for pattern, cause in rules.patterns:
        if re.search(pattern, said, re.IGNORECASE):
            return Reading(cause, "pattern", {"pattern": pattern})
    for text in CARRIER_TEXTS:
        if text.found_in(said):
            return Reading(text.meaning.given(rang=rang), text.rule)
    return None


def _without_a_code(signal: Signal, *, rang: bool) -> Reading:
    """No final answer of the trunk came through."""
    for text in NO_CODE_TEXTS:
        if text.found_in(signal.text):
            if text.rule == "ring_limit" and signal.disconnect_reason not in _LEAVES_OF_A_RING_OUT:
                # Whoever takes the leg out of its room makes the service say the same as its ring timer does.
                room_deleted = signal.disconnect_reason == "ROOM_DELETED"
                return Reading(HangupCause.ROOM_DELETED if room_deleted else HangupCause.UNKNOWN, "taken_away")
            return Reading(text.meaning.given(rang=rang), text.rule)
    # `canceled` with other words, as from a service that shuts down, is no ring-out.
    return Reading(HangupCause.UNKNOWN, "unexplained")


_LEAVES_OF_A_RING_OUT = frozenset({"", "USER_UNAVAILABLE", "SIP_TRUNK_FAILURE", "UNKNOWN_REASON"})
"""With which leaves "sip request timed out" can be the ring timer's; empty: none was reported."""


def _by_ring(
    signal: Signal, *, ring_s: float | None, ring_error_s: float, ring_timeout_s: float | None, rules: TrunkRules
) -> Reading | None:
    """The pre-connect rule (OUTCOMES.md, Pre-connect voicemail on signalling) and its neighbours, after an 18x."""
    if ring_s is None:
        return Reading(HangupCause.NO_ANSWER, "ring_unknown") if signal.sip_code == 480 else None
    seen = {"ring_s": round(ring_s, 3), "min_ring_s": rules.min_ring_s, "max_ring_s": rules.max_ring_s}
    if ring_s < rules.min_ring_s:
        return Reading(HangupCause.SUBSCRIBER_ABSENT, "hardly_rang", seen) if signal.sip_code == 480 else None
    at_the_ring_timer = ring_timeout_s is not None and ring_s + ring_error_s >= ring_timeout_s - RING_TIMER_EDGE_S
    if (
        rules.preconnect_voicemail
        and signal.sip_code in rules.preconnect_voicemail_codes
        and ring_s <= rules.max_ring_s
        and not at_the_ring_timer
        and not (signal.sip_code == 480 and SAYS_WHAT_IT_WAS.search(signal.sip_reason))
    ):
        return Reading(HangupCause.FORWARDED_TO_VOICEMAIL, "preconnect_voicemail", {"inferred": "short_ring", **seen})
    return None


def _declined_if_busy(signal: Signal, reading: Reading, *, rang: bool, rules: TrunkRules) -> Reading:
    if rang and rules.busy_means_declined and signal.sip_code == 486 and reading.cause is HangupCause.USER_BUSY:
        return Reading(HangupCause.CALL_REJECTED, "busy_means_declined", reading.evidence)
    return reading
