"""What audio before the answer says: a greeting, an announcement, information tones, busy. Nobody picks up before the answer.

For carriers that pass early media on; LiveKit's SIP service gives none yet (LIVEKIT.md 6). The detectors that hear the call
hear it too; this reads their events. Ringback, or music in its place, is there for the caller while it rings: it says nothing.

It must not know: signalling, causes, what is done about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from sip.voicemail.events import (
    DetectorEvent,
    Fact,
    Kind,
    PhraseHeard,
    SpeechEnded,
    SpeechStarted,
    Tone,
    ToneKind,
    Verdict,
    WordsHeard,
)
from sip.voicemail.phrases import PRIORITY

GREETING_S = 2.0
"""Speech in all that makes a greeting or an announcement; less may be a voice in the ringback ("please hold")."""
MUSIC_S = 12.0
"""A stretch without any pause that is longer than this is music; announcements breathe every 4 to 8 s."""


@dataclass(frozen=True, slots=True)
class EarlyMediaFinding:
    """What was heard before the answer."""

    kind: Kind
    """VOICEMAIL, MAILBOX_FULL, ANNOUNCEMENT, CALL_PROGRESS (busy, reorder), or MACHINE: speech of which kind is not known."""
    rule: str
    """`phrase`, `sit`, `busy`, `reorder`, `speech`."""
    detail: str = ""
    """The class of the information tones, or the phrase."""
    evidence: dict[str, Fact] = field(default_factory=dict)


def read_early_media(events: Sequence[DetectorEvent], *, ended_s: float) -> EarlyMediaFinding | None:
    """What the detectors' events before the answer mean; None: nothing that says more than ringing does.

    `ended_s`: when the audio ended, for speech that had not ended by then. Words say most, then tones, then speech at all.
    """
    tones: list[Tone] = []
    phrases: list[PhraseHeard] = []
    speech: list[tuple[float, float]] = []
    began_s: float | None = None
    for event in events:
        match event:
            case Tone():
                tones.append(event)
            case PhraseHeard():
                phrases.append(event)
            case SpeechStarted():
                began_s = event.at_s
            case SpeechEnded():
                speech.append((event.began_s, event.ended_s))
                began_s = None
            case WordsHeard() | Verdict():
                pass
            case _:
                assert_never(event)
    if began_s is not None:
        speech.append((began_s, ended_s))
    spoken = [until_s - from_s for from_s, until_s in speech if until_s - from_s <= MUSIC_S]
    evidence: dict[str, Fact] = {"early_speech_s": round(sum(spoken), 2), "early_utterances": len(spoken)}
    for kind in PRIORITY:
        said = next((phrase for phrase in phrases if phrase.kind is kind), None)
        if said is not None and kind in {Kind.MAILBOX_FULL, Kind.VOICEMAIL, Kind.ANNOUNCEMENT}:
            return EarlyMediaFinding(kind, "phrase", said.phrase, evidence | {"early_phrase": said.phrase})
    by_tone = _by_tone(tones, evidence)
    if by_tone is not None:
        return by_tone
    if sum(spoken) >= GREETING_S:
        return EarlyMediaFinding(Kind.MACHINE, "speech", "", evidence)
    return None


def _by_tone(tones: Sequence[Tone], evidence: dict[str, Fact]) -> EarlyMediaFinding | None:
    by_kind = {tone.kind: tone for tone in tones}
    if (sit := by_kind.get(ToneKind.SIT)) is not None:
        return EarlyMediaFinding(Kind.ANNOUNCEMENT, "sit", sit.detail, evidence | {"sit": sit.detail or "unknown class"})
    for kind, rule in ((ToneKind.BUSY, "busy"), (ToneKind.REORDER, "reorder")):
        if kind in by_kind:
            return EarlyMediaFinding(Kind.CALL_PROGRESS, rule, "", evidence | {"early_tone": kind.value})
    return None
