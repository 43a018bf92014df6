"""The corpus keeps its promises: exact labels, halves that share nothing, the same clips each time. So do the cadence rules."""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from sip.voicemail.events import Kind, ToneKind
from tests.bench.detection import cadence, channel, making, opus, others, people, plan, script, sounds, speech
from tests.bench.detection.cadence import Said
from tests.bench.detection.labels import SAMPLE_RATE_HZ, Half, Label, Part, Word
from tests.bench.detection.recogniser import DELAY_S, recognised
from tests.bench.detection.scene import Scene
from tests.fixtures.livekit import NOTHING_SKIPPED

SEED = 5
NAMES = ("first", "last", "company")


def needs(missing: str) -> None:
    """Skip, and say why; where nothing may be skipped, fail."""
    reason = f"clips cannot be made here: {missing} is not installed (apt-get install espeak-ng flite libopus0)"
    if os.environ.get(NOTHING_SKIPPED) == "1":
        pytest.fail(f"{NOTHING_SKIPPED} is set, but: {reason}")
    pytest.skip(reason)


@pytest.fixture
def voices() -> None:
    if not shutil.which("espeak-ng"):
        needs("espeak-ng")
    if not shutil.which("flite"):
        needs("flite")


@pytest.fixture
def codec() -> None:
    try:
        opus.library()
    except opus.OpusMissing:
        needs("libopus0")


@pytest.fixture
def bursts(monkeypatch):
    """A voice whose every breath is 0.4 s of noise at RMS 1."""

    def burst(text: str, *, voice: speech.Voice) -> speech.Samples:
        return sounds.coloured_noise(3200, slope=0.0, rng=np.random.default_rng(len(text)))

    monkeypatch.setattr(speech, "speak", burst)


def scene_of(*, half: Half = Half.TRAIN, seed: int = 1) -> Scene:
    voice = speech.Voice(engine="espeak", speaker="f1", language="en", accent="en-us")
    return Scene(half=half, language="en", voice=voice, rng=np.random.default_rng(seed))


@functools.cache
def orders_of(half: Half) -> list[plan.Order]:
    return plan.orders(size=plan.FULL, half=half, seed=SEED)


def spoken_breaths(half: Half) -> set[str]:
    """All breaths of a half in all languages, those apart that are names and numbers only."""
    names = re.compile(r"\{\w+\}")
    lines = (
        line
        for language in script.LANGUAGES
        for purpose, lines in script.table(language)[half.value].items()
        if purpose not in NAMES
        for line in lines
    )
    breaths = (breath for line in lines for breath in line.split(script.BREATH))
    return {script.bare(breath) for breath in breaths if script.bare(names.sub("", breath))}


def test_the_halves_share_no_breath_of_any_text_in_any_language():
    train, test = spoken_breaths(Half.TRAIN), spoken_breaths(Half.TEST)
    assert len(train) > 300
    assert train.isdisjoint(test), train & test


@pytest.mark.parametrize("language", list(script.LANGUAGES))
def test_the_halves_share_no_name(language):
    train, test = (script.table(language)[half.value] for half in Half)
    assert set(train) == set(test)
    for purpose in NAMES:
        assert set(train[purpose]).isdisjoint(test[purpose])


def test_the_halves_share_no_voice_and_no_music():
    for speakers in (speech.ESPEAK_SPEAKERS, speech.FLITE_SPEAKERS, speech.RECORDED_SPEAKERS):
        train, test = (set(speakers[half]) for half in Half)
        assert train
        assert test
        assert train.isdisjoint(test)


def test_every_speaker_is_known_to_the_synthesiser(voices):
    listed = subprocess.run(["espeak-ng", "--voices=variant"], check=True, capture_output=True, text=True, timeout=60).stdout
    known = {line.split("!v/")[1][:21].strip() for line in listed.splitlines() if "!v/" in line}
    assert {name for names in speech.ESPEAK_SPEAKERS.values() for name in names} <= known


def test_the_full_corpus_is_as_large_as_it_is_said_to_be():
    train, test = orders_of(Half.TRAIN), orders_of(Half.TEST)
    assert len(train) + len(test) >= 5000
    main = [order for order in test if order.part is Part.MAIN]
    assert sum(order.group == "person" for order in main) >= 1500
    assert len({order.number for order in train + test}) == len(train) + len(test)


def test_one_person_in_fifteen_gives_a_long_answer_and_one_voicemail_in_nine_pauses_after_hello():
    main = [order for order in orders_of(Half.TEST) if order.part is Part.MAIN]
    persons = [order.scenario for order in main if order.group == "person"]
    voicemails = [order.scenario for order in main if order.group == "voicemail"]
    assert persons.count("business_long") == round(len(persons) / 15)
    assert voicemails.count("hello_pause") == pytest.approx(len(voicemails) / 9, abs=1)


