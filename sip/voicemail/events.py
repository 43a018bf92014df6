"""What detectors tell: speech, tones, phrases and verdicts, as typed events; and the settings of a detector.

Times are seconds of the stream that was fed, from its first sample. Knows nothing of audio, rooms, accounts or policies.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

Fact = str | int | float | bool | None
"""One value of evidence."""


class Kind(enum.Enum):
    """Who or what answered (VOICEMAIL.md, What must be told apart)."""

    PERSON = "person"
    VOICEMAIL = "voicemail"
    """A greeting that asks for a message, perhaps with a beep."""
    MAILBOX_FULL = "mailbox_full"
    """A mailbox that is full or not set up: no message can be left."""
    MENU = "menu"
    """An IVR menu."""
    SCREENING = "screening"
    """Somebody's phone asks who is calling: a person can be reached."""
    ANNOUNCEMENT = "announcement"
    """The network speaks: special information tones, "the number you have dialled"."""
    FAX = "fax"
    """Fax or modem."""
    CALL_PROGRESS = "call_progress"
    """Ringback, busy or reorder tone after the answer."""
    MACHINE = "machine"
    """Not a person, and nothing told of which kind: without a transcript timing alone cannot."""
    NOTHING = "nothing"
    """Nothing was heard."""
    UNCERTAIN = "uncertain"
    """An honest answer; counts as a person unless a policy says otherwise."""

    @property
    def is_machine(self) -> bool:
        """No person is on the line and none is about to be (screening is a person's)."""
        return self not in {Kind.PERSON, Kind.SCREENING, Kind.NOTHING, Kind.UNCERTAIN}


class Stage(enum.Enum):
    """How much a verdict is worth."""

    FIRST = "first"
    """Early, for the agent; it may be revised and nothing is done to the callee on its account."""
    FINAL = "final"
    """The one that a policy acts on."""
    REVISED = "revised"
    """After the final one: a person has picked up, or a machine's kind has become known."""


class ToneKind(enum.Enum):
    """Tones that are told apart."""

    BEEP = "beep"
    SIT = "sit"
    """The three special information tones; `detail` is their class: IC, VC, RO', RO'', NC', NC'', or empty."""
    BUSY = "busy"
    REORDER = "reorder"
    """Congestion."""
    RINGBACK = "ringback"
    """`detail`: the countries whose pattern it is, ISO 3166-1 alpha-2, separated by commas."""
    FAX_CNG = "fax_cng"
    """A calling fax: 1100 Hz, 0.5 s every 3.5 s."""
    FAX_CED = "fax_ced"
    """An answering fax or modem: 2100 Hz (ITU-T T.30, V.25)."""
    MODEM = "modem"
    """An answering modem: 2225 Hz (Bell 103)."""
    DTMF = "dtmf"
    """`detail`: the digit."""
    OTHER = "other"
    """A tone of no known meaning: too long for a beep, hold music's organ ..."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody or something begins to speak."""

    at_s: float
    told_s: float
    """The end of the audio that had been fed when it was told; so for all events."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A stretch of speech is over: a pause follows that no packet loss explains."""

    began_s: float
    ended_s: float
    told_s: float


@dataclass(frozen=True, slots=True)
class Tone:
    """A tone or tone pattern is over, or (call progress, CED) has gone on for long enough to be sure."""

    kind: ToneKind
    began_s: float
    ended_s: float
    told_s: float
    frequencies_hz: tuple[float, ...] = ()
    """In order of time for SIT and chirps, ascending for tones at once."""
    level_dbm0: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PhraseHeard:
    """Words of a transcript that tell what speaks."""

    kind: Kind
    language: str
    """ISO 639-1."""
    phrase: str
    """As it is in the table of phrases."""
    at_s: float
    told_s: float


@dataclass(frozen=True, slots=True)
class WordsHeard:
    """A final piece of a transcript, passed on until the final verdict. Personal: not to be stored."""

    text: str
    language: str | None
    """ISO 639-1, if the recogniser says so."""
    told_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who or what answered, how sure that is, and why."""

    stage: Stage
    kind: Kind
    machine_probability: float
    """That no person is on the line, 0 to 1; calibrated on the training half of the corpus."""
    told_s: float
    rule: str
    """What decided: `timing`, `beep`, `phrase`, `fax`, `sit`, `progress`, `silence`, `person_after_machine`, `time_limit`."""
    evidence: Mapping[str, Fact] = field(default_factory=dict)
    """Features and findings that it rests on, by name, with units in the names."""


DetectorEvent = SpeechStarted | SpeechEnded | Tone | PhraseHeard | WordsHeard | Verdict


class Pace(enum.Enum):
    """When a verdict is given."""

    CAREFUL = "careful"
    """The default: told early, acted on late."""
    FAST = "fast"
    """Final verdicts earlier, with more errors on both sides."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """How one call's detector decides."""

    sensitivity: float = 0.5
    """0 to 1: how readily it says machine; the two errors over it are a curve of the benchmark."""
    pace: Pace = Pace.CAREFUL
    final_after_speech_s: float = 6.5
    """A final verdict is given at the latest so long after the first speech,"""
    final_after_answer_s: float = 10.0
    """and so long after the answer."""
    beep_wait_s: float = 60.0
    """After a machine's verdict it goes on listening for a beep, and for a person who picks up, for at most so long."""
