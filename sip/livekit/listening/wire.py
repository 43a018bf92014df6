"""What daemon and children say to each other: a JSON object a line.

Orders go to the child, reports come back. Moments are boot time in seconds (`sip.clock.boot_time_s`), which daemon and child
share, being on one machine. Knows neither processes nor rooms; imports neither numpy nor the client library.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sip.errors import Error
from sip.events import Quiet
from sip.leg import ListeningPlan
from sip.voicemail.events import DetectorEvent

LONGEST_LINE = 1 << 20
"""Bytes; a verdict has some thousand."""


class Garbled(Error):
    """A line that no order or report is. Nothing was dialled; whoever sent it is not to be trusted any further."""


# Orders


@dataclass(frozen=True, slots=True)
class Listen:
    """Join a room, hidden, and listen to its callee."""

    room: str
    url: str
    """Of the media server, for participants (`ws://`, `wss://`)."""
    token: str
    plan: ListeningPlan
    detect: bool
    """False: a greeting may have been half heard by somebody else; no verdicts, but beeps, silence and lost media."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Listen to that room no more."""

    room: str


@dataclass(frozen=True, slots=True)
class Play:
    """Join a room, visibly, play a file into it and leave."""

    room: str
    url: str
    token: str
    path: str


@dataclass(frozen=True, slots=True)
class Hush:
    """Stop playing into that room."""

    room: str


# Reports


@dataclass(frozen=True, slots=True)
class Beat:
    """The child lives; the first one says that it is ready."""

    at_s: float
    rooms: int


@dataclass(frozen=True, slots=True)
class Joined:
    """The listener is in the room."""

    room: str


@dataclass(frozen=True, slots=True)
class Started:
    """The callee's track is subscribed and detection is on."""

    room: str
    at_s: float


@dataclass(frozen=True, slots=True)
class AnswerSeen:
    """The callee's status says that it answered."""

    room: str


@dataclass(frozen=True, slots=True)
class Told:
    """A detector tells something."""

    room: str
    at_s: float
    what: DetectorEvent
    answered_s: float | None


@dataclass(frozen=True, slots=True)
class DetectionLost:
    """No verdict is to be expected any more; silence and the like are still watched for."""

    room: str
    at_s: float
    why: str


@dataclass(frozen=True, slots=True)
class DetectionOver:
    """All that detectors were to say has been said."""

    room: str


@dataclass(frozen=True, slots=True)
class SomeoneQuiet:
    """Somebody has not been heard for `for_s`."""

    room: str
    at_s: float
    quiet: Quiet
    for_s: float


@dataclass(frozen=True, slots=True)
class Gone:
    """The listener is not in the room (any more), or never came in."""

    room: str
    at_s: float
    why: str
    """Empty: as planned, or the room is closed."""


@dataclass(frozen=True, slots=True)
class Playing:
    """The message can be heard from now on."""

    room: str


@dataclass(frozen=True, slots=True)
class Played:
    """The player is through, or could not play."""

    room: str
    at_s: float
    complete: bool
    played_s: float
    why: str


Order = Listen | Leave | Play | Hush
Report = Beat | Joined | Started | AnswerSeen | Told | DetectionLost | DetectionOver | SomeoneQuiet | Gone | Playing | Played
_ORDERS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in typing.get_args(Order)}
_REPORTS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in typing.get_args(Report)}


def line_of(message: Order | Report) -> bytes:
    """The line that carries it."""
    return json.dumps(_plain(message), separators=(",", ":")).encode() + b"\n"


def order_of(line: bytes) -> Order:
    """The order in a line. Raises Garbled."""
    return typing.cast("Order", _message(line, _ORDERS))


def report_of(line: bytes) -> Report:
    """The report in a line. Raises Garbled."""
    return typing.cast("Report", _message(line, _REPORTS))


def _message(line: bytes, kinds: Mapping[str, type[Any]]) -> object:
    try:
        found = json.loads(line)
        return _made(kinds[found["is"]], found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Garbled(f"not understood ({type(error).__name__}: {error}): {line[:200]!r}") from None


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"is": type(value).__name__, **fields}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be told")


@functools.cache
def _types_of(kind: type[Any]) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)


def _made(kind: Any, found: Any) -> Any:
    """`found`, as a value of the annotated type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, found)
    if origin is tuple:
        return tuple(_made(arguments[0], one) for one in found)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {str(name): _made(arguments[1], one) for name, one in found.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = _types_of(kind)
        return kind(**{name: _made(hints[name], value) for name, value in found.items() if name != "is"})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(found)
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if isinstance(kind, type) and not isinstance(found, kind):
        raise TypeError(f"{found!r} is no {kind.__name__}")
    return found


def _one_of(kinds: tuple[Any, ...], found: Any) -> Any:
    if found is None and type(None) in kinds:
        return None
    named = {kind.__name__: kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)}
    if named:
        return _made(named[found["is"]], found)
    plain = [kind for kind in kinds if kind is not type(None)]
    if len(plain) == 1:
        return _made(plain[0], found)
    if not isinstance(found, tuple(plain)):
        raise TypeError(f"{found!r} is none of {plain}")
    return found