def test_the_same_seed_orders_the_same_clips():
    assert orders_of(Half.TEST) == orders_of(Half.TEST)
    assert orders_of(Half.TEST) != plan.orders(size=plan.FULL, half=Half.TEST, seed=SEED + 1)


def test_labels_tell_when_speech_begins_and_ends(bursts):
    scene = scene_of()
    ended_s = scene.say_line(script.Line(pattern="", breaths=("one two",)), at_s=1.0)
    scene.say_line(script.Line(pattern="", breaths=("three",)), at_s=ended_s + 0.7)
    stretches = scene.stretches(scene.active_hops(), until_s=12.0)
    assert stretches == ((1.0, 1.4), (2.1, 2.5))
    assert [word.text for word in scene.words] == ["one", "two", "three"]
    assert scene.words[0].began_s == 1.0
    assert scene.words[1].ended_s == pytest.approx(1.4)


def test_short_pauses_are_part_of_speech(bursts):
    scene = scene_of()
    ended_s = scene.say_line(script.Line(pattern="", breaths=("one",)), at_s=0.5)
    scene.say_line(script.Line(pattern="", breaths=("two",)), at_s=ended_s + 0.15)
    assert scene.stretches(scene.active_hops(), until_s=12.0) == ((0.5, 1.45),)


def test_a_tone_is_where_its_label_says(bursts):
    scene = scene_of()
    ended_s = scene.sound(sounds.tone([1000], 0.3), at_s=2.0, kind=ToneKind.BEEP, frequencies_hz=(1000,))
    _, network = scene.tracks()
    loud = np.flatnonzero(np.abs(network) > 1e-3)
    (label,) = scene.tones
    assert ended_s == label.ended_s == 2.3
    assert loud[0] / SAMPLE_RATE_HZ == pytest.approx(label.began_s, abs=0.002)
    assert (loud[-1] + 1) / SAMPLE_RATE_HZ == pytest.approx(label.ended_s, abs=0.002)


@pytest.mark.parametrize("name", [name for name in sounds.INFORMATION if name])
def test_information_tones_are_as_long_and_as_high_as_their_class(name):
    samples = sounds.information_tones(name, rng=np.random.default_rng(3))
    at_s = 0.0
    for frequency, length_s in sounds.INFORMATION[name]:
        middle = samples[sounds.samples_of(at_s + 0.06) : sounds.samples_of(at_s + length_s * 0.9)]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size), 65536))
        assert np.argmax(spectrum) * SAMPLE_RATE_HZ / 65536 == pytest.approx(frequency, rel=0.003)
        at_s += length_s
    assert samples.size / SAMPLE_RATE_HZ == pytest.approx(sum(length for _, length in sounds.INFORMATION[name]), rel=0.06)


@pytest.mark.parametrize("scenario", ["fax_cng", "fax_ced", "modem", "busy", "reorder", "ringback"])
def test_clips_without_a_voice_are_the_same_each_time(scenario):
    order = next(order for order in orders_of(Half.TEST) if order.scenario == scenario and order.clean)
    first, second = making.make(order, seed=SEED), making.make(order, seed=SEED)
    assert np.array_equal(first.samples, second.samples)
    assert first.label == second.label == Label.from_json(first.label.to_json())
    assert first.samples.size == sounds.samples_of(first.label.duration_s)


def drawn_channel(order: plan.Order) -> channel.Channel:
    return channel.draw_channel(rng=np.random.default_rng([SEED, order.number, 2]), clean=order.clean)


def test_spoken_clips_are_the_same_each_time_and_speak_where_they_say(voices, codec):
    spoken = {"hello", "two_breaths", "short_answer", "business_long", "personal", "hello_pause", "menu", "screening"}
    quick = [order for order in orders_of(Half.TEST)[:900] if drawn_channel(order).noise != "babble"]
    chosen = [next(order for order in quick if order.scenario == scenario) for scenario in sorted(spoken)]
    for order in chosen:
        clip, again = making.make(order, seed=SEED), making.make(order, seed=SEED)
        assert np.array_equal(clip.samples, again.samples)
        assert clip.label == again.label
        assert clip.label.first_speech_s is not None
        assert clip.label.words
        assert clip.label.is_long == (order.scenario == "business_long")
        if clip.label.is_clean:
            inside = np.concatenate([clip.samples[round(a * 8000) : round(b * 8000)] for a, b in clip.label.speech])
            level = (
                20 * np.log10(np.sqrt((inside.astype(float) ** 2).mean()) / channel.FULL_SCALE_RMS) + channel.FULL_SCALE_DBM0
            )
            assert level == pytest.approx(clip.label.level_dbm0, abs=4)


