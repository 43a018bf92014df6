"""How whoever answered talks: features of the words heard so far, and the probability of a machine with them.

Timing alone takes a firm's long phrase for a greeting. Once a call is transcribed, its classifier is another one: it sees the
timing's features and these beside them, among them how many words were heard *without* any that machines use, and how much was
said that nobody has transcribed yet, so that it knows when words are still to come. Words are counted by the grades of a
graded vocabulary (vocabulary.toml) and by the phrases of phrases.toml.

It must not know: audio, thresholds, who transcribes. Nothing of a text leaves it but counts, and it keeps at most the last
`WORDS_KEPT` words of a call, in memory. Never raises on any text.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from sip.voicemail.classifier import BoostedTrees, Classifier, parse
from sip.voicemail.demands import log_odds, probability_of
from sip.voicemail.events import Fact, Kind
from sip.voicemail.features import FEATURES, Timing
from sip.voicemail.phrases import WORDS_KEPT, Phrase, code_of, pattern_of, plain

GRADES: Sequence[str] = ("machine", "firm", "hello", "person")
"""Of a vocabulary; what they mean is said in vocabulary.toml."""

WORD_FEATURES: Mapping[str, str] = {
    "words": "words heard so far",
    "distinct_word_share": "how many of them are different words: who is impatient says `hello` again",
    "strong_phrases": "phrases heard that no person says",
    "weak_phrases": "phrases heard that machines say, and people too",
    "person_phrases": "phrases of people heard",
    "machine_words": "entries of the vocabulary's grade `machine` heard",
    "firm_words": "of its grade `firm`",
    "hello_words": "of its grade `hello`",
    "person_words": "of its grade `person`",
    "words_since_person": "words after the last entry of the grade `person`; -1 if there was none",
    "words_until_machine": "words before the first entry of the grade `machine`; -1 if there was none",
    "machine_word_share": "`machine_words` for each word",
    "since_piece_s": "since the last piece of the transcript came",
    "speech_since_piece_s": "speech since then: it is not in the transcript yet",
    "words_a_second": "words for each second of the speech before then",
}
"""Names, in the order in which they follow those of the timing, and what they mean. An entry counts once."""

WEAK_WORDS_AT_MOST = 0.97
"""So far words without a strong phrase can lift a probability: people at work say such things too, and nobody shall be hung up
on for that. Just under the default that hanging up asks for (0.98)."""
_SQUEEZED_FROM = 0.95
"""What lies above is squeezed below `WEAK_WORDS_AT_MOST`, so that the likelier machine stays the likelier one."""
STRONG_PHRASE_LOG_ODDS = 6.0
"""So far a strong phrase can lift it over what timing says: a recogniser mishears, and a person may quote."""

_SPEECH_S = tuple(FEATURES).index("speech_s")


_TOLD = frozenset({"words", "strong_phrases", "weak_phrases", "person_phrases", "machine_words", "firm_words", "person_words"})
"""What is told as evidence."""


class Vocabulary:
    """Entries by language and grade, each as a pattern that is found in words as `plain` gives them."""

    def __init__(self, entries: Mapping[str, Mapping[str, Sequence[re.Pattern[str]]]]) -> None:
        self._entries = entries

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 of each language that it knows."""
        return frozenset(self._entries)

    def entries(self, language: str, grade: str) -> int:
        """How many there are."""
        return len(self._entries[language][grade])

    def places(self, words: Sequence[str], language: str | None) -> Sequence[Mapping[str, Sequence[Sequence[int]]]]:
        """Which words the entries found in `words` begin with, entry by entry, by grade: for the language and for English.

        A language that is not known, or not in the vocabulary, is taken to be the one of which most entries are found.
        """
        heard = " " + " ".join(words) + " "
        code = code_of(language)
        codes = [code] if code in self._entries else [one for one in self._entries if one != "en"]
        found = [self._places(one, heard) for one in codes]
        likeliest = max(found, key=lambda places: sum(map(len, places.values())), default={})
        return [likeliest] if code == "en" else [likeliest, self._places("en", heard)]

    def _places(self, code: str, heard: str) -> Mapping[str, Sequence[Sequence[int]]]:
        found = {}
        for grade, patterns in self._entries.get(code, {}).items():
            places = [[heard.count(" ", 0, match.start()) for match in pattern.finditer(heard)] for pattern in patterns]
            found[grade] = [one for one in places if one]
        return found


def parse_vocabulary(document: Mapping[str, Mapping[str, Sequence[str]]]) -> Vocabulary:
    """The vocabulary of a parsed TOML document: language, grade, entries. ValueError names what is wrong."""
    entries = {}
    for language, grades in document.items():
        for grade in grades:
            if grade not in GRADES:
                raise ValueError(f"vocabulary: [{language}]: {grade!r} is none of {', '.join(GRADES)}")
        entries[language] = {
            grade: [pattern_of(text, where=f"vocabulary: [{language}]") for text in dict.fromkeys(grades.get(grade, ()))]
            for grade in GRADES
        }
    return Vocabulary(entries)


@functools.cache
def stock_vocabulary() -> Vocabulary:
    """The package's own."""
    return parse_vocabulary(tomllib.loads(files("sip.voicemail").joinpath("vocabulary.toml").read_text(encoding="utf-8")))


