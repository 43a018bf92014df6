"""Settings in words: what a field allows, what is wrong with a value, and the documented example file.

Works on any tree of two levels (sections of fields) and knows none of the settings themselves. Never shows a secret: neither
the value of a secret field, nor that of an unknown key, nor user information inside a URL.
"""

from __future__ import annotations

import difflib
import enum
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.settings_sources import Given, Key, sections_of

MASK = "**********"
LONGEST_SHOWN = 80


def without_user(text: str) -> str:
    """The text, with all before an `@` masked but a URL's scheme: user name and password of a URL stand there."""
    return re.sub(r"^(\w+://)?.*@", rf"\g<1>{MASK}@", text, flags=re.DOTALL)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing when nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def allowed(field: FieldInfo) -> str:
    """What a field takes, to be read after `must be`."""
    extra = field.json_schema_extra
    phrase = extra.get("allowed") if isinstance(extra, dict) else None
    if isinstance(phrase, str):
        return phrase
    kind = field.annotation
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(str(choice.value) for choice in kind)
    if kind is bool:
        return "true or false"
    if kind is int or kind is float:
        return ("a whole number" if kind is int else "a number") + _bounds(field)
    longest = _bound(field, "max_length")
    shortest = " that is not empty" if _bound(field, "min_length") else ""
    return f"text{shortest}" + (f", at most {longest} characters" if longest else "")


def _bound(field: FieldInfo, name: str) -> Any:
    return next((getattr(mark, name) for mark in field.metadata if hasattr(mark, name)), None)


def _bounds(field: FieldInfo) -> str:
    return f" from {_bound(field, 'ge')} to {_bound(field, 'le')}"


def problems(error: ValidationError, *, tree: type[BaseModel], given: Given) -> Iterator[str]:
    """One sentence for each thing that is wrong: place, key, value and what is allowed."""
    sections = sections_of(tree)
    told: set[Key] = set()
    for mistake in error.errors(include_url=False):
        section, field = (*(str(part) for part in mistake["loc"][:2]), "", "")[:2]
        key, unknown = (section, field), mistake["type"] == "extra_forbidden"
        if mistake["type"] == "contradictions":
            for key, text in mistake["ctx"]["contradictions"]:
                yield f"{given.place(key)}: {'.'.join(key)}{_shown(key, given, sections)} {text}"
        elif unknown and not field:
            yield f"{given.place(key)}: unknown section [{section}]{suggestion(section, sections)} {_list(sections)}"
        elif unknown:
            yield f"{given.place(key)}: unknown key {section}.{field}{_home(section, field, sections)}"
        elif not field:
            yield f"{given.place(key)}: {section} must be a section: write [{section}] and its keys below it"
        elif key not in told:
            told.add(key)
            text = allowed(sections[section].model_fields[field])
            yield f"{given.place(key)}: {section}.{field}{_shown(key, given, sections)} must be {text}"


def _shown(key: Key, given: Given, sections: Mapping[str, type[BaseModel]]) -> str:
    field = sections[key[0]].model_fields[key[1]]
    value = given.value(key)
    if value is None:
        # Refused all the same: its default contradicts something that was given.
        value = field.get_default(call_default_factory=True)
        return f" ({toml_value(value)} by default)" if toml_value(value) != '""' else ""
    if field.annotation is SecretStr:
        return f" = {MASK}:"
    text = toml_value(without_user(value) if isinstance(value, str) else value)
    if not isinstance(value, str) and "@" in text:
        return f" = {MASK}:"
    return f" = {text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + '...'}:"


def _home(section: str, field: str, sections: Mapping[str, type[BaseModel]]) -> str:
    homes = [name for name, other in sections.items() if field in other.model_fields]
    if homes:
        return f"; it belongs to [{homes[0]}]"
    known = sections[section].model_fields
    return suggestion(field, known) or " " + _list(known)


def _list(names: Iterable[str]) -> str:
    return f"(known are {', '.join(names)})"


def toml_value(value: Any) -> str:
    """A value as it is written in TOML; anything that TOML has no word for, as text."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case SecretStr():
            return toml_value(value.get_secret_value() and MASK)
        case enum.Enum():
            return toml_value(value.value)
        case list() | tuple():
            return "[" + ", ".join(toml_value(item) for item in value) + "]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def example(tree: type[BaseModel], *, opening: str) -> str:
    """A file with every section, field, range and default; defaults stand behind a `#`, so that it sets nothing."""
    lines = [*_comment(opening)]
    for name, section in sections_of(tree).items():
        lines += ["", "", *_comment(tree.model_fields[name].description or ""), f"[{name}]"]
        for key, field in section.model_fields.items():
            extra = field.json_schema_extra
            reloadable = isinstance(extra, dict) and extra.get("reloadable") is True
            text = allowed(field)
            lines += [
                "",
                *_comment(field.description or ""),
                *_comment(f"{text[0].upper()}{text[1:]}. Reloadable: {'yes' if reloadable else 'no'}."),
                f"#{key} = {toml_value(field.default)}",
            ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in textwrap.dedent(text).strip().split("\n\n"):
        if lines:
            lines.append("#")
        lines += [f"# {line}" for line in textwrap.wrap(" ".join(paragraph.split()), width=110, break_on_hyphens=False)]
    return lines
