"""What is known of a clip: who or what answered, when it spoke, which tones it gave, and how it was transmitted.

Times are seconds from the clip's first sample, which is the moment of the answer. Knows nothing of how clips are made.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sip.voicemail.events import Kind, ToneKind

SAMPLE_RATE_HZ = 8000
LONG_ANSWER_S = 3.0
"""A person's answer that lasts so long, from its first sound to the wait after it, is a long one (VOICEMAIL.md: business
answers of 3 to 5 s)."""


class Half(enum.Enum):
    """The halves share no voice and no text: one to learn and tune on, one to report."""

    TRAIN = "train"
    TEST = "test"


class Part(enum.Enum):
    """What a clip is for."""

    MAIN = "main"
    """Answers in realistic shares: what confusion and verdict times are counted on."""
    EXTRA = "extra"
    """Rare things in number: tones of each kind on clean and degraded lines, people who pick up late, music, babble."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word and about when it is said: within a breath, words share the time by their letters (some 0.1 s off)."""

    text: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class ToneLabel:
    """A tone that was put in. Patterns and series are one label, from the first tone's beginning to the last one's end."""

    kind: ToneKind
    began_s: float
    ended_s: float
    frequencies_hz: tuple[float, ...] = ()
    detail: str = ""
    """The class of information tones (IC, VC, RO', RO'', NC', NC''; empty for ITU-T's), the country of call progress
    tones, or `residue` for the end of a ringback that the answer cut off, which nobody need report."""


@dataclass(frozen=True, slots=True)
class Label:
    """All that is known of a clip."""

    clip_id: str
    half: Half
    part: Part
    kind: Kind
    """PERSON, VOICEMAIL, MAILBOX_FULL, MENU, SCREENING, ANNOUNCEMENT, FAX, CALL_PROGRESS, NOTHING; music on hold: MACHINE."""
    scenario: str
    hard_cases: tuple[str, ...]
    """Names of the hard cases that it belongs to."""
    is_long: bool
    """A person's long answer (LONG_ANSWER_S)."""
    duration_s: float
    first_speech_s: float | None
    first_utterance_end_s: float | None
    """End of what is said before the first pause of 0.5 s."""
    answer_end_s: float | None
    """People: end of the whole first answer, both breaths; after it they wait."""
    greeting_end_s: float | None
    """Machines: end of the last word of the greeting, as far as it is in the clip."""
    person_from_s: float | None
    """When a person picks up while a machine speaks."""
    speech: tuple[tuple[float, float], ...]
    """Stretches of speech; pauses of less than 0.2 s are bridged."""
    words: tuple[Word, ...]
    tones: tuple[ToneLabel, ...]
    texts: tuple[str, ...]
    """What was spoken, breath by breath: texts, or names of recorded prompts."""
    prompt_ids: tuple[str, ...]
    """The texts' patterns before names were put in."""
    voices: tuple[str, ...]
    language: str
    """ISO 639-1; empty when nothing speaks."""
    codec: str
    """pcmu, pcma, opus, pcmu+opus."""
    loss: float
    """Share of packets lost, 0 to 0.05."""
    level_dbm0: float
    """Of active speech, or of the tones when nothing speaks."""
    noise: str
    snr_db: float
    is_clean: bool
    """At least 30 dB above the noise, nothing lost, G.711 only, no softer than -28 dBm0."""

    @property
    def beeps(self) -> tuple[ToneLabel, ...]:
        """The beeps among the tones."""
        return tuple(tone for tone in self.tones if tone.kind is ToneKind.BEEP)

    def to_json(self) -> str:
        """One line of the index."""

        def plain(value: object) -> object:
            if isinstance(value, enum.Enum):
                return value.value
            raise TypeError(type(value))

        return json.dumps(dataclasses.asdict(self), default=plain, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Label:
        """The label of a line of the index."""
        raw = json.loads(line)
        raw["half"], raw["part"], raw["kind"] = Half(raw["half"]), Part(raw["part"]), Kind(raw["kind"])
        raw["speech"] = tuple((began, ended) for began, ended in raw["speech"])
        raw["words"] = tuple(Word(**word) for word in raw["words"])
        raw["tones"] = tuple(
            ToneLabel(**{**tone, "kind": ToneKind(tone["kind"]), "frequencies_hz": tuple(tone["frequencies_hz"])})
            for tone in raw["tones"]
        )
        for name in ("hard_cases", "texts", "prompt_ids", "voices"):
            raw[name] = tuple(raw[name])
        return cls(**raw)


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip: its label, and its mono samples at 8 kHz as int16."""

    label: Label
    samples: npt.NDArray[np.int16]
