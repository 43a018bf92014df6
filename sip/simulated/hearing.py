"""What listeners hear of a script: found out in advance by the real detectors, and told at its times.

The detectors' work on one script is done once and kept. Quiet is read off the script itself: every sound but silence is heard,
and the simulated agent, who makes none, never is. Numpy is imported here only when somebody wants to listen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sip.events import Heard, ListeningStarted, Moment, Quiet, RoomEvent, WentQuiet
from sip.leg import ListeningPlan
from sip.simulated.agenda import Agenda
from sip.simulated.audio import SAMPLE_RATE_HZ, frames
from sip.simulated.steps import LoseMedia, Script, Sound, SoundKind, Words
from sip.voicemail.events import DetectorEvent, DetectorSettings
from sip.voicemail.preconnect import EarlyMediaFinding, read_early_media

JOINS_AFTER_S = 0.3
"""The callee's track is heard so long after the dial, as on a real server."""
BLOCK_S = 0.1
SILENCE_BEFORE_S = 1.0
"""Of the stream before an answer without early media."""
LISTENS_ON_S = 20.0
"""After the script's last sound: the longest limit of a verdict is half of that."""
EARLY_AT_MOST_S = 75.0
"""No phone rings longer."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """What detectors tell of a script. Times of telling are seconds since the early media's beginning and the answer."""

    early: tuple[tuple[float, DetectorEvent], ...]
    answered_s: float
    """In the stream."""
    late: tuple[tuple[float, DetectorEvent], ...]


def hear(script: Script, settings: DetectorSettings) -> Hearing:
    """Run the detectors on a script's audio: some 0.1 s of CPU the first time."""
    early_s = 0.0
    if script.early_media_at_s is not None:
        over_at_s = script.answers_at_s if script.answers_at_s is not None else script.ends_at_s
        early_s = EARLY_AT_MOST_S if over_at_s is None else over_at_s - script.early_media_at_s
    answered = script.answers_at_s is not None
    return _hear(script.early_audio, round(early_s, 1), script.audio if answered else (), script.words, settings, answered)


@functools.lru_cache(maxsize=256)
def _hear(
    early_audio: tuple[Sound, ...],
    early_s: float,
    audio: tuple[Sound, ...],
    words: tuple[Words, ...],
    settings: DetectorSettings,
    answered: bool,
) -> Hearing:
    import numpy as np  # noqa: PLC0415  whoever does not listen does not need it

    from sip.voicemail.detector import CallDetector  # noqa: PLC0415

    detector = CallDetector(sample_rate_hz=SAMPLE_RATE_HZ, settings=settings)

    def feed(sounds: Sequence[Sound], lasts_s: float) -> Iterator[tuple[float, DetectorEvent]]:
        """Play the sounds, then silence, for so long in all."""
        began_s = detector.now_s
        waiting = list(words) if sounds is audio else []
        played = b"".join(frame.tobytes() for frame in frames(sounds, seed=repr(sounds)))
        samples = np.frombuffer(played, dtype=np.int16)[: round(lasts_s * SAMPLE_RATE_HZ)]
        samples = np.concatenate([samples, np.zeros(max(0, round(lasts_s * SAMPLE_RATE_HZ) - len(samples)), np.int16)])
        step = round(BLOCK_S * SAMPLE_RATE_HZ)
        for start in range(0, len(samples), step):
            events = detector.feed(samples[start : start + step])
            now_s = detector.now_s - began_s
            while waiting and waiting[0].at_s <= now_s:
                said = waiting.pop(0)
                events = [*events, *detector.hear_words(said.text, language=said.language, final=True)]
            yield from ((now_s, event) for event in events)
            if detector.is_done:
                return

    early = tuple(feed(early_audio, early_s or SILENCE_BEFORE_S))
    answered_s = detector.now_s
    if not answered:
        return Hearing(early=early, answered_s=answered_s, late=())
    at_once = tuple((0.0, event) for event in detector.answer())
    lasts_s = sum(sound.duration_s for sound in audio) + LISTENS_ON_S
    return Hearing(early=early, answered_s=answered_s, late=(*at_once, *feed(audio, lasts_s)))


