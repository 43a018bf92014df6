"""What audio before the answer changes in the reading of an end: it decides more than ring times (OUTCOMES.md, Pre-connect).

    information tones   IC, VC: no such number. RO', RO'', NC', NC'': the network (Bellcore's classes, VOICEMAIL.md 3).
    busy, reorder       the callee is busy; the network
    a greeting          forwarded to voicemail; an announcement: the phone cannot be reached

It never overrides what names its cause by itself: a code like 404 or 486, a Q.850 cause, a text. Knows no audio.
"""

from __future__ import annotations

from dataclasses import replace

from sip.causes import HangupCause, Reading
from sip.voicemail.events import Kind
from sip.voicemail.preconnect import EarlyMediaFinding

OPEN_TO_DOUBT = frozenset(
    {
        HangupCause.NO_ANSWER,
        HangupCause.SUBSCRIBER_ABSENT,
        HangupCause.FORWARDED_TO_VOICEMAIL,
        HangupCause.UNKNOWN,
    }
)
"""Causes that ring time or a code of many meanings led to."""
_NO_SUCH_NUMBER = frozenset({"IC", "VC"})
_NETWORK = frozenset({"RO'", "RO''", "NC'", "NC''"})


def with_early_media(reading: Reading, finding: EarlyMediaFinding | None) -> Reading:
    """The reading of an unanswered leg's end, with what was heard before it. `reading` itself if that changes nothing."""
    if finding is None or reading.rule == "q850" or reading.cause not in OPEN_TO_DOUBT:
        return reading
    cause = _cause(finding)
    evidence = {**reading.evidence, **finding.evidence, "inferred": f"early_media_{finding.rule}"}
    return replace(reading, cause=cause, rule="early_media", evidence=evidence)


def _cause(finding: EarlyMediaFinding) -> HangupCause:
    match finding.rule:
        case "sit" if finding.detail in _NO_SUCH_NUMBER:
            return HangupCause.UNALLOCATED_NUMBER
        case "sit" if finding.detail in _NETWORK:
            return HangupCause.NETWORK_ERROR
        case "busy":
            return HangupCause.USER_BUSY
        case "reorder":
            return HangupCause.NETWORK_ERROR
        case _:
            if finding.kind is Kind.ANNOUNCEMENT:
                return HangupCause.SUBSCRIBER_ABSENT
            return HangupCause.FORWARDED_TO_VOICEMAIL
