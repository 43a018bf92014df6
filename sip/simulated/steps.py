"""What a callee can do, and the script that puts it in order.

A script is data: it says when the far end does what, what it sounds like, and what may be concluded from that without
listening. Whoever plays it (the simulated carrier, a stand-in for a SIP service) decides nothing. All times are seconds; each
step's `after_s` counts from the step before it, the first from the INVITE. A script whose last step does not end the call
belongs to a callee who does nothing more: rings on, stays on the line, or never responded at all.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sip.causes import HangupCause
from sip.events import Dialled


@dataclass(frozen=True, slots=True)
class Ring:
    """180 Ringing."""

    after_s: float


@dataclass(frozen=True, slots=True)
class StartEarlyMedia:
    """183 Session Progress with SDP, and audio from here on. Counts as ringing: LiveKit tells no 18x from another."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """200 OK."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """A final response other than 200; ends the dial."""

    after_s: float
    sip_code: int
    sip_reason: str
    q850_cause: int | None = None
    """Sent as `Reason: Q.850;cause=...`. LiveKit's SIP service does not pass it on."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers of the response, for whoever speaks SIP. LiveKit's SIP service 1.10 does not pass them on."""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The media server's SIP service does not take the dial: no INVITE is sent."""

    after_s: float
    text: str
    """Its error message."""


@dataclass(frozen=True, slots=True)
class PressDigit:
    """The callee presses a key."""

    after_s: float
    digit: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """BYE from the callee."""

    after_s: float


@dataclass(frozen=True, slots=True)
class LoseMedia:
    """The callee's audio packets stop; the SIP service notices `noticed_after_s` later, ends the leg and reports why."""

    after_s: float
    noticed_after_s: float


@dataclass(frozen=True, slots=True)
class LoseLeg:
    """The leg is gone, and nobody says why."""

    after_s: float


Step = Ring | StartEarlyMedia | Answer | Refuse | NotTaken | PressDigit | HangUp | LoseMedia | LoseLeg
ENDS = (Refuse, NotTaken, HangUp, LoseMedia, LoseLeg)
"""Steps after which there is no leg."""


class SoundKind(enum.Enum):
    """What can be heard; `sip.simulated.audio` makes it."""

    SILENCE = "silence"
    SPEECH = "speech"
    """A voice without sense: enough for energy and timing, not words."""
    RINGBACK = "ringback"
    BUSY = "busy"
    SIT = "sit"
    """The three special information tones before an announcement."""
    FAX_CNG = "fax_cng"
    FAX_CED = "fax_ced"
    BEEP = "beep"


@dataclass(frozen=True, slots=True)
class Sound:
    """One stretch of audio. It keeps its own pace when its script is made faster: a shorter beep would be another beep."""

    kind: SoundKind
    duration_s: float


@dataclass(frozen=True, slots=True)
class Words:
    """What a transcriber makes of the audio, once it has heard it."""

    at_s: float
    """Since the answer; like sounds it keeps its pace when its script is made faster."""
    text: str
    language: str = "en"
    """ISO 639-1."""


@dataclass(frozen=True, slots=True)
class Promise:
    """How a call to this callee ends, as far as it can be seen without listening."""

    cause: HangupCause
    """ORDERED: the callee never hangs up; the simulated agent ends the call on purpose."""
    end_reason: str
    """The orchestrator's end reason, by name."""
    dialled: Dialled = Dialled.YES
    sip_code: int | None = None
    only_on_expiry: bool = False
    """Such a result sends the call back to the queue, since no phone rang; it ends so when it expires."""


@dataclass(frozen=True, slots=True)
class Script:
    """What one callee does."""

    name: str
    sentence: str
    """For the documentation: what the callee does."""
    steps: tuple[Step, ...]
    promise: Promise
    early_audio: tuple[Sound, ...] = ()
    """From StartEarlyMedia to the answer; then silence."""
    audio: tuple[Sound, ...] = ()
    """From the answer; then silence."""
    words: tuple[Words, ...] = ()
    """What is said in `audio`, where somebody transcribes it."""
    agent_ends_after_s: float | None = None
    """How long after the answer the simulated agent ends the call on purpose; None: the callee hangs up first."""

    def timeline(self) -> Iterator[tuple[float, Step]]:
        """Each step with its time since the INVITE in seconds."""
        at_s = 0.0
        for step in self.steps:
            at_s += step.after_s
            yield at_s, step

    @property
    def rings_at_s(self) -> float | None:
        """When the first 18x comes, seconds since the INVITE; None: it never rings."""
        return next((at_s for at_s, step in self.timeline() if isinstance(step, Ring | StartEarlyMedia)), None)

    @property
    def early_media_at_s(self) -> float | None:
        """When audio before the answer begins, seconds since the INVITE."""
        return next((at_s for at_s, step in self.timeline() if isinstance(step, StartEarlyMedia)), None)

    @property
    def answers_at_s(self) -> float | None:
        """When the 200 comes, seconds since the INVITE; None: it is never answered."""
        return next((at_s for at_s, step in self.timeline() if isinstance(step, Answer)), None)

    @property
    def ends_at_s(self) -> float | None:
        """When the far end ends it, seconds since the INVITE; None: it never does."""
        for at_s, step in self.timeline():
            if isinstance(step, LoseMedia):
                return at_s + step.noticed_after_s
            if isinstance(step, ENDS):
                return at_s
        return None

    @property
    def ring_s(self) -> float | None:
        """How long it rings before the answer or refusal; None: it does not ring, or it rings until the caller gives up."""
        until_s = self.answers_at_s if self.answers_at_s is not None else self.ends_at_s
        if self.rings_at_s is None or until_s is None:
            return None
        return until_s - self.rings_at_s

    @property
    def talk_s(self) -> float | None:
        """From the answer to the end by callee or agent; None: never answered, or neither of them ends it."""
        if self.answers_at_s is None:
            return None
        if self.agent_ends_after_s is not None:
            return self.agent_ends_after_s
        return None if self.ends_at_s is None else self.ends_at_s - self.answers_at_s

    def faster(self, factor: float) -> Script:
        """The same callee `factor` times as fast. Sounds keep their pace.

        Mind the pre-connect rule: with less ring than the trunk's `min_ring_s` a 480 reads as unreachable.
        """
        if not factor > 0:
            raise ValueError(f"factor must be above 0, not {factor}")
        return replace(
            self,
            steps=tuple(_faster(step, factor) for step in self.steps),
            agent_ends_after_s=None if self.agent_ends_after_s is None else self.agent_ends_after_s / factor,
        )


def _faster(step: Step, factor: float) -> Step:
    if isinstance(step, LoseMedia):
        return replace(step, after_s=step.after_s / factor, noticed_after_s=step.noticed_after_s / factor)
    return replace(step, after_s=step.after_s / factor)