def quiet_spells(script: Script, plan: ListeningPlan) -> Iterator[tuple[float, Quiet, float]]:
    """When somebody has been quiet for too long: seconds since the answer, who, for how long."""
    lost_at_s = next(
        (at_s - (script.answers_at_s or 0.0) for at_s, step in script.timeline() if isinstance(step, LoseMedia)), None
    )
    silent_since_s, at_s, spells = 0.0, 0.0, []
    for sound in script.audio:
        if lost_at_s is not None and at_s >= lost_at_s:
            break
        until_s = at_s + sound.duration_s if lost_at_s is None else min(lost_at_s, at_s + sound.duration_s)
        if sound.kind is not SoundKind.SILENCE:
            spells.append((silent_since_s, at_s))
            silent_since_s = until_s
        at_s = until_s
    spells.append((silent_since_s, float("inf")))
    for quiet, limit_s, is_repeated in (
        (Quiet.CALLEE_WARNING, plan.silence_warning_s, True),
        (Quiet.CALLEE, plan.silence_s, False),
        (Quiet.BOTH, plan.idle_s, False),
    ):
        if limit_s is None:
            continue
        found = [since_s + limit_s for since_s, until_s in spells if until_s - since_s >= limit_s]
        yield from ((told_s, quiet, limit_s) for told_s in (found if is_repeated else found[:1]))
    if plan.media_lost_s is not None and lost_at_s is not None:
        yield lost_at_s + plan.media_lost_s, Quiet.MEDIA, plan.media_lost_s


class SimulatedListener:
    """Tells what is heard in one room."""

    def __init__(self, *, plan: ListeningPlan, agenda: Agenda, tell: Callable[[RoomEvent], None]) -> None:
        self._plan = plan
        self._agenda = agenda
        self._tell = tell
        self._hearing: Hearing | None = None
        self._early_at_s: float | None = None
        self._gone = False

    def listen(self, script: Script, *, dialled_at_s: float) -> None:
        """Plan what will be told of a callee who was dialled then."""
        hearing = self._hearing = hear(script, self._plan.detector)
        self._at(dialled_at_s + JOINS_AFTER_S, lambda at_s: ListeningStarted(Moment(at_s)))
        early_at_s, answers_at_s = script.early_media_at_s, script.answers_at_s
        if early_at_s is not None:
            self._early_at_s = dialled_at_s + early_at_s
            for after_s, event in hearing.early:
                self._at(dialled_at_s + early_at_s + after_s, _heard(event, None))
        if answers_at_s is not None:
            for after_s, event in hearing.late:
                self._at(dialled_at_s + answers_at_s + after_s, _heard(event, hearing.answered_s))
            for after_s, quiet, for_s in quiet_spells(script, self._plan):
                self._at(dialled_at_s + answers_at_s + after_s, _quiet(quiet, for_s))

    def early_finding(self, at_s: float) -> EarlyMediaFinding | None:
        """What the audio before the answer has said by then; None: nothing, or there was none."""
        if self._gone or self._early_at_s is None or self._hearing is None:
            return None
        lasted_s = at_s - self._early_at_s
        return read_early_media([what for told_s, what in self._hearing.early if told_s <= lasted_s], ended_s=lasted_s)

    def leave(self) -> None:
        """Nothing more is told: its worker is gone."""
        self._gone = True

    def _at(self, due_s: float, event: Callable[[float], RoomEvent]) -> None:
        def tell(at_s: float) -> None:
            if not self._gone:
                self._tell(event(at_s))

        self._agenda.at(due_s, tell)


def _heard(what: DetectorEvent, answered_s: float | None) -> Callable[[float], RoomEvent]:
    return lambda at_s: Heard(at=Moment(at_s), what=what, answered_s=answered_s)


def _quiet(quiet: Quiet, for_s: float) -> Callable[[float], RoomEvent]:
    return lambda at_s: WentQuiet(at=Moment(at_s), quiet=quiet, for_s=for_s)