@functools.cache
def stock_words_classifier() -> BoostedTrees:
    """The package's own classifier of timing and words (model_words.json), read once: it is shared and never changes."""
    document = files("sip.voicemail").joinpath("model_words.json").read_text(encoding="utf-8")
    return parse(document, names=(*FEATURES, *WORD_FEATURES))


class Wording:
    """What was heard of one call's transcript since the answer."""

    def __init__(self, *, vocabulary: Vocabulary | None = None) -> None:
        """`vocabulary`: the package's own by default."""
        self._vocabulary = vocabulary or stock_vocabulary()
        self._final: list[str] = []
        self._phrases = {"strong": 0, "weak": 0, "person": 0}
        self._counts = self._count([], None)
        self._piece_s = 0.0
        self._speech_s = 0.0
        self._words = 0
        self.is_heard = False
        """Words have come."""

    @property
    def is_strong(self) -> bool:
        """A strong phrase is among them."""
        return self._phrases["strong"] > 0

    @property
    def facts(self) -> Mapping[str, Fact]:
        """Evidence: counts of words and phrases, by the features' names."""
        return {name: round(count, 3) for name, count in zip(WORD_FEATURES, self._counts, strict=False) if name in _TOLD}

    def restart(self) -> None:
        """The call was answered: what was said before was not said by whoever answered, unless a strong phrase says so."""
        self._final = []
        self._counts = self._count([], None)
        self._words = 0
        self._piece_s = self._speech_s = 0.0
        self.is_heard = self.is_strong

    def hear(
        self, text: str, *, language: str | None, final: bool, found: Iterable[Phrase], told_s: float, timing: Timing | None
    ) -> None:
        """Take a piece that came at `told_s`, the phrases that were `found` in it, and the timing of that moment.

        An interim piece (`final` False) is replaced by the next one.
        """
        new = plain(text).split()
        words = [*self._final, *new][-WORDS_KEPT:]
        if final:
            self._final = words
        for phrase in found:
            sort = "person" if phrase.kind is Kind.PERSON else "strong" if phrase.is_strong else "weak"
            self._phrases[sort] += 1
        if not new and not self.is_heard:
            return
        self.is_heard = True
        self._piece_s = told_s
        self._speech_s = 0.0 if timing is None else timing.values[_SPEECH_S]
        self._words = len(words)
        self._counts = self._count(words, language)

    def values(self, *, told_s: float, timing: Timing) -> Sequence[float]:
        """The features of a moment: those of its timing, then those of `WORD_FEATURES`."""
        return (
            *timing.values,
            *self._counts,
            max(0.0, told_s - self._piece_s),
            max(0.0, timing.values[_SPEECH_S] - self._speech_s),
            self._words / max(0.2, self._speech_s),
        )

    def _count(self, words: Sequence[str], language: str | None) -> tuple[float, ...]:
        found = self._vocabulary.places(words, language)
        most = {grade: max(len(places.get(grade, ())) for places in found) for grade in GRADES}
        machine = [at for places in found for entry in places.get("machine", ()) for at in entry]
        person = [at for places in found for entry in places.get("person", ()) for at in entry]
        return (
            float(len(words)),
            len(set(words)) / max(1, len(words)),
            float(self._phrases["strong"]),
            float(self._phrases["weak"]),
            float(self._phrases["person"]),
            *(float(most[grade]) for grade in GRADES),
            float(len(words) - 1 - max(person)) if person else -1.0,
            float(min(machine, default=-1)),
            most["machine"] / max(1, len(words)),
        )


def weigh(
    wording: Wording, *, classifier: Classifier, told_s: float, timing: Timing | None, timing_probability: float
) -> float:
    """The probability of a machine by timing and words; `timing_probability` where no words have come.

    Words without a strong phrase lift nothing above `WEAK_WORDS_AT_MOST`, a strong phrase nothing by more than
    `STRONG_PHRASE_LOG_ODDS`. Where no speech was found (`timing` None) a strong phrase stands for itself.
    """
    if not wording.is_heard:
        return timing_probability
    if timing is None:
        return _with_phrase(timing_probability) if wording.is_strong else timing_probability
    with_words = classifier.machine_probability(wording.values(told_s=told_s, timing=timing))
    return bounded(with_words, timing_probability=timing_probability, is_strong=wording.is_strong)


def bounded(with_words: float, *, timing_probability: float, is_strong: bool) -> float:
    """What the words' classifier says, as far as it is believed: see `weigh`. `is_strong`: a strong phrase was heard."""
    if is_strong:
        return min(with_words, _with_phrase(timing_probability))
    return max(_squeezed(with_words), min(with_words, timing_probability))


def _with_phrase(timing_probability: float) -> float:
    return probability_of(log_odds(timing_probability) + STRONG_PHRASE_LOG_ODDS)


def _squeezed(probability: float) -> float:
    share = max(0.0, probability - _SQUEEZED_FROM) / (1 - _SQUEEZED_FROM)
    return min(probability, _SQUEEZED_FROM) + share * (WEAK_WORDS_AT_MOST - _SQUEEZED_FROM)
