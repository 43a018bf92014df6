"""The wording: what is counted of the words, and how far they can move a probability."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sip.voicemail.detector import CallDetector
from sip.voicemail.events import DetectorSettings, Kind, Stage, Verdict
from sip.voicemail.features import FEATURES, Timing, measure
from sip.voicemail.hindsight import Past
from sip.voicemail.phrases import WORDS_KEPT, PhraseSpotter, stock_table
from sip.voicemail.wording import (
    GRADES,
    WORD_FEATURES,
    Wording,
    parse_vocabulary,
    stock_vocabulary,
    stock_words_classifier,
    weigh,
)
from tests.voicemail.line import on_line, pieces, silence, voice

LANGUAGES = {"en", "es", "fr", "de", "it", "pt", "hi"}


class Always:
    """A classifier that has made up its mind."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def machine_probability(self, values: object) -> float:
        del values
        return self.probability


def timing_after(seconds: float) -> Timing:
    """Speech without a pause for so long."""
    timing = measure(Past([(0, round(seconds * 100))], contrast_db=40.0), anchor_hop=0, now_hop=round(seconds * 100))
    assert timing is not None
    return timing


def wording_of(*said: str, language: str | None = "en", final: bool = True) -> Wording:
    """Pieces, a second of speech for each."""
    wording, spotter = Wording(), PhraseSpotter()
    for at, text in enumerate(said, start=1):
        found = spotter.hear(text, language=language, final=final)
        wording.hear(text, language=language, final=final, found=found, told_s=float(at), timing=timing_after(at))
    return wording


def features_of(wording: Wording, *, told_s: float = 4.0, speech_s: float = 4.0) -> dict[str, float]:
    values = wording.values(told_s=told_s, timing=timing_after(speech_s))
    assert len(values) == len(FEATURES) + len(WORD_FEATURES)
    return dict(zip(WORD_FEATURES, values[len(FEATURES) :], strict=True))


def probability_of(wording: Wording, *, by_words: float, by_timing: float, timing: Timing | None) -> float:
    return weigh(wording, classifier=Always(by_words), told_s=4.0, timing=timing, timing_probability=by_timing)


def test_a_firms_phrase_is_counted_as_what_it_is() -> None:
    found = features_of(wording_of("Thanks for calling Lakeside Dental,", "what can I do for you today?"))
    assert found["words"] == 12
    assert found["weak_phrases"] == 1
    assert found["person_phrases"] == 1
    assert found["strong_phrases"] == found["machine_words"] == 0
    assert found["firm_words"] == 2
    assert found["person_words"] >= 2
    assert found["words_until_machine"] == -1
    assert found["words_since_person"] == 0


def test_a_greeting_is_counted_as_what_it_is() -> None:
    found = features_of(wording_of("You've reached Ann,", "please leave a message after the beep"))
    assert found["strong_phrases"] >= 2
    assert found["machine_words"] >= 3
    assert found["words_until_machine"] == 4
    assert found["person_words"] == 0
    assert found["words_since_person"] == -1


def test_what_is_said_and_not_yet_transcribed_is_counted() -> None:
    wording = wording_of("Hello this is Ann")
    found = features_of(wording, told_s=3.0, speech_s=2.5)
    assert found["since_piece_s"] == pytest.approx(2.0)
    assert found["speech_since_piece_s"] == pytest.approx(1.5)
    assert found["words_a_second"] == pytest.approx(4.0)


def test_an_interim_piece_is_replaced_and_a_final_one_stays() -> None:
    wording = Wording()
    for text, final in (("press", False), ("dress shop hello", True), ("yes", False)):
        wording.hear(text, language="en", final=final, found=[], told_s=1.0, timing=None)
    found = features_of(wording)
    assert (found["words"], found["machine_words"], found["hello_words"]) == (4, 0, 2)


def test_a_language_that_is_not_told_is_found_by_its_words() -> None:
    for text in (
        "Hinterlassen Sie eine Nachricht",
        "¿De parte de quién, qué desea?",
        "कृपया बीप के बाद संदेश छोड़ें",
        "leave a message",
    ):
        code = {"H": "de", "¿": "es", "क": "hi", "l": "en"}[text[0]]
        known = features_of(wording_of(text, language=code))
        assert known["machine_words"] + known["person_words"] >= 2
        for language in (None, "tlh"):
            guessed = features_of(wording_of(text, language=language))
            assert {name: guessed[name] for name in ("machine_words", "person_words")} == {
                name: known[name] for name in ("machine_words", "person_words")
            }
    known = features_of(wording_of("hola", language="en"))
    assert known["hello_words"] == 0


def test_every_language_has_words_of_every_grade() -> None:
    vocabulary = stock_vocabulary()
    assert vocabulary.languages == LANGUAGES
    assert all(vocabulary.entries(language, grade) > 5 for language in LANGUAGES for grade in GRADES)


@pytest.mark.parametrize("document", [{"en": {"robot": ["beep"]}}, {"en": {"machine": ["?"]}}])
def test_a_vocabulary_that_is_wrong_is_refused_by_name(document: dict[str, dict[str, list[str]]]) -> None:
    with pytest.raises(ValueError, match=re.escape("vocabulary: [en]")):
        parse_vocabulary(document)


def test_a_strong_phrase_is_never_a_single_word() -> None:
    table = stock_table()
    assert [one.text for one in table.of(None) if one.is_strong and len(one.text.split()) < 2] == []


