"""A clip in the making: voices and tones are put on a time line, and the label is read off what was put there."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from sip.voicemail.events import Kind, ToneKind
from tests.bench.detection import sounds, speech
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Half, ToneLabel, Word
from tests.bench.detection.script import LANGUAGES, Line, Script
from tests.bench.detection.speech import Samples, Voice

MOST_S = 16.0
LEAST_S = 12.0
HOP_S = 0.01
BRIDGED_S = 0.2
"""Shorter pauses within speech are part of it: stops, commas."""
UTTERANCE_PAUSE_S = 0.5


class Scene:
    """Who says what when in one clip, from the answer on."""

    def __init__(self, *, half: Half, language: str, voice: Voice, rng: np.random.Generator) -> None:
        self.half = half
        self.language = language
        self.voice = voice
        self.rng = rng
        self.script = Script(half=half, language=language if language in LANGUAGES else "en", rng=rng)
        self.kind = Kind.NOTHING
        self.hard_cases: list[str] = []
        self.answer_end_s: float | None = None
        self.greeting_end_s: float | None = None
        self.person_from_s: float | None = None
        self.wants_babble = False
        """People talk in the background, and nobody else."""
        self.ends_s = LEAST_S
        """Anything put later than that makes the clip longer, up to MOST_S."""
        self.words: list[Word] = []
        self.tones: list[ToneLabel] = []
        self.texts: list[str] = []
        self.prompt_ids: list[str] = []
        self.voices: set[str] = set()
        self.languages: set[str] = set()
        room = sounds.samples_of(MOST_S)
        self._speech = np.zeros(room, np.float32)
        self._network = np.zeros(room, np.float32)

    def between(self, low: float, high: float) -> float:
        """A number between two."""
        return float(self.rng.uniform(low, high))

    def about(self, median: float, sigma: float, *, low: float, high: float) -> float:
        """A time around a median, log-normal, within bounds."""
        return float(np.clip(self.rng.lognormal(np.log(median), sigma), low, high))

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return bool(self.rng.random() < probability)

    def say(self, purpose: str, *, at_s: float, breath_s: float = 0.35, voice: Voice | None = None) -> float:
        """Say something for a purpose; the time when it ends."""
        return self.say_line(self.script.line(purpose), at_s=at_s, breath_s=breath_s, voice=voice)

    def say_line(self, line: Line, *, at_s: float, breath_s: float = 0.35, voice: Voice | None = None) -> float:
        """Say a line, with pauses of about `breath_s` between its breaths; the time when it ends."""
        speaker = voice or self.voice
        self.prompt_ids.append(line.pattern)
        for index, breath in enumerate(line.breaths):
            if index:
                at_s += self.about(breath_s, 0.3, low=0.1, high=1.6)
            at_s = self._put_voice(speech.speak(breath, voice=speaker), breath, speaker, at_s=at_s)
        return at_s

    def length_s(self, line: Line, *, breath_s: float = 0.22) -> float:
        """How long a line takes in the scene's voice."""
        spoken = sum(speech.speak(breath, voice=self.voice).size for breath in line.breaths)
        return spoken / SAMPLE_RATE_HZ + breath_s * (len(line.breaths) - 1)

    def line_of(self, purpose: str, *, least_s: float, most_s: float) -> Line:
        """A line that takes so long; when none is found, the scene's voice speaks slower or faster."""
        for _ in range(4):
            line = self.script.line(purpose)
            length_s = self.length_s(line)
            if least_s <= length_s <= most_s:
                return line
        for _ in range(6):
            factor = length_s / ((least_s + most_s) / 2)
            pace = int(np.clip(self.voice.words_per_minute * factor, 100, 320))
            self.voice = dataclasses.replace(self.voice, words_per_minute=pace)
            length_s = self.length_s(line)
            if least_s <= length_s <= most_s:
                break
            line = self.script.line(purpose)
            length_s = self.length_s(line)
        return line

    def play(self, prompt: str, *, at_s: float, words: str = "") -> float:
        """Play a recorded prompt of the scene's (recorded) voice; the time when it ends."""
        self.prompt_ids.append(prompt)
        return self._put_voice(speech.recorded(self.voice.speaker, prompt), words, self.voice, at_s=at_s, name=prompt)

    def can_play(self, prompt: str) -> bool:
        """Whether the scene's recorded voice has a prompt."""
        return (speech.PROMPTS / self.voice.speaker / f"{prompt}.wav").exists()

    def label_tone(
        self, kind: ToneKind, *, began_s: float, ended_s: float, frequencies_hz: tuple[float, ...], detail: str = ""
    ) -> None:
        """Say which tone has been put in."""
        rounded = tuple(round(frequency, 1) for frequency in frequencies_hz)
        self.tones.append(ToneLabel(kind, round(began_s, 4), round(ended_s, 4), rounded, detail))

    def cut(self, *, at_s: float) -> float:
        """Nothing that was put later than that is heard, tones excepted that ended; the time of the cut."""
        begin = sounds.samples_of(at_s)
        self._speech[begin:] = 0
        self._network[begin:] = 0
        self.words = [word for word in self.words if word.ended_s <= at_s]
        return at_s

    def _put_voice(self, samples: Samples, text: str, voice: Voice, *, at_s: float, name: str = "") -> float:
        ended_s = at_s + samples.size / SAMPLE_RATE_HZ
        if at_s >= MOST_S:
            return ended_s
        self._add(self._speech, samples, at_s)
        self.voices.add(voice.name)
        self.languages.add(voice.language)
        self.texts.append(name or text)
        words = text.split()
        letters = np.array([len(word) + 1 for word in words], float)
        edges = at_s + np.concatenate([[0.0], np.cumsum(letters) / max(letters.sum(), 1)]) * (ended_s - at_s)
        for word, began, ended in zip(words, edges, edges[1:], strict=False):
            if ended <= MOST_S:
                self.words.append(Word(text=word, began_s=round(float(began), 3), ended_s=round(float(ended), 3)))
        return ended_s

    def sound(
        self,
        samples: Samples,
        *,
        at_s: float,
        kind: ToneKind | None,
        gain_db: float = 0.0,
        frequencies_hz: tuple[float, ...] = (),
        detail: str = "",
        ended_s: float | None = None,
    ) -> float:
        """Put a tone (or, without kind, music) beside the voice's level; the time when it ends."""
        self._add(self._network, samples * np.float32(10 ** (gain_db / 20)), at_s)
        stops_s = at_s + samples.size / SAMPLE_RATE_HZ
        if kind is not None and at_s < MOST_S:
            began, ended = max(0.0, at_s), min(stops_s if ended_s is None else ended_s, MOST_S)
            self.label_tone(kind, began_s=began, ended_s=ended, frequencies_hz=frequencies_hz, detail=detail)
        return stops_s

    def _add(self, track: Samples, samples: Samples, at_s: float) -> None:
        begin = sounds.samples_of(at_s)
        if begin < 0:
            samples, begin = samples[-begin:], 0
        piece = samples[: max(0, track.size - begin)]
        track[begin : begin + piece.size] += piece

    def begin(self, *, median_s: float = 0.55, sigma: float = 0.75, most_s: float = 2.4) -> float:
        """When the callee's side begins to speak: the same draw for people and machines. Sets what is heard before it."""
        draw = self.rng.random()
        if draw < 0.025:
            return -self.between(0.02, 0.2)
        if draw < 0.045:
            self.hard_cases.append("ringback_first")
            return self._ringback_first()
        at_s = self.about(median_s, sigma, low=0.06, high=most_s)
        if draw < 0.1:
            at_s = max(at_s, 0.25)
            self._residue(until_s=self.between(0.1, at_s - 0.1))
        elif draw < 0.17:
            self.hard_cases.append("late")
            at_s = self.between(2.0, 4.0)
        if self.chance(0.3):
            click = sounds.coloured_noise(sounds.samples_of(self.between(0.002, 0.02)), slope=0.5, rng=self.rng)
            self.sound(click, at_s=self.between(0.0, max(0.01, at_s - 0.05)), kind=None, gain_db=self.between(-12, 2))
        return at_s

    def _country(self, table: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]) -> str:
        return str(self.rng.choice(list(table)))

    def _residue(self, *, until_s: float) -> None:
        frequencies, _ = sounds.RINGBACK[self._country(sounds.RINGBACK)]
        gain_db = self.between(-8, 3)
        self.sound(
            sounds.tone(frequencies, until_s), at_s=0.0, kind=ToneKind.RINGBACK, gain_db=gain_db, frequencies_hz=frequencies,
            detail="residue",
        )  # fmt: skip

    def _ringback_first(self) -> float:
        frequencies, pattern = sounds.RINGBACK[country := self._country(sounds.RINGBACK)]
        length_s = min(sum(pattern) + pattern[0], 7.0) if sum(pattern) > 3.5 else sum(pattern) * 2
        samples, ended_s = sounds.cadence(frequencies, pattern, length_s)
        gain_db = self.between(-8, 3)
        self.sound(
            samples,
            at_s=0.0,
            kind=ToneKind.RINGBACK,
            gain_db=gain_db,
            frequencies_hz=frequencies,
            detail=country,
            ended_s=ended_s,
        )
        return ended_s + self.between(0.3, 1.2)

    def active_hops(self) -> npt.NDArray[np.bool_]:
        """Per 10 ms of MOST_S: whether somebody speaks, 30 dB below the voice's level or louder; short pauses bridged."""
        hops = self._speech.reshape(-1, 80)
        active = np.array((hops.astype(np.float64) ** 2).mean(axis=1) > 1e-3, np.bool_)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
        for ended, began in zip(edges[1::2], edges[2::2], strict=False):
            if (began - ended) * HOP_S < BRIDGED_S:
                active[ended:began] = True
        return active

    def stretches(self, active: npt.NDArray[np.bool_], *, until_s: float) -> tuple[tuple[float, float], ...]:
        """Stretches of speech in seconds."""
        count = round(until_s / HOP_S)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], active[:count].astype(np.int8), [0]])))
        return tuple(
            (round(float(began) * HOP_S, 2), round(float(ended) * HOP_S, 2))
            for began, ended in zip(edges[::2], edges[1::2], strict=True)
            if ended - began >= 3
        )

    @property
    def duration_s(self) -> float:
        """How long the clip is."""
        return round(float(np.clip(self.ends_s, LEAST_S, MOST_S)), 1)

    def tracks(self) -> tuple[Samples, Samples]:
        """Voice and tones, as long as the clip."""
        count = sounds.samples_of(self.duration_s)
        return self._speech[:count], self._network[:count]
