"""Makes one clip of one order: draws channel and voice, lets the scenario play, and reads the label off the scene."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from sip.voicemail.events import Kind
from tests.bench.detection import others, sounds, speech
from tests.bench.detection.channel import Channel, draw_channel, transmit
from tests.bench.detection.labels import LONG_ANSWER_S, Clip, Half, Label, Part
from tests.bench.detection.plan import Order
from tests.bench.detection.scene import UTTERANCE_PAUSE_S, Scene
from tests.bench.detection.script import LANGUAGES, Script
from tests.bench.detection.speech import Samples, Voice

BABBLE_S = 40.0


@functools.cache
def babble_of(half: Half, seed: int) -> Samples:
    """People talking at once, RMS 1."""
    rng = np.random.default_rng([seed, 77, list(Half).index(half)])
    room = np.zeros(sounds.samples_of(BABBLE_S), np.float32)
    for _ in range(6):
        voice = speech.draw_voice(half=half, language="en", rng=rng)
        script = Script(half=half, language="en", rng=rng)
        at, gain = int(rng.integers(0, 8000)), float(rng.uniform(0.4, 1.0))
        while at < room.size - 8000:
            for breath in script.line(str(rng.choice(["personal", "menu", "business_long", "answer"]))).breaths:
                piece = speech.speak(breath, voice=voice)[: max(0, room.size - at)] * np.float32(gain)
                room[at : at + piece.size] += piece
                at += piece.size + int(rng.integers(400, 8000))
    return speech.floats(room / np.sqrt((room.astype(np.float64) ** 2).mean()))


def _voice(order: Order, rng: np.random.Generator) -> Voice:
    if order.scenario.startswith("recorded_"):
        speakers = speech.RECORDED_SPEAKERS[order.half]
        language, speaker = speakers[int(rng.integers(len(speakers)))]
        return Voice(engine="recorded", speaker=speaker, language=language)
    language = str(rng.choice(list(LANGUAGES), p=np.array(list(LANGUAGES.values())) / sum(LANGUAGES.values())))
    return speech.draw_voice(half=order.half, language=language, rng=rng)


def make(order: Order, *, seed: int) -> Clip:
    """One clip."""
    rng = np.random.default_rng([seed, order.number, 1])
    channel = draw_channel(rng=np.random.default_rng([seed, order.number, 2]), clean=order.clean)
    voice = _voice(order, rng)
    scene = Scene(half=order.half, language=voice.language, voice=voice, rng=rng)
    plays = others.EXTRA[order.scenario][1] if order.part is Part.EXTRA else others.MAIN[order.group][order.scenario][1]
    plays(scene)
    babble = babble_of(order.half, seed) if scene.wants_babble or channel.noise == "babble" else np.zeros(0, np.float32)
    near, network = scene.tracks()
    active = scene.active_hops()
    if scene.wants_babble:
        begin = int(rng.integers(0, babble.size - near.size))
        near = near + babble[begin : begin + near.size]
        if channel.noise == "babble":
            babble = babble[::-1].copy()
    noise_rng = np.random.default_rng([seed, order.number, 3])
    samples = transmit(near, network, active=active, channel=channel, babble=babble, half=order.half, rng=noise_rng)
    return Clip(label=label_of(order, scene=scene, channel=channel), samples=samples)


def label_of(order: Order, *, scene: Scene, channel: Channel) -> Label:
    """What the scene and its channel say of the clip."""
    duration_s = scene.duration_s
    stretches = scene.stretches(scene.active_hops(), until_s=duration_s)
    first_s = stretches[0][0] if stretches else None
    utterance_end_s = None
    for began_s, ended_s in stretches:
        if utterance_end_s is not None and began_s - utterance_end_s >= UTTERANCE_PAUSE_S:
            break
        utterance_end_s = ended_s
    answer_end_s = _within(scene.answer_end_s, stretches)
    lasts_s = answer_end_s - first_s if answer_end_s is not None and first_s is not None else 0.0
    cases = list(scene.hard_cases)
    if stretches and channel.level_dbm0 < -30:
        cases.append("soft")
    if stretches and channel.snr_db < 14:
        cases.append("noisy")
    return Label(
        clip_id=order.clip_id, half=order.half, part=order.part, kind=scene.kind, scenario=order.scenario,
        hard_cases=tuple(cases), is_long=scene.kind is Kind.PERSON and lasts_s >= LONG_ANSWER_S,
        duration_s=duration_s, first_speech_s=first_s,
        first_utterance_end_s=utterance_end_s, answer_end_s=answer_end_s,
        greeting_end_s=_within(scene.greeting_end_s, stretches), person_from_s=scene.person_from_s, speech=stretches,
        words=tuple(word for word in scene.words if word.ended_s <= duration_s),
        tones=tuple(tone for tone in scene.tones if tone.began_s < duration_s), texts=tuple(scene.texts),
        prompt_ids=tuple(scene.prompt_ids), voices=tuple(sorted(scene.voices)), language=scene.language if scene.voices else "",
        codec=channel.codec, loss=channel.loss, level_dbm0=channel.level_dbm0, noise=channel.noise, snr_db=channel.snr_db,
        is_clean=channel.is_clean,
    )  # fmt: skip


def _within(end_s: float | None, stretches: Sequence[tuple[float, float]]) -> float | None:
    """The end of the last stretch of speech that begins before a time."""
    if end_s is None:
        return None
    ends = [ended for began, ended in stretches if began < end_s]
    return ends[-1] if ends else None
