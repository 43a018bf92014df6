"""Speech activity, utterances and hindsight: what counts as speech, and what does not end it."""

from __future__ import annotations

import numpy as np
import pytest

from sip.voicemail.activity import Sound, SpeechActivity
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorEvent, DetectorSettings, SpeechEnded, SpeechStarted
from sip.voicemail.framing import Framer
from sip.voicemail.hindsight import KEPT_HOPS, Hindsight, Past
from sip.voicemail.levels import SoundWatch
from sip.voicemail.spectrum import SpectrumAnalyser
from sip.voicemail.utterances import Change, Utterances
from tests.voicemail.line import Samples, on_line, silence, tone, voice


def heard(samples: Samples) -> list[DetectorEvent]:
    detector = CallDetector(sample_rate_hz=8_000, settings=DetectorSettings())
    return [event for event in detector.feed(samples) if isinstance(event, SpeechStarted | SpeechEnded)]


def noise(seconds: float, *, below_db: float, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=round(seconds * 8_000)) * 10 ** (-below_db / 20)


@pytest.mark.parametrize("level_dbm0", [-35.0, -20.0, -10.0])
def test_speech_is_found_at_every_level_of_a_telephone(level_dbm0: float) -> None:
    told = heard(on_line(silence(0.7), voice(1.5), silence(1.0), level_dbm0=level_dbm0))
    assert [type(event) for event in told][:1] == [SpeechStarted]
    first, last = told[0], told[-1]
    assert isinstance(first, SpeechStarted)
    assert isinstance(last, SpeechEnded)
    assert abs(first.at_s - 0.7) < 0.15
    assert abs(last.ended_s - 2.2) < 0.25
    assert all(event.told_s >= 0.7 for event in told)


@pytest.mark.parametrize("below_db", [10.0, 25.0])
def test_noise_that_begins_with_the_answer_is_not_speech(below_db: float) -> None:
    assert heard(on_line(silence(0.5), noise(4.0, below_db=below_db))) == []


def test_speech_is_found_in_noise_that_began_before_it() -> None:
    line = np.concatenate([silence(0.5), noise(3.5, below_db=15)])
    line[8_000 * 2 : 8_000 * 3] += voice(1.0)
    told = heard(on_line(line))
    assert told
    assert abs(told[0].at_s - 2.0) < 0.2 if isinstance(told[0], SpeechStarted) else False


def test_a_steady_tone_is_not_speech() -> None:
    assert heard(on_line(silence(0.5), tone(440, 480, seconds=2.0), silence(1.0))) == []


def test_lost_packets_within_speech_do_not_end_it() -> None:
    detector = CallDetector(sample_rate_hz=8_000, settings=DetectorSettings())
    before, after = on_line(silence(0.3), voice(1.12)), on_line(voice(1.0, seed=1), silence(0.6))
    told = [*detector.feed(before), *detector.miss(0.3), *detector.feed(after)]
    ended = [event for event in told if isinstance(event, SpeechEnded)]
    assert detector.now_s == pytest.approx(0.3 + 1.12 + 0.3 + 1.6)
    assert not any(1.3 < event.ended_s < 1.6 for event in ended)


def test_time_goes_on_however_long_the_gap_and_whatever_the_duration() -> None:
    detector = CallDetector(sample_rate_hz=8_000, settings=DetectorSettings())
    for duration_s in (0.0, -3.0, float("nan"), float("inf")):
        assert detector.miss(duration_s) == []
    assert detector.now_s == 0
    detector.miss(5.0)
    assert detector.now_s == pytest.approx(5.0)


def test_noise_takes_back_what_stood_out_just_before_it() -> None:
    hindsight = Hindsight()
    hindsight.take(levels_dbm0=[-30.0] * 14, stood_out=[True] * 14, noise=[13])
    hindsight.mark_tonal(np.zeros(14, np.bool_))
    assert hindsight.look_back(from_hop=0, until_hop=14, floor_dbm0=-60.0) == Past()


def test_what_was_behind_the_callee_is_known_once_he_has_spoken() -> None:
    hindsight = Hindsight()
    levels = [-40.0] * 100 + [-18.0] * 60 + [-40.0] * 100
    hindsight.take(levels_dbm0=levels, stood_out=[True] * 260, noise=[])
    hindsight.mark_tonal(np.zeros(260, np.bool_))
    assert hindsight.look_back(from_hop=0, until_hop=100, floor_dbm0=-60.0).spans != []
    [(begin, end)] = hindsight.look_back(from_hop=0, until_hop=260, floor_dbm0=-60.0).spans
    assert abs(begin - 100) <= 3
    assert abs(end - 160) <= 3


