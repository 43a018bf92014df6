"""Runs the detectors over clips, fed as a live call is, and keeps what they told. Judges nothing."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorEvent, DetectorSettings, Kind, Pace, Stage, Tone, Verdict
from sip.voicemail.framing import Framer
from sip.voicemail.spectrum import SpectrumAnalyser
from sip.voicemail.tones import ToneDetector
from tests.bench.detection import cadence
from tests.bench.detection.cadence import CadenceVerdict
from tests.bench.detection.corpus import load_clips
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Clip, Label
from tests.bench.detection.recogniser import Piece, recognised

BLOCK = SAMPLE_RATE_HZ // 10
SENSITIVITIES = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run the call detector."""

    pace: Pace
    words: bool
    sensitivity: float = 0.5

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.pace.value}, {'with' if self.words else 'without'} transcripts"


CAREFUL = Way(Pace.CAREFUL, words=False)
WAYS = (CAREFUL, Way(Pace.CAREFUL, words=True), Way(Pace.FAST, words=False), Way(Pace.FAST, words=True))


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict, as far as it is counted."""

    kind: Kind
    machine_probability: float
    told_s: float
    rule: str


@dataclass(slots=True)
class Heard:
    """What one way told of one clip."""

    first: Told | None = None
    final: Told | None = None
    revised: list[Told] = field(default_factory=list)
    tones: list[Tone] = field(default_factory=list)
    """What the call's detector told: it stops listening when its work is done."""


@dataclass(slots=True)
class Trial:
    """All that was told of one clip."""

    label: Label
    cadence: CadenceVerdict
    heard: dict[Way, Heard]
    tones: list[Tone]
    """What the tone detectors alone told, over the whole clip."""
    cpu_s: float
    """Of CAREFUL without transcripts,"""
    listened_s: float
    """over so much audio: until the detector's work was done."""


def hear(clip: Clip, way: Way, *, seed: int, to_the_end: bool = False) -> tuple[Heard, float, float]:
    """Feed a clip in blocks of 100 ms until the final verdict, or to the end; also CPU seconds and seconds of audio."""
    detector = CallDetector(
        sample_rate_hz=SAMPLE_RATE_HZ, settings=DetectorSettings(pace=way.pace, sensitivity=way.sensitivity)
    )
    pieces = recognised(clip.label, seed=seed) if way.words else []
    heard = Heard()
    began_s = time.thread_time()
    _note(detector.answer(), heard)
    for events in fed(detector, clip, pieces=pieces):
        _note(events, heard)
        if detector.is_done or (heard.final is not None and not to_the_end):
            break
    listened_s = detector.now_s
    _note(detector.finish(), heard)
    return heard, time.thread_time() - began_s, listened_s


def fed(detector: CallDetector, clip: Clip, *, pieces: Sequence[Piece]) -> Iterator[list[DetectorEvent]]:
    """Feed a clip in blocks of 100 ms, and the pieces of its transcript at their times; what each block brings."""
    language = clip.label.language or None
    at = 0
    for begin in range(0, clip.samples.size, BLOCK):
        events = detector.feed(clip.samples[begin : begin + BLOCK])
        while at < len(pieces) and pieces[at].at_s <= detector.now_s:
            events += detector.hear_words(pieces[at].text, language=language, final=pieces[at].final)
            at += 1
        yield events


def _note(events: Sequence[DetectorEvent], heard: Heard) -> None:
    for event in events:
        if isinstance(event, Tone):
            heard.tones.append(event)
        elif isinstance(event, Verdict):
            told = Told(event.kind, event.machine_probability, event.told_s, event.rule)
            heard.first = heard.first or told
            if event.stage is Stage.FINAL and heard.final is None:
                heard.final = told
            elif event.stage is Stage.REVISED:
                heard.revised.append(told)


def tones_of(clip: Clip) -> list[Tone]:
    """What the tone detectors tell, whatever the verdict on the call is."""
    framer, spectrum, detector = Framer(sample_rate_hz=SAMPLE_RATE_HZ), SpectrumAnalyser(), ToneDetector()
    tones: list[Tone] = []
    for begin in range(0, clip.samples.size, BLOCK):
        hops = framer.feed(clip.samples[begin : begin + BLOCK])
        if len(hops):
            tones += detector.feed(hops, spectrum.analyse(hops))
    return tones


def attempt(clip: Clip, *, seed: int, curve: bool) -> Trial:
    """All ways over one clip; the curve's sensitivities too if asked for."""
    careful, cpu_s, listened_s = hear(clip, CAREFUL, seed=seed, to_the_end=True)
    heard = {CAREFUL: careful}
    for way in WAYS[1:]:
        heard[way], _, _ = hear(clip, way, seed=seed, to_the_end=way.words and way.pace is Pace.CAREFUL)
    if curve:
        for sensitivity in SENSITIVITIES:
            way = Way(Pace.CAREFUL, words=False, sensitivity=sensitivity)
            heard[way] = heard.get(way) or hear(clip, way, seed=seed)[0]
    return Trial(
        label=clip.label,
        cadence=cadence.judge(clip.samples),
        heard=heard,
        tones=tones_of(clip),
        cpu_s=cpu_s,
        listened_s=listened_s,
    )


@dataclass(frozen=True, slots=True)
class Share:
    """One process's share of a half."""

    half: str
    size: str
    seed: int
    every: int
    start: int
    curve_every: int
    """The curve is drawn from each so-manyth clip of the main part; 0: no curve."""


def _attempt_share(share: Share) -> list[Trial]:
    trials = []
    clips = load_clips(half=share.half, size=share.size, seed=share.seed, every=share.every, start=share.start)
    for index, clip in enumerate(clips):
        curve = bool(share.curve_every) and clip.label.part.value == "main" and index % share.curve_every == 0
        trials.append(attempt(clip, seed=share.seed, curve=curve))
    return trials


def attempt_all(*, half: str, size: str, seed: int, processes: int = 2, curve_every: int = 4, most: int = 0) -> list[Trial]:
    """All ways over all clips of a half, by some processes; `most`: only about so many clips."""
    chunks = processes * 16
    shares = [Share(half, size, seed, chunks, start, curve_every) for start in range(chunks)]
    if most:
        total = sum(1 for _ in load_clips(half=half, size=size, seed=seed))
        shares = shares[: max(1, round(len(shares) * most / total))]
    tried: list[Trial] = []
    with multiprocessing.get_context("spawn").Pool(processes, initializer=os.nice, initargs=(5,)) as pool:
        for trials in pool.imap(_attempt_share, shares):
            tried += trials
            print(f"\rlistened to {len(tried):,} clips", end="", file=sys.stderr, flush=True)
    return tried


def memory_per_stream_bytes(*, clips: Sequence[Clip]) -> float:
    """What a detector holds after each of these clips, in the mean: as Python's and numpy's allocators count."""
    import tracemalloc  # noqa: PLC0415 - tracing is switched on for this measurement alone

    warm = CallDetector(sample_rate_hz=SAMPLE_RATE_HZ, settings=DetectorSettings())
    warm.answer()
    warm.feed(clips[0].samples)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    detectors = []
    for clip in clips:
        detector = CallDetector(sample_rate_hz=48_000, settings=DetectorSettings())
        detector.answer()
        loud = np.repeat(clip.samples, 6)
        for begin in range(0, loud.size, BLOCK * 6):
            detector.feed(loud[begin : begin + BLOCK * 6])
        detectors.append(detector)
        del loud
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / len(detectors)
