"""Durations as people write them: 90s, 5m, 2h, 7d."""

from __future__ import annotations

import re

from orchestrator.errors import BadInput

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")


def read_duration_s(name: str, text: str) -> float:
    """Seconds. `name` is what the duration is called in the message. Raises BadInput."""
    shape = _DURATION.fullmatch(text.strip().lower())
    if text.strip() == "0":
        return 0.0
    if shape is None:
        raise BadInput(f"{name}: {text!r} is no duration: write it like 90s, 5m, 2h or 7d")
    return float(shape[1]) * _UNITS_S[shape[2]]


def shown_duration(duration_s: float) -> str:
    """The same in the largest unit that divides it."""
    for unit, unit_s in reversed(_UNITS_S.items()):
        if duration_s and duration_s % unit_s == 0:
            return f"{duration_s / unit_s:g}{unit}"
    return f"{duration_s:g}s"
