"""Speech activity, utterances and hindsight: what counts as speech, and what does not end it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import pytest

from sip.voicemail.activity import HeardHop, Sound, SpeechActivity
from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorEvent, DetectorSettings, SpeechEnded, SpeechStarted
from sip.voicemail.framing import Framer
from sip.voicemail.hindsight import KEPT_HOPS, Hindsight, Past
from sip.voicemail.levels import SoundWatch
from sip.voicemail.likeness import CONTEXT_HOPS, Exact, Seen, SpeechModel, bands, parse, seen, stock_speech_model
from sip.voicemail.spectrum import BINS, Spectra, SpectrumAnalyser, mean_square_at
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


def hops(levels: Sequence[float], *, spoken: Sequence[bool], floor_dbm0: float = -66.0) -> Seen:
    """What is seen of hops of these levels, some of them spoken; their spectrum falls as a voice's does."""
    loudest = max(levels)
    heard = [
        HeardHop(Sound.SPEECH if said else Sound.QUIET, level, floor_dbm0, loudest, said)
        for level, said in zip(levels, spoken, strict=True)
    ]
    shape = np.geomspace(1, 1e-3, BINS)
    power = np.array([mean_square_at(level) for level in levels])[:, None] * shape / shape.sum()
    loud = np.ones(len(heard), np.bool_)
    return seen(heard, bands(Spectra(power=power.astype(np.float32), mean_square=power.sum(axis=1), loud=loud)))


def quiet(level_dbm0: float = -66.0) -> Seen:
    """The hops that hindsight needs behind those it is asked about."""
    return hops([level_dbm0] * CONTEXT_HOPS, spoken=[False] * CONTEXT_HOPS)


def test_what_was_behind_the_callee_is_known_once_he_has_spoken() -> None:
    hindsight = Hindsight()
    levels = [-66.0] * 40 + [-40.0] * 60 + [-18.0] * 60 + [-40.0] * 100
    hindsight.take(np.concatenate([hops(levels, spoken=[level > -60 for level in levels]), quiet(-40.0)]))
    hindsight.mark_tonal(np.zeros(260, np.bool_))
    assert hindsight.look_back(from_hop=0, until_hop=90, floor_dbm0=-60.0).spans != []
    [(begin, end)] = hindsight.look_back(from_hop=0, until_hop=260, floor_dbm0=-60.0).spans
    assert abs(begin - 100) <= 8
    assert abs(end - 160) <= 8


def test_a_held_vowel_is_speech_and_a_lone_tone_is_not() -> None:
    levels = [-66.0] * 100 + [-20.0] * 60 + [-66.0] * 100
    tonal = np.zeros(260, np.bool_)
    tonal[120:150] = True
    vowel, lone = Hindsight(), Hindsight()
    for hindsight in (vowel, lone):
        hindsight.take(np.concatenate([hops(levels, spoken=[level > -50 for level in levels]), quiet()]))
    vowel.mark_tonal(tonal)
    tonal[80:180] = True
    lone.mark_tonal(tonal)
    [(begin, end)] = vowel.look_back(from_hop=0, until_hop=260, floor_dbm0=-66.0).spans
    assert abs(begin - 100) <= 8
    assert abs(end - 160) <= 8
    assert lone.look_back(from_hop=0, until_hop=260, floor_dbm0=-66.0) == Past()


