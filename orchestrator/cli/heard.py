"""What was heard in a call, as lines of its timeline: verdicts, beeps, messages, and listeners that were lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.cli.words import clean, shown_facts
from sip.events import Fact

Words = tuple[str, str]
"""What, and its evidence."""

_IN_WORDS = frozenset({"kind", "stage", "machine_probability", "rule", "after_answer_s"})


def heard(kind: str, detail: Mapping[str, Fact]) -> Words | None:
    """An event in words; None: it is nothing that was heard."""
    words = _WORDS.get(kind)
    return None if words is None else words(detail)


def _verdict(detail: Mapping[str, Fact]) -> Words:
    what = f"  {_text(detail, 'stage')} verdict: {_text(detail, 'kind').replace('_', ' ')}"
    said = f"machine probability {_text(detail, 'machine_probability')}, by {_text(detail, 'rule')}{_after(detail)}"
    return what, _with_rest(said, detail, _IN_WORDS)


def _early_verdict(detail: Mapping[str, Fact]) -> Words:
    what, said = _verdict(detail)
    return f"{what}, before the answer", said


def _beep(detail: Mapping[str, Fact]) -> Words:
    said = f"{_text(detail, 'lasted_s')} s, {_text(detail, 'frequencies_hz')} Hz{_after(detail)}"
    return "  beep", _with_rest(said, detail, frozenset({"tone", "lasted_s", "frequencies_hz", "after_answer_s"}))


def _message(detail: Mapping[str, Fact]) -> Words:
    by, after = _text(detail, "by"), {"beep": "the beep", "greeting": "the greeting, without a beep"}
    what = "message plays" if by == "file" else "agent is told to leave its message"
    return f"  {what}", f"after {after.get(_text(detail, 'after'), '-')}"


def _message_played(detail: Mapping[str, Fact]) -> Words:
    how = "was played to its end" if detail.get("complete") else "was not played to its end"
    said = f"{_text(detail, 'played_s')} s"
    return f"  message {how}", _with_rest(said, detail, frozenset({"complete", "played_s"}))


def _listening_lost(detail: Mapping[str, Fact]) -> Words:
    return "  nobody listens: the call goes on without detection", clean(_text(detail, "why"))


def _called_off(detail: Mapping[str, Fact]) -> Words:
    return f"  {_text(detail, 'plan').replace('_', ' ')} is called off", clean(_text(detail, "why"))


def _silence_warning(detail: Mapping[str, Fact]) -> Words:
    return "  agent is warned of silence", f"the callee has been silent for {_text(detail, 'silent_s')} s"


_WORDS: dict[str, Callable[[Mapping[str, Fact]], Words]] = {
    "verdict": _verdict,
    "early_verdict": _early_verdict,
    "beep": _beep,
    "message": _message,
    "message_played": _message_played,
    "listening_lost": _listening_lost,
    "plan_called_off": _called_off,
    "silence_warning": _silence_warning,
}


def _text(detail: Mapping[str, Fact], name: str) -> str:
    value = detail.get(name)
    return "-" if value is None else clean(str(value))


def _after(detail: Mapping[str, Fact]) -> str:
    return "" if detail.get("after_answer_s") is None else f", {_text(detail, 'after_answer_s')} s after the answer"


def _with_rest(said: str, detail: Mapping[str, Fact], told: frozenset[str]) -> str:
    rest = shown_facts({name: value for name, value in detail.items() if name not in told})
    return f"{said}   {rest}" if rest else said
