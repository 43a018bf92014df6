"""One recording going through a detector, and what it tells in words and as documents. Knows no command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from enum import Enum

from orchestrator.cli.recordings import Recording
from orchestrator.cli.words import clean
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import (
    DetectorEvent,
    DetectorSettings,
    Fact,
    PhraseHeard,
    SpeechEnded,
    SpeechStarted,
    Tone,
    Verdict,
    WordsHeard,
)

CUT_OFF_S = 0.05
"""A file shorter than its header says, by more than this, was cut off."""


class Hearing:
    """One recording going through a detector; iterate to hear it."""

    def __init__(self, recording: Recording, *, settings: DetectorSettings, answered_at_s: float, keep_trace: bool) -> None:
        self.recording = recording
        self.events: list[DetectorEvent] = []
        self._answered_at_s = answered_at_s
        self.detector = CallDetector(sample_rate_hz=recording.sample_rate_hz, settings=settings, keep_trace=keep_trace)

    def __iter__(self) -> Iterator[DetectorEvent]:
        for event in self._stream():
            self.events.append(event)
            yield event

    def _stream(self) -> Iterator[DetectorEvent]:
        detector = self.detector
        answer_after = round(self._answered_at_s * self.recording.sample_rate_hz)
        """Samples that are still early media."""
        if answer_after <= 0:
            yield from detector.answer()
        for block in self.recording.blocks:
            if 0 < answer_after <= len(block):
                yield from detector.feed(block[:answer_after])
                yield from detector.answer()
                block = block[answer_after:]
                answer_after = 0
            elif answer_after > 0:
                answer_after -= len(block)
            yield from detector.feed(block)
        yield from detector.finish()

    @property
    def verdict(self) -> Verdict | None:
        """The last one; None: the recording is over before its answer."""
        return self.detector.verdict

    def lines(self) -> list[str]:
        """The timeline and the verdict, for people."""
        recording, heard_s = self.recording, self.detector.now_s
        channels = {1: "mono", 2: "stereo"}.get(recording.channels, f"{recording.channels} channels")
        lines = [f"{clean(recording.name)}: {heard_s:.2f} s, {recording.sample_rate_hz} Hz, {channels}"]
        if recording.length_s is not None and heard_s < recording.length_s - CUT_OFF_S:
            lines.append(f"  cut off: its header says {recording.length_s:.2f} s")
        lines += [line_of(event) for event in sorted(self.events, key=_begins_s)]
        verdict = self.verdict
        if verdict is None:
            return [*lines, "verdict: none; the recording ends before the answer"]
        sure = f"machine {verdict.machine_probability:.3f}"
        lines.append(f"verdict: {verdict.kind.value}, {sure}, told at {verdict.told_s:.2f} s, rule {verdict.rule}")
        return lines + [f"  {name:<28} {_fact(value)}" for name, value in verdict.evidence.items()]

    def document(self) -> dict[str, object]:
        """The same for programs."""
        recording = self.recording
        return {
            "file": recording.name,
            "duration_s": round(self.detector.now_s, 3),
            "sample_rate_hz": recording.sample_rate_hz,
            "channels": recording.channels,
            "header_duration_s": None if recording.length_s is None else round(recording.length_s, 3),
            "events": [document_of(event) for event in self.events],
            "verdict": None if self.verdict is None else document_of(self.verdict),
        }


def document_of(event: DetectorEvent) -> dict[str, object]:
    """An event as a JSON object: its name as `event`, and its fields; enums as their values."""
    document: dict[str, object] = {"event": _NAMES[type(event)]}
    for field in fields(event):
        document[field.name] = _plain(getattr(event, field.name))
    return document


def line_of(event: DetectorEvent) -> str:
    """An event as a line of the timeline."""
    match event:
        case SpeechStarted():
            text = "speech begins"
        case SpeechEnded():
            text = f"speech ends, {event.ended_s - event.began_s:.2f} s"
        case Tone():
            frequencies = "+".join(f"{frequency:.0f}" for frequency in event.frequencies_hz)
            parts = (event.kind.value, event.detail, f"{frequencies} Hz" if frequencies else "")
            text = f"tone: {' '.join(part for part in parts if part)}, {event.ended_s - event.began_s:.2f} s"
        case PhraseHeard():
            text = f"phrase: {event.phrase!r} ({event.language}, {event.kind.value})"
        case WordsHeard():
            text = f"words: {clean(event.text)}"
        case Verdict():
            text = f"{event.stage.value} verdict: {event.kind.value}, machine {event.machine_probability:.3f} ({event.rule})"
    return f"{_begins_s(event):8.2f}  {text}"


def _begins_s(event: DetectorEvent) -> float:
    match event:
        case SpeechStarted() | PhraseHeard():
            return event.at_s
        case SpeechEnded():
            return event.ended_s
        case Tone():
            return event.began_s
        case WordsHeard() | Verdict():
            return event.told_s


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value


def _fact(value: Fact) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


_NAMES = {
    SpeechStarted: "speech_started",
    SpeechEnded: "speech_ended",
    Tone: "tone",
    PhraseHeard: "phrase",
    WordsHeard: "words",
    Verdict: "verdict",
}