def test_hindsight_says_how_well_pauses_can_be_heard() -> None:
    still, restless = Hindsight(), Hindsight()
    spoken = [at // 50 % 2 == 1 for at in range(300)]
    steady = [-20.0 if speaks else -60.0 for speaks in spoken]
    swinging = [-20.0 if speaks else -60.0 + 12 * (at % 2) for at, speaks in enumerate(spoken)]
    pasts = []
    for hindsight, levels in ((still, steady), (restless, swinging)):
        hindsight.take(np.concatenate([hops(levels, spoken=spoken, floor_dbm0=-60.0), quiet(-60.0)]))
        hindsight.mark_tonal(np.zeros(300, np.bool_))
        pasts.append(hindsight.look_back(from_hop=0, until_hop=300, floor_dbm0=-60.0))
    for past in pasts:
        assert len(past.spans) == 3
        assert np.abs(np.array(past.spans) - [(50, 100), (150, 200), (250, 300)]).max() <= 8
    assert pasts[0].contrast_db == pytest.approx(40, abs=0.5)
    assert pasts[0].unrest_db == pytest.approx(0, abs=0.1)
    assert pasts[1].unrest_db == pytest.approx(6, abs=0.5)


class LoudIsSpeech(SpeechModel):
    """A model that goes by the level alone."""

    def __init__(self) -> None:
        self.with_hindsight = (1.0, 0.0, 0.0, 0.0)

    def log_odds(self, remembered: Seen) -> Exact:
        """Far from 0 to either side."""
        return np.where(remembered[CONTEXT_HOPS : len(remembered) - CONTEXT_HOPS, 0] > -40, 8.0, -8.0)


def test_hindsight_keeps_the_last_twelve_seconds_and_their_places() -> None:
    hindsight = Hindsight(model=LoudIsSpeech())
    for block in range(401):
        speaks = 395 <= block < 400
        hindsight.take(hops([-20.0 if speaks else -66.0] * 10, spoken=[speaks] * 10))
        hindsight.mark_tonal(np.zeros(10, np.bool_))
    [(begin, end)] = hindsight.look_back(from_hop=0, until_hop=4_000, floor_dbm0=-66.0).spans
    assert abs(begin - 3_950) <= 8
    assert abs(end - 4_000) <= 8
    assert hindsight._tonal.size < 2 * KEPT_HOPS


def test_hindsight_sees_the_same_whenever_somebody_looks_back() -> None:
    samples = on_line(silence(0.5), voice(1.0), silence(0.4), voice(0.6, seed=1), silence(1.0))
    hops_of_line = Framer(sample_rate_hz=8_000).feed(samples)
    spectra = SpectrumAnalyser().analyse(hops_of_line)
    heard, powers = SpeechActivity().feed(hops_of_line, spectra), bands(spectra)
    tonal = np.zeros(len(heard), np.bool_)
    asked_late, asked_often = Hindsight(), Hindsight()
    for at in range(0, len(heard), 7):
        part = slice(at, at + 7)
        for hindsight in (asked_late, asked_often):
            hindsight.hear(heard[part], powers[part], tonal[part])
        asked_often.look_back(from_hop=0, until_hop=at, floor_dbm0=-66.0)
    pasts = [one.look_back(from_hop=0, until_hop=len(heard), floor_dbm0=-66.0) for one in (asked_late, asked_often)]
    assert len(pasts[0].spans) == 2
    assert pasts[0] == pasts[1]


def test_a_hop_is_as_like_speech_however_many_are_asked_for() -> None:
    rng = np.random.default_rng(8)
    levels = rng.uniform(-70, -10, 400)
    rows = hops(levels.tolist(), spoken=(rng.random(400) < 0.5).tolist())
    model = stock_speech_model()
    at_once = model.log_odds(rows)
    assert at_once.size == 400 - 2 * CONTEXT_HOPS
    for size in (1, 3, 10, 77):
        parts = [model.log_odds(rows[at : min(at + size, at_once.size) + 2 * CONTEXT_HOPS]) for at in range(0, 380, size)]
        assert np.array_equal(np.concatenate(parts), at_once)


def test_a_speech_model_of_other_inputs_is_refused() -> None:
    model = json.loads(files("sip.voicemail").joinpath("speech.json").read_text(encoding="utf-8"))
    assert isinstance(parse(json.dumps(model)), SpeechModel)
    with pytest.raises(ValueError, match="other inputs"):
        parse(json.dumps(model | {"channels": ["level"]}))
    with pytest.raises(ValueError, match="does not fit"):
        parse(json.dumps(model | {"with_hindsight": [1.0]}))


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
    loud = Framer(sample_rate_hz=8_000).feed(on_line(noise(4.0, below_db=20)))
    floors = [one.floor_dbm0 for one in activity.feed(loud, spectrum.analyse(loud))]
    assert -46 < floors[-1] < -38
    soft = Framer(sample_rate_hz=8_000).feed(on_line(noise(4.0, below_db=32)))
    floors = [one.floor_dbm0 for one in activity.feed(soft, spectrum.analyse(soft))]
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