def test_a_held_vowel_is_speech_and_a_lone_tone_is_not() -> None:
    levels = [-70.0] * 100 + [-20.0] * 60 + [-70.0] * 100
    tonal = np.zeros(260, np.bool_)
    tonal[120:150] = True
    stood_out = [level > -50 for level in levels]
    vowel, lone = Hindsight(), Hindsight()
    for hindsight in (vowel, lone):
        hindsight.take(levels_dbm0=levels, stood_out=stood_out, noise=[])
    vowel.mark_tonal(tonal)
    tonal[100:160] = True
    lone.mark_tonal(tonal)
    assert vowel.look_back(from_hop=0, until_hop=260, floor_dbm0=-70.0).spans == [(100, 160)]
    assert lone.look_back(from_hop=0, until_hop=260, floor_dbm0=-70.0) == Past()


def test_hindsight_says_how_well_pauses_can_be_heard() -> None:
    quiet, restless = Hindsight(), Hindsight()
    spoken = [at // 50 % 2 == 1 for at in range(300)]
    quiet.take(levels_dbm0=[-20.0 if speaks else -60.0 for speaks in spoken], stood_out=spoken, noise=[])
    swinging = [-20.0 if speaks else -60.0 + 12 * (at % 2) for at, speaks in enumerate(spoken)]
    restless.take(levels_dbm0=swinging, stood_out=spoken, noise=[])
    for hindsight in (quiet, restless):
        hindsight.mark_tonal(np.zeros(300, np.bool_))
    still, swings = (one.look_back(from_hop=0, until_hop=300, floor_dbm0=-60.0) for one in (quiet, restless))
    assert still.spans == swings.spans == [(50, 100), (150, 200), (250, 300)]
    assert still.contrast_db == pytest.approx(40, abs=0.5)
    assert still.unrest_db == pytest.approx(0, abs=0.1)
    assert swings.unrest_db == pytest.approx(6, abs=0.5)


def test_hindsight_keeps_the_last_twelve_seconds_and_their_places() -> None:
    hindsight = Hindsight()
    for block in range(400):
        speaks = block >= 395
        hindsight.take(levels_dbm0=[-20.0 if speaks else -70.0] * 10, stood_out=[speaks] * 10, noise=[])
        hindsight.mark_tonal(np.zeros(10, np.bool_))
    assert hindsight.look_back(from_hop=0, until_hop=4_000, floor_dbm0=-70.0).spans == [(3_950, 4_000)]
    assert hindsight._levels.size == 2 * KEPT_HOPS


def test_an_utterance_begins_at_its_first_hop_and_ends_after_200_ms_of_quiet() -> None:
    utterances = Utterances()
    sounds = [Sound.QUIET] * 30 + [Sound.SPEECH] * 40 + [Sound.QUIET] * 19 + [Sound.SPEECH] * 10 + [Sound.QUIET] * 20
    assert [change for change in map(utterances.take, sounds) if change] == [Change.STARTED, Change.ENDED]
    [utterance] = utterances.said
    assert (utterance.from_hop, utterance.until_hop) == (30, 99)
    assert utterance.length_s == pytest.approx(0.69)


def test_clicks_begin_no_utterance() -> None:
    utterances = Utterances()
    assert not any(utterances.take(sound) for sound in ([Sound.SPEECH] * 4 + [Sound.QUIET] * 12) * 20)


def test_lost_audio_ends_no_utterance_but_half_a_second_of_it_does() -> None:
    utterances = Utterances()
    for sound in [Sound.SPEECH] * 30 + [Sound.LOST] * 45 + [Sound.SPEECH] * 10:
        assert utterances.take(sound) is not Change.ENDED
    assert Change.ENDED in [utterances.take(Sound.LOST) for _ in range(80)]


def test_the_answer_cuts_what_is_being_said() -> None:
    utterances = Utterances()
    for _ in range(30):
        utterances.take(Sound.SPEECH)
    utterances.cut()
    for _ in range(20):
        utterances.take(Sound.SPEECH)
    assert [(one.from_hop, one.until_hop) for one in utterances.said] == [(0, 30), (30, 50)]


def test_the_noise_floor_follows_the_line() -> None:
    activity, spectrum = SpeechActivity(), SpectrumAnalyser()
    hops = Framer(sample_rate_hz=8_000).feed(on_line(noise(4.0, below_db=20)))
    floors = [one.floor_dbm0 for one in activity.feed(hops, spectrum.analyse(hops))]
    assert -46 < floors[-1] < -38
    quiet = Framer(sample_rate_hz=8_000).feed(on_line(noise(4.0, below_db=32)))
    floors = [one.floor_dbm0 for one in activity.feed(quiet, spectrum.analyse(quiet))]
    assert -58 < floors[-1] < -50


def test_a_party_is_heard_when_it_speaks_and_not_when_its_line_hisses() -> None:
    watch = SoundWatch(sample_rate_hz=8_000)
    hiss = on_line(noise(2.0, below_db=25))
    watch.feed(hiss[:8_000])
    assert watch.heard_until_s is None or watch.heard_until_s <= 0.2
    assert not watch.feed(hiss[8_000:])
    assert watch.feed(on_line(voice(1.0)))
    assert watch.heard_until_s is not None
    assert 2.0 < watch.heard_until_s <= 3.0
    assert watch.now_s == 3.0
