"""Words of a transcript that tell what speaks: the table of phrases (phrases.toml) and what finds them in a stream of words.

A transcript comes in pieces: an interim piece is replaced by the next one, a final piece stays. A phrase may begin in one piece
and end in the next. Case, punctuation and accents do not count, since recognisers differ in them.

It must not know: audio, times, who transcribes, what is done about a phrase.
"""

from __future__ import annotations

import functools
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from sip.voicemail.events import Kind

WORDS_KEPT = 60
"""Of final pieces: longer than any phrase, short enough to search at every word."""
GAP_WORDS = 4
"""What `...` in a phrase stands for, at most."""
PRIORITY: Sequence[Kind] = (Kind.MAILBOX_FULL, Kind.SCREENING, Kind.VOICEMAIL, Kind.MENU, Kind.ANNOUNCEMENT)
"""Where phrases of several kinds were heard, the first of these is the kind: a full mailbox greets like any other, screening
asks for a name after the tone, a greeting offers options by keys, and some say which number was reached."""

_SHORT_WORD = 3
"""A phrase that ends in a word of so few letters must end with it; a longer one may be inflected."""
_ACCENTS = re.compile("[\u0300-\u036f\u093c]")
"""Combining accents of the Latin script, and the nukta of Devanagari, which transcripts leave out at will."""
_APOSTROPHES = re.compile("['\u2019\u02bc`\u00b4]")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One line of the table."""

    kind: Kind
    language: str
    """ISO 639-1."""
    text: str
    """As the table has it."""
    is_strong: bool
    """It decides by itself; else it adds to what timing says."""
    pattern: re.Pattern[str]
    """Found in words as `plain` gives them, with a space before the first."""


class PhraseTable:
    """All phrases, by language."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        self._by_language: dict[str, list[Phrase]] = {}
        for phrase in phrases:
            self._by_language.setdefault(phrase.language, []).append(phrase)

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 of each language that it knows."""
        return frozenset(self._by_language)

    def of(self, language: str | None) -> Iterable[Phrase]:
        """The phrases to look for: of all languages where it is not known, or not in the table, which is spoken.

        `language` may be a tag of BCP 47 (`pt-BR`); English is always looked for, since carriers use it everywhere.
        """
        code = code_of(language)
        if code not in self._by_language:
            return [phrase for phrases in self._by_language.values() for phrase in phrases]
        return [*self._by_language[code], *(self._by_language.get("en", []) if code != "en" else [])]


class PhraseSpotter:
    """Finds phrases in the transcript of one call. Each phrase is told once."""

    def __init__(self, table: PhraseTable | None = None) -> None:
        """`table`: the package's own by default."""
        self._table = table or stock_table()
        self._final: list[str] = []
        self._told: set[tuple[str, Kind, str]] = set()
        self._strong: set[Kind] = set()
        self._weak: set[Kind] = set()

    def hear(self, text: str, *, language: str | None, final: bool) -> list[Phrase]:
        """Take a piece of the transcript; the phrases that are complete now and were not told before, in the table's order."""
        words = plain(text).split()
        heard = " " + " ".join([*self._final, *words]) + " "
        if final:
            self._final = [*self._final, *words][-WORDS_KEPT:]
        found = []
        for phrase in self._table.of(language):
            key = (phrase.language, phrase.kind, phrase.text)
            if key not in self._told and phrase.pattern.search(heard):
                self._told.add(key)
                (self._strong if phrase.is_strong else self._weak).add(phrase.kind)
                found.append(phrase)
        return found

    @property
    def kind(self) -> Kind | None:
        """What speaks, if a phrase has decided it."""
        return next((kind for kind in PRIORITY if kind in self._strong), None)

    @property
    def leaning(self) -> Kind | None:
        """What the weak phrases speak for: a kind of machine, or a person; None if nothing, or one against the other."""
        if Kind.PERSON in self._weak:
            return Kind.PERSON if len(self._weak) == 1 else None
        return next((kind for kind in PRIORITY if kind in self._weak), None)


def plain(text: str) -> str:
    """Lower-case words with single spaces between them: no punctuation, apostrophes or accents."""
    decomposed = unicodedata.normalize("NFKD", _APOSTROPHES.sub("", text).casefold())
    bare = _ACCENTS.sub("", decomposed)
    kept = "".join(letter if unicodedata.category(letter)[0] in "LNM" else " " for letter in bare)
    return " ".join(kept.split())


def parse(document: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]) -> PhraseTable:
    """The table of a parsed TOML document: language, kind, `strong` and `weak`. ValueError names what is wrong."""
    phrases = []
    for language, kinds in document.items():
        for name, strengths in kinds.items():
            try:
                kind = Kind(name)
            except ValueError:
                raise ValueError(f"phrases: [{language}.{name}]: no such kind") from None
            for strength, texts in strengths.items():
                if strength not in {"strong", "weak"}:
                    raise ValueError(f"phrases: [{language}.{name}]: {strength!r} is neither strong nor weak")
                phrases += [
                    Phrase(kind, language, text, strength == "strong", pattern_of(text, where=f"phrases: [{language}.{name}]"))
                    for text in texts
                ]
    return PhraseTable(phrases)


@functools.cache
def stock_table() -> PhraseTable:
    """The package's own table."""
    return parse(tomllib.loads(files("sip.voicemail").joinpath("phrases.toml").read_text(encoding="utf-8")))


def code_of(language: str | None) -> str:
    """ISO 639-1 of a language, which may be a tag of BCP 47 (`pt-BR`); empty if it is not known."""
    return (language or "").partition("-")[0].partition("_")[0].lower()


def pattern_of(text: str, *, where: str) -> re.Pattern[str]:
    """What finds a phrase in words as `plain` gives them, with a space before the first and after the last.

    ValueError if it has no words; `where` says of which table, for its message.
    """
    parts = [plain(part) for part in text.split("...")]
    if not all(parts):
        raise ValueError(f"{where}: {text!r} has no words")
    last = parts[-1].rsplit(" ", 1)[-1]
    end = " " if len(last) <= _SHORT_WORD else ""
    gap = rf"(?: \S+){{0,{GAP_WORDS}}} "
    return re.compile(" " + gap.join(re.escape(part) for part in parts) + end)
