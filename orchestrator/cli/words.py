"""Values as people read them: times, durations, numbers, and texts that came from strangers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from orchestrator.numbers import mask
from orchestrator.store.policy import Circuit, CircuitStatus
from sip.events import Fact


def clean(text: str) -> str:
    """The text without characters that would move a terminal's cursor or change its colours: strangers chose some of it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def shown_number(number: str | None, *, in_full: bool) -> str:
    """A telephone number, masked but for its last four digits unless `in_full`."""
    if not number:
        return ""
    return clean(number if in_full else mask(number))


def shown_time(moment: datetime | None) -> str:
    """Date and time, UTC, to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}" if moment else ""


def shown_clock(moment: datetime) -> str:
    """Time of day, UTC, to the millisecond."""
    return f"{moment.astimezone(UTC):%H:%M:%S.%f}"[:-3]


def shown_ms(duration_ms: int | None) -> str:
    """Milliseconds as seconds."""
    return "" if duration_ms is None else f"{duration_ms / 1000:.1f} s"


def shown_facts(facts: Mapping[str, Fact]) -> str:
    """Evidence, `name=value` each."""
    return " ".join(f"{clean(name)}={_fact(value)}" for name, value in facts.items())


def shown_list(values: tuple[str, ...] | frozenset[str], *, none: str = "-") -> str:
    """Values behind commas."""
    return ", ".join(clean(value) for value in sorted(values)) or none


def shown_circuit(circuit: CircuitStatus) -> str:
    """Whether a circuit is open, until when and why."""
    match circuit.state:
        case Circuit.CLOSED:
            return "closed"
        case Circuit.HALF_OPEN:
            return f"one call at a time may try ({clean(circuit.why)})"
        case Circuit.OPEN:
            return f"open until {shown_time(circuit.until)} ({clean(circuit.why)})"


def plural(count: int, noun: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _fact(value: object) -> str:
    if isinstance(value, str):
        text = clean(value)
        return text if text and " " not in text else json.dumps(text, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, default=str)