def test_weak_words_alone_never_make_sure_enough_to_hang_up() -> None:
    wording = wording_of("you have reached the office, please call back later")
    timing = timing_after(4.0)
    assert not wording.is_strong
    likely, likelier = (probability_of(wording, by_words=p, by_timing=0.6, timing=timing) for p in (0.98, 0.9999))
    assert likely < likelier <= 0.97
    assert probability_of(wording, by_words=0.999, by_timing=0.99, timing=timing) == pytest.approx(0.99)
    assert probability_of(wording, by_words=0.3, by_timing=0.99, timing=timing) == pytest.approx(0.3)


def test_a_phrase_against_a_surely_personal_timing_is_not_enough_to_hang_up() -> None:
    wording = wording_of("please leave a message after the tone")
    assert wording.is_strong
    assert probability_of(wording, by_words=0.999, by_timing=0.01, timing=timing_after(4.0)) < 0.98
    assert probability_of(wording, by_words=0.999, by_timing=0.5, timing=timing_after(4.0)) > 0.98


def test_a_strong_phrase_without_any_speech_found_stands_for_itself() -> None:
    assert probability_of(wording_of("leave a message"), by_words=0.1, by_timing=0.5, timing=None) > 0.98
    assert probability_of(wording_of("hello"), by_words=0.9, by_timing=0.5, timing=None) == 0.5


def test_no_words_leave_the_timings_probability_as_it_is() -> None:
    for wording in (Wording(), wording_of("", "?!")):
        assert probability_of(wording, by_words=0.9, by_timing=0.123456789, timing=timing_after(2.0)) == 0.123456789


def test_what_was_said_before_the_answer_does_not_count_but_for_a_strong_phrase() -> None:
    wording = wording_of("we connect you, one moment")
    wording.restart()
    assert not wording.is_heard
    wording = wording_of("please leave a message after the tone")
    wording.restart()
    assert wording.is_heard
    assert features_of(wording)["words"] == 0


@given(
    said=st.lists(st.tuples(st.text(max_size=80), st.booleans()), max_size=6),
    language=st.sampled_from([None, "en", "hi", "", "x-y_z"]),
)
@settings(max_examples=60, deadline=None)
def test_any_text_has_finite_features_and_a_probability(said: list[tuple[str, bool]], language: str | None) -> None:
    wording = Wording()
    for text, final in said:
        wording.hear(text, language=language, final=final, found=[], told_s=1.0, timing=None)
    assert np.isfinite(wording.values(told_s=0.0, timing=timing_after(0.2))).all()
    p = weigh(wording, classifier=stock_words_classifier(), told_s=9.0, timing=timing_after(3.0), timing_probability=0.5)
    assert 0 < p < 1
    assert all(isinstance(count, float) for count in wording.facts.values())


def test_a_transcript_without_end_stays_small() -> None:
    wording = wording_of(*["word " * 50] * 40)
    assert len(wording._final) == WORDS_KEPT
    assert features_of(wording)["words"] == WORDS_KEPT


def test_the_packages_model_says_how_it_came_about() -> None:
    model = json.loads(files("sip.voicemail").joinpath("model_words.json").read_text(encoding="utf-8"))
    assert {"by", "date", "corpus", "clips", "people", "cross_validated_by_text_and_voice"} <= model["came_about"].keys()
    assert model["came_about"]["corpus"]["half"] == "train"
    curve = model["calibration"]["log_odds"]
    assert curve == sorted(curve)


def spoken(*said: tuple[float, str], words: bool = True) -> list[Verdict]:
    """Five seconds of speech and a wait, with words that come at these times."""
    line = on_line(silence(0.3), voice(2.2, seed=3), silence(0.3), voice(2.2, seed=4), silence(4.5))
    detector = CallDetector(sample_rate_hz=8_000, settings=DetectorSettings())
    detector.answer()
    waiting = list(said) if words else []
    told = []
    for piece in pieces(line, [800]):
        told += detector.feed(piece)
        while waiting and waiting[0][0] <= detector.now_s:
            told += detector.hear_words(waiting.pop(0)[1], language="en", final=True)
    told += detector.finish()
    return [one for one in told if isinstance(one, Verdict)]


FIRM = ((1.9, "Good morning, Lakeside Dental,"), (3.2, "this is Karen speaking,"), (4.5, "how can I help you today?"))
GREETING = ((1.9, "Hi, I can't take"), (3.2, "your call right now,"), (4.5, "leave a message after the beep"))


def test_a_persons_clear_words_take_a_machines_verdict_back_before_it_is_final() -> None:
    without = spoken(words=False)[-1]
    with_words = next(one for one in spoken(*FIRM) if one.stage is Stage.FINAL)
    assert with_words.machine_probability < without.machine_probability
    assert with_words.kind is Kind.PERSON


def test_a_greetings_words_make_a_machine_of_the_same_sound() -> None:
    verdict = next(one for one in spoken(*GREETING) if one.stage is Stage.FINAL)
    assert verdict.kind is Kind.VOICEMAIL


def test_without_words_nothing_is_asked_of_the_classifier_of_words() -> None:
    class Forbidden:
        def machine_probability(self, values: object) -> float:
            raise AssertionError(values)

    line = on_line(silence(0.3), voice(2.2, seed=3), silence(3.0))
    told = []
    for words_classifier in (Forbidden(), None):
        detector = CallDetector(sample_rate_hz=8_000, settings=DetectorSettings(), words_classifier=words_classifier)
        detector.answer()
        told.append([*detector.feed(line), *detector.finish()])
    assert told[0] == told[1]


def test_more_words_of_machines_make_a_machine_likelier() -> None:
    timing = timing_after(4.0)
    said = ("how can i help you", "hello this is ann", "please call back later", "leave a message after the tone")
    told = [stock_words_classifier().machine_probability(wording_of(text).values(told_s=2.0, timing=timing)) for text in said]
    assert all(earlier < later for earlier, later in pairwise([told[0], *told[2:]]))