def test_people_and_machines_are_transmitted_alike(bursts, monkeypatch):
    """The channel is drawn from the clip's number alone, before anything is known of who speaks."""
    drawn = [channel.draw_channel(rng=np.random.default_rng([SEED, number, 2])) for number in range(300)]
    assert drawn == [channel.draw_channel(rng=np.random.default_rng([SEED, number, 2])) for number in range(300)]
    assert min(one.level_dbm0 for one in drawn) >= -35
    assert max(one.level_dbm0 for one in drawn) <= -10
    assert max(one.loss for one in drawn) <= 0.05
    by_kind: dict[str, list[float]] = {}
    for order in orders_of(Half.TEST)[:900]:
        if order.part is Part.MAIN:
            by_kind.setdefault(order.group, []).append(drawn_channel(order).snr_db)
    assert np.mean(by_kind["person"]) == pytest.approx(np.mean(by_kind["voicemail"]), abs=3)


def test_packets_are_lost_in_the_share_that_is_said():
    lost = channel.losses(200_000, loss=0.03, rng=np.random.default_rng(1))
    assert lost.mean() == pytest.approx(0.03, rel=0.1)
    runs = [len(list(group)) for gone, group in itertools.groupby(lost) if gone]
    assert np.mean(runs) == pytest.approx(1.6, rel=0.1)


@pytest.mark.parametrize("law", [channel.mu_law, channel.a_law])
def test_g711_loses_little(law):
    samples = (8000 * np.sin(np.arange(8000) * 0.3)).astype(np.int16)
    error = law(samples).astype(float) - samples
    assert 10 * np.log10((samples.astype(float) ** 2).mean() / (error**2).mean()) > 35
    assert np.abs(law(np.array([-32768, 32767, 0], np.int16)).astype(int)).max() <= 32767


def test_opus_delays_nothing(codec):
    samples = np.zeros(16000, np.int16)
    samples[8000:8800] = (9000 * np.sin(2 * np.pi * 700 * np.arange(800) / 8000)).astype(np.int16)
    arrived = opus.transmitted(samples, lost=np.zeros(101, np.bool_), bitrate=24000)
    lags = [np.dot(arrived[8000 + lag : 8800 + lag].astype(float), samples[8000:8800]) for lag in range(-40, 41)]
    assert abs(int(np.argmax(lags)) - 40) <= 2


def spoken_label(words: tuple[Word, ...]) -> Label:
    scene = scene_of()
    scene.kind = Kind.PERSON
    order = plan.Order("train-00000", 0, Half.TRAIN, Part.MAIN, "person", "hello", None)
    bare = making.label_of(order, scene=scene, channel=channel.draw_channel(rng=np.random.default_rng(1)))
    return Label.from_json(bare.to_json().replace('"words": []', '"words": ' + repr_words(words)))


def repr_words(words: tuple[Word, ...]) -> str:
    rows = (f'{{"text": "{word.text}", "began_s": {word.began_s}, "ended_s": {word.ended_s}}}' for word in words)
    return f"[{', '.join(rows)}]"


def test_the_recogniser_is_late_and_errs():
    words = tuple(Word(text="word", began_s=index * 0.3, ended_s=index * 0.3 + 0.3) for index in range(2000))
    pieces = recognised(spoken_label(words), seed=1)
    assert pieces == recognised(spoken_label(words), seed=1)
    final = [piece for piece in pieces if piece.final]
    heard = " ".join(piece.text for piece in final).split()
    assert 0.07 < 1 - heard.count("word") / 2000 < 0.13
    assert final[-1].at_s >= 600 - 0.31 + DELAY_S


def signal(*pieces: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(round(seconds * 8000), level, np.int16) for seconds, level in pieces])


@pytest.mark.parametrize(
    ("samples", "said", "cause", "told_s"),
    [
        (signal((0.5, 0), (0.5, 2000), (4.0, 0)), Said.HUMAN, "HUMAN", 1.8),
        (signal((0.5, 0), (6.0, 2000)), Said.MACHINE, "LONGGREETING", 2.0),
        (signal((6.0, 100)), Said.MACHINE, "INITIALSILENCE", 2.5),
        (signal((0.3, 0), *[(0.2, 2000), (0.2, 0)] * 3), Said.MACHINE, "MAXWORDS", 1.2),
        (signal((0.2, 2000), (2.0, 0)), Said.HUMAN, "HUMAN", 1.0),
        (signal(*[(0.08, 2000), (0.3, 0)] * 20), Said.NOTSURE, "TOOLONG", 5.0),
    ],
)
def test_the_cadence_rules_are_asterisks(samples, said, cause, told_s):
    verdict = cadence.judge(samples)
    assert (verdict.said, verdict.cause) == (said, cause)
    assert verdict.told_s == pytest.approx(told_s, abs=0.03)


def test_every_scenario_that_is_ordered_can_be_played():
    for half in Half:
        for order in orders_of(half):
            table = others.EXTRA if order.part is Part.EXTRA else others.MAIN[order.group]
            assert order.scenario in table
    assert sum(share for share, _ in people.SCENARIOS.values()) == pytest.approx(1, abs=0.001)
